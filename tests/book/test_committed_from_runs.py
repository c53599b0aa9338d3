"""Committed results are written from kept runs, verified, and found stale with the code."""

import json

import numpy as np
import pytest

from srel_core.book.committed import files, first_epoch, standing, verify
from srel_core.book.committed.write import kept_runs, summary_of, write_summary
from srel_core.experiments import provenance, result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.result_files import ResultError
from tests.book.conftest import COMMIT
from tests.test_cli import srel


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
    runs[0]["device"] = "\x1b[2J\nforged.nc: agrees"
    result_files.save(summary.assign_attrs(runs=json.dumps(runs)), file)
    done = srel("verify", "--quiet", file)
    assert done.exit_code == 0 and done.stdout.count("\n") == 1
    assert r"not \x1b[2J\nforged.nc: agrees" in done.stdout.strip()
    assert done.stdout.strip().isprintable()
    runs[0]["device"] = "Abacus"
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
    with pytest.raises(ValueError, match="slice_train_loss has shape"):
        first_epoch.largest_differences(summary, part.isel(slice_train_step=slice(2)))


def test_a_failed_write_leaves_the_old_file(kept, file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(result_files, "save", lambda *_: (_ for _ in ()).throw(ResultError("full")))
    with pytest.raises(ResultError, match="full"):
        verify.verify(file, "cpu", progress=False)
    with pytest.raises(ResultError, match="full"):
        write_summary(sorted(kept[0].glob("*.nc")), file.parent)
    assert file.read_bytes() == before


def test_fewer_runs_do_not_take_the_place_of_more(kept, tmp_path):
    runs = sorted(kept[0].glob("*.nc"))
    path = write_summary(runs, tmp_path)
    whole = path.read_bytes()
    with pytest.raises(ResultError, match="has results that its successor would lack .1."):
        write_summary(runs[1:], tmp_path)
    assert path.read_bytes() == whole
    path.write_bytes(b"damaged")
    write_summary(runs[1:], tmp_path)
    assert write_summary(runs, tmp_path) == path
