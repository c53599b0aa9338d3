"""A study: run, written, read, verified, and refused where it cannot be one."""

import json
import re
import shutil
from types import MappingProxyType

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn.functional import cross_entropy

from srel_core.book.committed import standing, study_file, verify, write_study
from srel_core.choices import unknown
from srel_core.experiments import result_files, studies
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.loss_changes import loss_changes, share_that_rises
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.result_files import ResultError
from srel_core.statistics.class_summary import class_summary
from tests.test_cli import srel


def _rows():
    settings = {
        "rules": studies.RULES, "divergences": ("kl", "l2_logits"), "epochs": 2,
        "probes_per_class": 5,
    }  # fmt: skip
    of = {"the network": {}, "a line": {"model": "linear", "optimizer": "sgd", "lr": 1e-4}}
    return {
        row: tuple(class_experiments("smoke", "digits", (0, 1, 2), **settings, **changes))
        for row, changes in of.items()
    }


@pytest.fixture(scope="module", autouse=True)
def small_study():
    with pytest.MonkeyPatch.context() as patch:
        known = MappingProxyType({"small": ("Does it matter?", _rows)})
        patch.setattr(studies, "_STUDIES", known)
        patch.setattr(studies, "STUDIES", ("small",))
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folders of runs and of committed files."""
    folder = tmp_path_factory.mktemp("study")
    done = srel(
        "study", "small", "--quiet", "--device", "cpu",
        "--results-dir", folder / "runs", "--committed-dir", folder / "committed",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert done.stdout.strip() == str(folder / "committed" / "study-small.nc")
    return folder


@pytest.fixture
def path(written):
    return study_file.path_of("small", written / "committed")


def _runs(written, row):
    return [e.run(written / "runs", "cpu", progress=False) for e in _rows()[row]]


def _runs_alone(written, row, folder):
    """Fill `folder` with the runs of this row, as if the others had not been kept."""
    folder.mkdir()
    for experiment in _rows()[row]:
        shutil.copy(written / "runs" / experiment.file_name, folder)


def test_each_row_is_the_summary_of_its_runs(written):
    found = study_file.load_all(written / "committed")["small"]
    assert standing.standing(found) == "current"
    for row in _rows():
        runs = _runs(written, row)
        summary = class_summary(runs, reduce=write_study.AGGREGATES)
        at = found.sel(row=row)
        for name in ("auc", "auc_interval", "preference", "preference_interval"):
            want = summary[f"epoch_{name}"].transpose(*at[name].dims)
            np.testing.assert_allclose(at[name], want, rtol=1e-5)
        of_runs = found.isel(run=np.flatnonzero(found.row_of_run == row))
        assert of_runs.seed.values.tolist() == [0, 1, 2]
        for run, kept in zip(runs, range(3), strict=True):
            one = of_runs.isel(run=kept)
            np.testing.assert_allclose(one.test_accuracy, run.test_accuracy, rtol=1e-6)
            np.testing.assert_allclose(
                one.slice_own, run.own.isel(step=0).mean("sample"), rtol=1e-5
            )


def test_a_loss_rises_where_the_loss_function_says_so(written):
    run = _runs(written, "the network")[1]
    labels = torch.from_numpy(run.probe_class.values)
    for rule in ("sgd:1e-4", "optimizer"):
        at = run.sel(rule=rule)
        before = torch.from_numpy(at.prediction.transpose("step", "probe", "output").values)
        delta = torch.from_numpy(
            at.prediction_change.transpose("step", "probe", "sample", "output").values
        )
        found, shares = loss_changes(run, rule), share_that_rises(run, rule)
        for step in range(run.sizes["step"]):
            old = cross_entropy(before[step], labels, reduction="none")
            rises = {True: [], False: []}
            for i in range(run.sizes["sample"]):
                new = cross_entropy(before[step] + delta[step, :, i], labels, reduction="none")
                np.testing.assert_allclose(found[step, :, i], new - old, rtol=1e-4, atol=1e-13)
                for j in range(run.sizes["probe"]):
                    if i != j:
                        rises[bool(labels[i] == labels[j])].append(found[step, j, i] > 0)
            want = [np.mean(rises[same]) for same in (True, False)]
            np.testing.assert_allclose(shares[:, step], want, rtol=1e-12)


def test_in_the_limit_it_is_the_derivative(written):
    run = _runs(written, "the network")[0]
    short, limit = loss_changes(run, "sgd:1e-4") / 1e-4, loss_changes(run, "tangent")
    np.testing.assert_allclose(short, limit, rtol=0.1, atol=np.abs(limit).max() * 1e-2)


def test_it_is_verified_by_a_run_trained_by_adam(path):
    said = verify.verify(path, "cpu", progress=False)
    found = re.fullmatch(r"run [123] of 6: own to (\S+), auc to (\S+), loss to (\S+)", said)
    assert found and max(float(apart) for apart in found.groups()) < 1e-6
    stamped = study_file.load("small", path.parent)
    assert stamped.attrs["verified_code_digest"] == stamped.attrs["code_digest"]


def test_without_a_run_trained_by_adam_it_cannot_be_verified(path, tmp_path):
    study = study_file.load("small", path.parent)
    by_sgd = np.flatnonzero(study.row_of_run == "a line")
    runs = [json.loads(study.attrs["runs"])[at] for at in by_sgd]
    digest = study_file.joint_digest(run["code_digest"] for run in runs)
    alone = study.sel(row=["a line"]).isel(run=by_sgd)
    alone = alone.assign_attrs(runs=json.dumps(runs), code_digest=digest)
    result_files.save(alone, tmp_path / path.name)
    with pytest.raises(ResultError, match="it has no run that was trained by Adam"):
        verify.verify(tmp_path / path.name, "cpu", progress=False)


@pytest.mark.parametrize("name", ["slice_own", "slice_auc", "slice_loss"])
def test_other_numbers_are_not_stamped(path, tmp_path, name):
    study = study_file.load("small", path.parent).load()
    study[name] = (study[name] * 0.8).astype(np.float32)
    result_files.save(study, tmp_path / path.name)
    with pytest.raises(ResultError, match=r"study-small.nc: the present code gives other numbers"):
        verify.verify(tmp_path / path.name, "cpu", progress=False)


def test_a_row_that_lacks_a_run_is_named(written, tmp_path):
    _runs_alone(written, "a line", tmp_path / "runs")
    where = ("--results-dir", tmp_path / "runs", "--committed-dir", tmp_path)
    done = srel("study", "small", "--kept", *where)
    assert done.exit_code == 0
    assert "not in study-small.nc: the network (digits: not run for seeds 0, 1, 2)" in done.stderr
    assert study_file.load("small", tmp_path).row.values.tolist() == ["a line"]
    done = srel("study", "small", "--kept", "--results-dir", tmp_path, "--committed-dir", tmp_path)
    assert done.exit_code == 1
    assert "no row of the study 'small' has all its runs: srel study small" in done.stderr


def _with_a_flipped_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _without_a_variable(path):
    result_files.save(result_files.load(path).load().drop_vars("own"), path)


@pytest.mark.parametrize("damage", [_with_a_flipped_bit, _without_a_variable])
def test_a_row_with_a_damaged_run_is_left_out_and_named(written, tmp_path, damage):
    shutil.copytree(written / "runs", tmp_path / "runs")
    damaged = tmp_path / "runs" / _rows()["the network"][1].file_name
    damage(damaged)
    where = ("--results-dir", tmp_path / "runs", "--committed-dir", tmp_path)
    done = srel("study", "small", "--kept", *where)
    assert done.exit_code == 0, done.stderr
    assert f"not in study-small.nc: the network ({damaged}" in done.stderr
    assert study_file.load("small", tmp_path).row.values.tolist() == ["a line"]


def test_a_row_is_added_to_those_that_are_there(written, path, tmp_path):
    """Those that lack their runs here stay as they are; the file is the one of all at once."""
    whole = study_file.load("small", path.parent)
    runs, committed = tmp_path / "runs", tmp_path / "committed"
    for row, others in (("a line", "the network"), ("the network", None)):
        shutil.rmtree(runs, ignore_errors=True)
        _runs_alone(written, row, runs)
        done = srel(
            "study", "small", "--rows", row, "--quiet", "--device", "cpu",
            "--results-dir", runs, "--committed-dir", committed,
        )  # fmt: skip
        assert done.exit_code == 0
        assert ("not in study-small.nc" in done.stderr) == bool(others)
    whole.attrs = {n: v for n, v in whole.attrs.items() if not n.startswith("verified")}
    xr.testing.assert_identical(study_file.load("small", committed), whole)


def test_a_stamp_stays_where_the_present_code_adds_rows(written, path, tmp_path):
    """The rows that were there count as verified, those added as made by it."""
    whole = study_file.load("small", path.parent)
    runs = json.loads(whole.attrs["runs"])
    old = [run | {"code_digest": "0"} for run in runs[:3]]
    there = whole.sel(row=["the network"]).isel(run=slice(3)).assign_attrs(
        runs=json.dumps(old), code_digest=study_file.joint_digest(["0"]),
        verified_code_digest=study_file.joint_digest([runs[0]["code_digest"]]),
        verified_on="2026-01-01", verified_commit="0",
    )  # fmt: skip
    result_files.save(there, tmp_path / path.name)
    _runs_alone(written, "a line", tmp_path / "runs")
    where = ("--results-dir", tmp_path / "runs", "--committed-dir", tmp_path)
    assert srel("study", "small", "--kept", *where).exit_code == 0
    both = study_file.load("small", tmp_path)
    assert both.row.values.tolist() == ["the network", "a line"]
    assert standing.standing(both) == "verified"
    assert both.attrs["code_digest"] == study_file.joint_digest(["0", runs[3]["code_digest"]])


def of_other_code(study):
    """The file of a study as other code would have made it."""
    runs = [run | {"code_digest": "0"} for run in json.loads(study.attrs["runs"])]
    return study.assign_attrs(
        code_digest=study_file.joint_digest(["0"]), verified_code_digest="0",
        runs=json.dumps(runs),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.isel(rule=slice(1)), "the rows the network have other rules"),
        (
            of_other_code,
            "the rows the network stand in a file that other code has made: srel verify it first",
        ),
    ],
)
def test_rows_of_another_kind_are_not_added_to(written, path, tmp_path, change, said):
    result_files.save(change(study_file.load("small", path.parent)), tmp_path / path.name)
    before = (tmp_path / path.name).read_bytes()
    _runs_alone(written, "a line", tmp_path / "runs")
    done = srel(
        "study", "small", "--kept",
        "--results-dir", tmp_path / "runs", "--committed-dir", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 1 and said in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / path.name).read_bytes() == before


def test_a_row_that_would_not_be_added_is_not_run(path, tmp_path, monkeypatch):
    result_files.save(of_other_code(study_file.load("small", path.parent)), tmp_path / path.name)
    monkeypatch.setattr(ClassExperiment, "run", lambda *_, **__: pytest.fail("it is run"))
    done = srel(
        "study", "small", "--rows", "a line",
        "--results-dir", tmp_path / "runs", "--committed-dir", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 1 and "the network stand in a file that other code" in done.stderr


def test_rows_whose_names_have_commas_are_told_apart():
    assert unknown("row", "vit", ["mlp, SGD", "vit, SGD"]).endswith("out of mlp, SGD; vit, SGD")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["smal"], "unknown study 'smal': the nearest is 'small'"),
        (["small", "--rows", "a lin"], "unknown row 'a lin': the nearest is 'a line'"),
        (["small", "--rows", ""], "unknown row ''"),
        (["small", "--rows", "a line; the netwrk"], "unknown row 'the netwrk'"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, arguments, said):
    done = srel("study", *arguments, "--results-dir", tmp_path, "--committed-dir", tmp_path)
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.assign_attrs(kind="other"), "its kind is 'other'"),
        (lambda d: d.drop_vars("auc"), "auc is missing"),
        (lambda d: d.assign(more=d.auc), "more is not in the schema"),
        (lambda d: d.drop_vars("seed"), "the coordinate seed is missing"),
        (lambda d: d.assign(auc=d.auc.astype(float)), "auc is float64"),
        (lambda d: d.assign(auc=d.auc * 0.9), "auc of the network is not the mean of its runs"),
        (lambda d: d.assign(auc=d.auc + 1), r"auc does not lie within \[0, 1\]"),
        (lambda d: d.isel(run=slice(1)), "its rows are not those of its runs"),
        (lambda d: d.isel(bound=[1, 0]), "its bounds or pairs have other names"),
        (lambda d: d.assign_attrs(code_digest="0"), "its code_digest is not that of its runs"),
        (
            lambda d: d.assign_attrs(runs=json.dumps(json.loads(d.attrs["runs"])[1:])),
            "`runs` must give",
        ),
    ],
)
def test_what_does_not_keep_to_the_schema_is_refused(path, tmp_path, change, said):
    result_files.save(change(study_file.load("small", path.parent)), tmp_path / path.name)
    with pytest.raises(ResultError, match=f"study-small.nc does not keep to the schema: .*{said}"):
        standing.committed_at(tmp_path / path.name)


def test_a_study_that_is_not_there_is_none(tmp_path):
    assert study_file.load("small", tmp_path) is None and study_file.load_all(tmp_path) == {}
