"""The committed results: their schema, what they hold, and that they are found and verified."""

import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import xarray as xr

from srel_core.book.committed import files, first_epoch, schema, standing, verify, write
from srel_core.book.committed.consistency import contradiction
from srel_core.book.committed.files import ladder_in
from srel_core.book.committed.schema import VARIABLES
from srel_core.book.committed.write import distance_to_limit, kept_runs, summary_of, write_summary
from srel_core.book.published import ladder
from srel_core.book.published.definitions import published_class_curves, published_kl
from srel_core.book.published.ladder import LADDERS, ladders
from srel_core.experiments import provenance, result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.result_files import ResultError
from srel_core.statistics import by_class
from srel_core.statistics.class_summary import class_summary, learning_curves
from tests.book.conftest import COMMIT
from tests.support.book import ROOT
from tests.test_cli import srel

N_RESAMPLES = 20


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the kept runs of a small experiment, and its runs."""
    folder = tmp_path_factory.mktemp("kept")
    experiments = class_experiments("smoke", "digits", epochs=2)
    runs = [e.run(folder, "cpu", progress=False) for e in experiments]
    return folder, experiments, runs


@pytest.fixture(scope="module")
def summary(kept):
    return summary_of(kept[2], n_resamples=N_RESAMPLES)


@pytest.fixture
def file(summary, tmp_path):
    path = tmp_path / files.file_name("digits")
    result_files.save(summary, path)
    return path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("class_srel-*.nc")), ids=lambda p: p.name
)
def test_each_committed_file_keeps_to_the_schema_and_is_small(path):
    summary = files.load_summary(path)
    assert path.stat().st_size < 3e6
    config = files.runs_of(summary)[0]["config"]
    assert path.name == files.file_name(config["dataset"])
    paper = class_experiments("paper", config["dataset"])
    assert [standing.experiment_of(run["config"]) for run in files.runs_of(summary)] == paper


def test_a_summary_holds_what_the_summaries_and_ladders_give(kept, summary):
    runs = kept[2]
    for reduce in schema.AGGREGATES:
        want = class_summary(runs, reduce=reduce, n_resamples=N_RESAMPLES)
        at = summary.sel(aggregate=reduce)
        for name in ("matrix", "preference_interval", "epoch_preference", "auc", "auc_gain"):
            np.testing.assert_array_equal(at[name], want[name].values.astype("float32"))
    want = ladders(runs, n_resamples=N_RESAMPLES)
    for name in (*want.data_vars, "rung", "ladder", "change", "after"):
        expected = want[name].values
        if expected.dtype.kind == "f":
            expected = expected.astype("float32")
        np.testing.assert_array_equal(summary[name], expected)
    for definition, rungs in LADDERS.items():
        assert ladder_in(summary, definition).rung.values.tolist() == [r.name for r in rungs]
        published = [published_class_curves(run, definition) for run in runs]
        for name in ("same", "other"):
            np.testing.assert_allclose(
                summary[f"published_{name}"].sel(definition=definition),
                np.stack([p[name] for p in published]), rtol=1e-6,
            )  # fmt: skip
    curves = learning_curves(runs)
    np.testing.assert_array_equal(summary.train_loss, curves.train_loss.astype("float32"))
    in_float64 = np.mean([run.in_float64.mean("sample").T for run in runs], 0)
    np.testing.assert_allclose(summary.in_float64, in_float64, rtol=1e-6)


def test_every_quantity_is_computed_once(kept, monkeypatch):
    runs, counts = kept[2], Counter()

    def counted(module, name):
        true = getattr(module, name)

        def count(*given, **options):
            counts[name] += 1
            return true(*given, **options)

        monkeypatch.setattr(module, name, count)

    counted(by_class, "same_class_auc")
    counted(ladder, "_same_and_other")
    counted(write, "class_summary")
    summary_of(runs, n_resamples=2)
    cells = math.prod(runs[0].sizes[d] for d in ("rule", "divergence", "step"))
    assert counts == {
        "same_class_auc": cells * len(runs),
        "_same_and_other": sum(map(len, LADDERS.values())) * len(runs),
        "class_summary": 1,
    }


def test_a_step_that_does_nothing_compares_entropies_alone(kept, summary):
    import torch

    run = kept[2][0].sel(rule="adam:1e-4")
    z = torch.from_numpy(run.prediction.values)
    q = published_kl(z, torch.zeros_like(z)).numpy()
    ratio = q[:, :, None] / (q[:, None, :] + 1e-8)
    same = run.probe_class.values[:, None] == run.sample_class.values
    by_epoch = ratio[:, same].mean(1).reshape(2, -1).mean(1)
    np.testing.assert_allclose(summary.still_same.sel(seed=0), by_epoch, rtol=1e-5)


def test_the_distance_to_the_limit_is_that_of_the_ratios(kept, summary):
    run = kept[2][0]
    s_rel = run.change / run.own
    got = distance_to_limit(run)
    for r, rule in enumerate(run.rule.values):
        logs = [
            np.log(s_rel.sel(rule=name, divergence="kl").isel(step=-1).values)
            for name in (rule, "tangent")
        ]
        pairs = np.abs(logs[0] - logs[1])[~run.same_input.values]
        d = run.divergence.values.tolist().index("kl")
        np.testing.assert_allclose(got[:, r, d, -1], np.quantile(pairs, [0.5, 0.9]), rtol=1e-9)
    assert (summary.limit_distance.sel(rule="tangent") == 0).all()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda d: d.drop_vars("auc"), "auc is missing"),
        (lambda d: d.assign(more=d.auc), "more is not in the schema"),
        (lambda d: d.assign(auc=d.auc.astype(float)), "auc is float64"),
        (lambda d: d.assign(auc=d.auc.transpose()), "auc has dimensions"),
        (lambda d: d.drop_vars("epoch"), "the coordinate epoch is missing"),
        (lambda d: d.assign_attrs(kind="class_srel"), "its kind is 'class_srel'"),
        (lambda d: d.assign_attrs(runs="[]"), "`runs` must give config"),
    ],
)
def test_what_does_not_keep_to_the_schema_is_refused(summary, tmp_path, damage, fault):
    result_files.save(damage(summary), tmp_path / "x.nc")
    with pytest.raises(ResultError, match="x.nc does not keep to the schema") as caught:
        files.load_summary(tmp_path / "x.nc")
    assert fault in str(caught.value) and "\n" not in str(caught.value)


def test_every_variable_of_the_schema_says_what_it_is(summary):
    for name, variable in VARIABLES.items():
        assert summary[name].attrs["long_name"] == variable.meaning


@pytest.mark.parametrize(
    ("alter", "fault"),
    [
        (lambda d: d.auc_interval[::-1], "lower bound of auc_interval lies above the upper one"),
        (lambda d: d.auc_interval * np.nan, "auc_interval is not finite everywhere"),
        (lambda d: d.auc.where(d.step > d.step[0]), "auc is not finite everywhere"),
        (lambda d: d.auc + 1, "auc does not lie within [0, 1] everywhere"),
        (lambda d: -d.preference, "preference does not lie within [0, inf] everywhere"),
    ],
)
def test_numbers_that_can_be_none_are_refused(summary, tmp_path, alter, fault):
    altered = alter(summary)
    altered = summary.assign({altered.name: summary[altered.name].copy(data=altered)})
    result_files.save(altered, tmp_path / "x.nc")
    with pytest.raises(ResultError, match=re.escape(fault)):
        files.load_summary(tmp_path / "x.nc")


@pytest.mark.parametrize(
    "name",
    ["preference", "epoch_preference", "preference_interval", "auc", "epoch_auc", "auc_gain",
     "rung_same", "rung_epoch_same", "rung_preference", "rung_epoch_preference", "matrix",
     "published_same", "published_curve", "published_gain", "rung_undefined"],
)  # fmt: skip
def test_altered_numbers_contradict_others_and_are_not_vouched_for(file, name):
    summary = files.load_summary(file)
    assert contradiction(summary) == ""
    altered = xr.full_like(summary[name], 0.42 if "auc" in name or "undefined" in name else 42)
    result_files.save(summary.assign({name: altered}), file)
    before = file.read_bytes()
    with pytest.raises(ResultError, match="contradicts itself: .* does not follow from the rest"):
        verify.verify(file, "cpu", progress=False)
    assert file.read_bytes() == before


def test_another_network_or_folder_has_a_file_of_its_own(summary, tmp_path):
    names = [
        files.file_name(ClassExperiment(dataset, model=model).name, *images)
        for dataset, model, *images in (
            ("cifar10", "resnet18"), ("cifar10", "mlp"),
            ("folder:/home/me/birds", "resnet18", "0123456789"),
            ("folder:/home/you/birds", "resnet18", "9876543210"), ("folder:/a/../b c", "mlp", "01"),
            ("folder:été-seed3", "resnet18", "0123456789"),
        )
    ]  # fmt: skip
    assert names == [
        "class_srel-cifar10.nc", "class_srel-cifar10-mlp.nc", "class_srel-folder-birds-01234567.nc",
        "class_srel-folder-birds-98765432.nc", "class_srel-folder-b-c-mlp-01.nc",
        "class_srel-folder-été-seed3-01234567.nc",
    ]  # fmt: skip
    for name in names:
        result_files.save(summary, tmp_path / name)
    result_files.save(summary, tmp_path / "class_srel-digits-seed0-0123456789ab.nc")  # a run
    assert list(files.load_all(tmp_path)) == [
        "cifar10", "cifar10-mlp", "folder-b-c-mlp-01", "folder-birds-01234567",
        "folder-birds-98765432", "folder-été-seed3-01234567",
    ]  # fmt: skip


def test_nothing_is_written_from_code_that_is_in_no_commit(kept, tmp_path, monkeypatch):
    runs = sorted(kept[0].glob("*.nc"))
    expected = "must come from committed code, not from abc.changes: commit the changes"
    with pytest.raises(ResultError, match=expected):
        write_summary(runs, tmp_path, commit="abc+changes")
    changed = result_files.load(runs[0]).assign_attrs(commit="abc+changes")
    result_files.save(changed, tmp_path / "run.nc")
    with pytest.raises(ResultError, match=expected):
        write_summary([tmp_path / "run.nc", runs[1]], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.nc"]
    monkeypatch.setattr(provenance, "commit", lambda: "abc+changes")
    for command in (("summarise", *runs), ("regression", "--profile", "smoke")):
        done = srel(*command, "--committed-dir", tmp_path / "c", "--results-dir", tmp_path / "r")
        assert done.exit_code == 1 and done.stderr.count("\n") == 1
        assert "must come from committed code" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.nc"]


def test_runs_that_do_not_belong_together_are_refused(kept):
    runs = kept[2]
    with pytest.raises(ValueError, match="the same seed"):
        summary_of([runs[0], runs[0]])
    with pytest.raises(ValueError, match="differ in their code_digest"):
        summary_of([runs[0], runs[1].assign_attrs(code_digest="other")])
    config = json.loads(runs[1].attrs["config"]) | {"augment": True}
    with pytest.raises(ValueError, match="differ in more than their seed"):
        summary_of([runs[0], runs[1].assign_attrs(config=json.dumps(config))])


def test_kept_runs_of_other_code_serve_until_the_present_code_has_them_all(kept, tmp_path):
    _, experiments, runs = kept
    with pytest.raises(ResultError, match="digits: not run for seeds 0, 1"):
        kept_runs(experiments, tmp_path)

    def keep(run, seed, code, created):
        stem = experiments[seed].file_name.rpartition("-")[0]
        path = tmp_path / f"{stem}-{code[:4]}{created[-2:]}.nc"
        result_files.save(run.assign_attrs(code_digest=code, created=created), path)
        return path

    old = [keep(run, seed, "oldcode", f"2026-01-0{seed + 1}") for seed, run in enumerate(runs)]
    older = [keep(run, seed, "ancient", f"2025-01-0{seed + 1}") for seed, run in enumerate(runs)]
    assert kept_runs(experiments, tmp_path) == old
    present = experiments[0].code
    new = [keep(runs[0], 0, present, "2024-01-01")]
    assert kept_runs(experiments, tmp_path) == old
    new.append(keep(runs[1], 1, present, "2024-01-02"))
    assert kept_runs(experiments, tmp_path) == new
    for path in (*old, *new, older[1]):
        path.unlink()
    with pytest.raises(ResultError, match="not run for seeds 1"):
        kept_runs(experiments, tmp_path)
    # Another config under the same name is not mistaken for it.
    other = class_experiments("smoke", "digits", epochs=3)
    with pytest.raises(ResultError, match="not run for seeds 0, 1"):
        kept_runs(other, tmp_path)


def test_summarise_and_verify_from_the_command_line(kept, tmp_path):
    folder, _, _ = kept
    paths = sorted(folder.glob("class_srel-digits-*.nc"))
    done = srel("summarise", *paths, "--committed-dir", tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    (path,) = tmp_path.iterdir()
    assert done.stdout.split() == [str(path)] and path.name == "class_srel-digits-mlp.nc"
    assert standing.standing(files.load_summary(path)) == "current"
    done = srel("verify", "--quiet", "--committed-dir", tmp_path)
    assert done.exit_code == 0 and "agrees (S_rel and own to 0.0e+00" in done.stdout
    before = path.read_bytes()
    wrong = files.load_summary(path)
    wrong["slice_own"] *= 1.01
    result_files.save(wrong, tmp_path / "wrong.nc")
    before = (tmp_path / "wrong.nc").read_bytes()
    done = srel("verify", "--quiet", path, tmp_path / "wrong.nc")
    assert done.exit_code == 1 and "class_srel-digits-mlp.nc: agrees" in done.stdout
    assert "wrong.nc: the present code gives other numbers" in done.stderr
    assert (tmp_path / "wrong.nc").read_bytes() == before
    # Data sets without runs are named, and nothing at all is an error.
    done = srel("summarise", "--results-dir", folder, "--committed-dir", tmp_path)
    assert done.exit_code == 1
    assert "svhn: not run for seeds 0, 1, 2: srel run --profile paper --dataset svhn" in done.stderr


def test_standing_follows_the_code(file, monkeypatch):
    monkeypatch.setattr(standing, "present_code", lambda _: "new code")
    assert standing.standing(files.load_summary(file)) == "stale"
    agreement = verify.verify(file, "cpu", progress=False)
    assert agreement == "S_rel and own to 0.0e+00, losses to 0.0e+00"
    stamped = files.load_summary(file)
    assert standing.standing(stamped) == "verified"
    assert stamped.attrs["verified_commit"] == COMMIT and stamped.attrs["verified_on"] > "2026"
    monkeypatch.setattr(standing, "present_code", lambda _: "newer code")
    assert standing.standing(stamped) == "stale"


def test_another_processor_or_number_of_threads_is_named(file):
    summary = files.load_summary(file)
    runs = json.loads(summary.attrs["runs"])
    here = runs[0]["threads"]
    runs[0] |= {"device": "Abacus", "threads": "99"}
    result_files.save(summary.assign_attrs(runs=json.dumps(runs)), file)
    agreement = verify.verify(file, "cpu", progress=False)
    device = provenance.environment()["device"]
    assert agreement.endswith(f"; device {device}, not Abacus; threads {here}, not 99")
    summary["slice_own"] *= 1.01
    result_files.save(summary.assign_attrs(runs=json.dumps(runs)), file)
    with pytest.raises(ResultError, match=r"other numbers \(.*; device .*, not Abacus; threads"):
        verify.verify(file, "cpu", progress=False)


def test_other_images_are_not_taken_for_other_code(file):
    summary = files.load_summary(file)
    runs = json.loads(summary.attrs["runs"])
    runs[0]["data_checksum"] = "0" * 64
    result_files.save(summary.assign_attrs(runs=json.dumps(runs)), file)
    before = file.read_bytes()
    with pytest.raises(ResultError, match="the images at hand are not those it was made from"):
        verify.verify(file, "cpu", progress=False)
    assert file.read_bytes() == before


def test_differences_are_relative_and_see_what_is_not_a_number(kept, summary):
    part = first_epoch.slice_of(kept[2][0])
    assert first_epoch.largest_differences(summary, part) == (0, 0)
    moved = part.copy(deep=True)
    moved["slice_own"][1, 2, 0] *= 0.5
    moved["slice_train_loss"][-1] *= 1.25
    found = first_epoch.largest_differences(summary, moved)
    np.testing.assert_allclose(found, (0.5, 0.2), rtol=1e-6)
    moved["slice_own"][0, 0, 0] = np.nan
    assert first_epoch.largest_differences(summary, moved)[0] == np.inf
    with pytest.raises(ResultError, match="slice_train_loss has shape"):
        first_epoch.largest_differences(summary, part.isel(slice_train_step=slice(2)))


def test_a_failed_write_leaves_the_old_file(kept, file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(result_files, "save", lambda *_: (_ for _ in ()).throw(ResultError("full")))
    with pytest.raises(ResultError, match="full"):
        verify.verify(file, "cpu", progress=False)
    with pytest.raises(ResultError, match="full"):
        write_summary(sorted(kept[0].glob("*.nc")), file.parent)
    assert file.read_bytes() == before


def test_results_belong_to_a_book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultError, match="no book here"):
        files.committed_dir()
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").write_text("")
    monkeypatch.chdir(tmp_path / "chapters")
    assert files.committed_dir() == tmp_path / "results"
    assert files.load_all() == {}
