"""Experiments end to end: what they compute, keep, resume, refuse."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

import srel_core as sc
from srel_core.experiments import class_experiment, datasets, result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.networks import build_model
from srel_core.experiments.profiles import class_experiments, require_rules
from srel_core.experiments.training import Schedule, stream
from srel_core.rules import parse_rule
from tests.support.class_experiments import TINY, run_tiny


def test_the_first_checkpoint_is_what_influence_says(tmp_path):
    """Step by step from the public pieces, with a plain loop for the one training step."""
    train = datasets.load_images("digits", per_class=12)
    images = datasets.normalise(datasets.augment(train.images, stream(0, "augmentation")))
    chosen = datasets.draw_per_class(train.labels, 2, stream(0, "probes"))
    model = build_model("linear", 3, stream(0, "weights"))
    generator = torch.Generator().manual_seed(stream(0, "batches/0"))
    batch = torch.randperm(36, generator=generator)[:12]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)
    torch.nn.functional.cross_entropy(model(images[batch]), train.labels[batch]).backward()
    optimizer.step()
    dataset = run_tiny(tmp_path)
    assert dataset.step.values.tolist() == [1, 3, 4, 6]
    assert dataset.epoch_of_step.values.tolist() == [1, 1, 2, 2]
    for rule in ("adam:1e-4", "sgd:1e-4"):
        x, y = images[chosen], train.labels[chosen]
        want = sc.influence(model, x, y, x, rule=parse_rule(rule))
        got = dataset.sel(step=1, rule=rule, divergence="kl")
        np.testing.assert_array_equal(got.change.values, want.change["kl"].numpy())
        np.testing.assert_array_equal(got.own.values, want.own["kl"].numpy())
        np.testing.assert_array_equal(got.prediction.values, want.before.numpy())
        np.testing.assert_array_equal(got.prediction_change.values, want.delta.numpy())
        np.testing.assert_array_equal(got.own_prediction_change.values, want.own_delta.numpy())
    assert dataset.same_input.values.tolist() == np.eye(6, dtype=bool).tolist()


def test_a_result_is_computed_once_and_says_where_it_comes_from(tmp_path, monkeypatch):
    first = run_tiny(tmp_path)
    monkeypatch.setattr(class_experiment, "_Run", None)  # computing again would fail
    assert run_tiny(tmp_path).identical(first)
    assert json.loads(first.attrs["config"])["dataset"] == "digits"
    assert first.attrs["data_checksum"] == datasets.load_images("digits", per_class=12).checksum
    for name in ("commit", "torch", "device", "threads", "wall_seconds", "data_source", "created"):
        assert first.attrs[name] not in ("", None), name
    assert [path.name for path in tmp_path.iterdir()] == [TINY.file_name]


def test_the_name_changes_with_the_config_and_the_code(monkeypatch):
    names = {TINY.file_name, dataclasses.replace(TINY, seed=1).file_name,
             dataclasses.replace(TINY, probes_per_class=3).file_name}  # fmt: skip
    monkeypatch.setattr(class_experiment, "code_digest", lambda sources: "other")
    assert len(names | {dataclasses.replace(TINY).file_name}) == 4


@pytest.mark.parametrize(
    ("dataset", "model", "name"),
    [
        ("cifar10", "resnet18", "cifar10"),
        ("cifar10", "mlp", "cifar10-mlp"),
        ("svhn", "linear", "svhn-linear"),
        ("folder:/home/me/cats & dogs", "resnet18", "folder-cats---dogs"),
        ("folder:mine", "mlp", "folder-mine-mlp"),
        ("folder:mine/", "resnet18", "folder-mine"),
        ("folder:" + 50 * "x", "mlp", 36 * "x" + "-mlp"),
    ],
)
def test_the_name_says_data_set_and_network(dataset, model, name):
    assert ClassExperiment(dataset, model=model).name == name


def test_the_name_of_the_file_has_the_network():
    assert TINY.file_name.startswith("class_srel-digits-linear-seed0-")


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    first, second = run_tiny(tmp_path / "a"), run_tiny(tmp_path / "b")
    assert first.drop_attrs().identical(second.drop_attrs())
    other = run_tiny(tmp_path, dataclasses.replace(TINY, seed=1))
    assert not np.array_equal(other.change, first.change)


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path, monkeypatch, after):
    whole = run_tiny(tmp_path / "whole")
    monkeypatch.setattr(class_experiment, "_SAVE_EVERY", 0.0)
    measure = sc.SrelRecorder.measure

    def interrupted(self, step):
        if len(self._kept) == after:
            raise Stop
        return measure(self, step)

    monkeypatch.setattr(sc.SrelRecorder, "measure", interrupted)
    with pytest.raises(Stop):
        run_tiny(tmp_path)
    measured = []
    monkeypatch.setattr(
        sc.SrelRecorder, "measure", lambda self, step: (measured.append(step), measure(self, step))
    )
    resumed = run_tiny(tmp_path)
    assert resumed.drop_attrs().identical(whole.drop_attrs())
    assert measured == [1, 3, 4, 6][after:]  # nothing is measured twice
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("damage", ["truncated", "foreign", "other netcdf"])
def test_a_damaged_result_is_set_aside_and_computed_anew(tmp_path, damage):
    whole = run_tiny(tmp_path)
    path = tmp_path / TINY.file_name
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "foreign":
        path.write_text("not a result")
    else:
        xr.Dataset({"a": 1}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(result_files.ResultError, match="damaged or not NetCDF|is not a"):
        result_files.load(path)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match="set aside as .*damaged, computing anew"):
        again = run_tiny(tmp_path)
    assert again.drop_attrs().identical(whole.drop_attrs())
    assert path.with_name(path.name + ".damaged").read_bytes() == before


def test_a_damaged_state_is_set_aside(tmp_path):
    (tmp_path / TINY.file_name).with_suffix(".state.safetensors").write_text("junk")
    with pytest.warns(UserWarning, match="starting from the beginning"):
        run_tiny(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path):
    """A limit on file size stands in for a full disk: the write fails half-way."""
    script = f"""
import resource, signal, sys
from srel_core.experiments import result_files
from tests.support.class_experiments import TINY, run_tiny
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    run_tiny({str(tmp_path)!r})
except result_files.ResultError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nothing was written: make room" in done.stdout and done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["/dev/null/results", "/proc/results"])
def test_a_folder_that_cannot_be_written(folder):
    with pytest.raises(result_files.ResultError, match=f"cannot write .* in {folder}.*nothing was"):
        run_tiny(folder)


BAD = {
    "dataset": (dict(dataset="cifar11"), "unknown data set 'cifar11': the nearest is 'cifar10'"),
    "class": (dict(classes=("0", "x")), "unknown class 'x'"),
    "model": (dict(model="resnet8"), "unknown model 'resnet8'"),
    "rule": (dict(rules=("sdg:1e-4",)), "unknown rule 'sdg': the nearest is 'sgd'"),
    "rule lr": (dict(rules=("sgd",)), "rule 'sgd': expected sgd:LEARNING_RATE"),
    "tangent lr": (dict(rules=("tangent:1",)), "takes no learning rate"),
    "no rule": (dict(rules=()), "rules is empty"),
    "same rule": (dict(rules=("sgd:1e-4", "sgd:0.0001")), "rules names the same step twice"),
    "same divergence": (dict(divergences=("kl", "kl")), "divergences names 'kl' twice"),
    "divergence": (dict(divergences=("kll",)), "unknown divergence 'kll': the nearest is 'kl'"),
    "probes": (dict(probes_per_class=13), "class 0 has 12 samples, 13 asked"),
    "seed": (dict(seed=-1), "seed must be 0 or more, not -1"),
    "no probes": (dict(probes_per_class=0), "probes_per_class must be at least 1"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_clear_line_and_writes_nothing(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        run_tiny(tmp_path / "results", dataclasses.replace(TINY, **changes))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="device 'quantum' is not to be had here"):
        TINY.run(tmp_path, device="quantum")


def test_profiles(tmp_path):
    paper = class_experiments("paper", "cifar100")
    assert [e.seed for e in paper] == [0, 1, 2]
    assert paper[0].schedule == Schedule(batch_size=25) and paper[0].images_per_class == 500
    smoke = class_experiments("smoke", seeds=(5,), epochs=1, rules=("sgd:1e-3",), model=None)
    assert smoke[0].seed == 5 and smoke[0].schedule.epochs == 1 and smoke[0].model == "mlp"
    with pytest.raises(ValueError, match="unknown profile 'latpop': the nearest is 'laptop'"):
        class_experiments("latpop")
    with pytest.raises(ValueError, match="unknown setting 'epoch': the nearest is 'epochs'"):
        class_experiments(epoch=3)
    require_rules(paper, ("sgd:1e-4", "tangent"))
    with pytest.raises(ValueError, match=r"this profile does not measure sgd:1, adam:2$"):
        require_rules(paper, ("sgd:1", "tangent", "adam:2"))


@pytest.mark.real_data
@pytest.mark.skipif(
    not Path(os.environ.get("SREL_DATA", ""), "cifar10", "train").is_dir(),
    reason="SREL_DATA does not point to the CIFAR images",
)
def test_cifar10_runs_from_real_images(tmp_path):
    experiment = dataclasses.replace(TINY, dataset="cifar10")
    dataset = run_tiny(tmp_path, experiment)
    assert dataset.class_name.values.tolist() == ["airplane", "automobile", "ship"]
    assert np.isfinite(dataset.change).all() and dataset.attrs["data_source"].startswith("cifar10")


def test_a_second_damaged_file_does_not_cost_the_first(tmp_path):
    for content in ("1", "2"):
        (tmp_path / "a.nc").write_text(content)
        result_files.set_aside(tmp_path / "a.nc")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_foreign_state_is_set_aside(tmp_path):
    whole = run_tiny(tmp_path / "whole")
    state = (tmp_path / TINY.file_name).with_suffix(".state.safetensors")
    save_file({"trainer/model/other": torch.zeros(1), "trainer/curves": torch.zeros(2, 0)}, state)
    with pytest.warns(UserWarning, match="starting from the beginning"):
        assert run_tiny(tmp_path).drop_attrs().identical(whole.drop_attrs())
