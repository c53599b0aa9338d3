"""What is said of a committed file that cannot be one, and of files that give none."""

import json
import re

import pytest

from srel_core.book.claims.of_the_paper import claims
from srel_core.book.committed import files, regression_file, standing, verify
from srel_core.experiments import netcdf, result_files
from srel_core.experiments.datasets import DataError
from srel_core.experiments.result_files import NoDigestError, ResultError
from tests.support.book import ROOT
from tests.test_cli import srel


def test_a_file_without_a_digest_is_refused_wherever_it_is_read(summary, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = tmp_path / files.file_name("digits")
    path.write_bytes(netcdf.encode(summary).getvalue())
    on_regression = netcdf.encode(regression_file.load())
    (tmp_path / regression_file.FILE).write_bytes(on_regression.getvalue())
    for read in (
        lambda: files.load_all(tmp_path),
        lambda: files.load_summary(path),
        lambda: regression_file.load(tmp_path),
        lambda: claims(tmp_path),
        lambda: verify.verify(path, "cpu", progress=False),
        lambda: verify.verify(tmp_path / regression_file.FILE),
    ):
        with pytest.raises(NoDigestError, match=r"\.nc has no digest, so that nothing vouches for"):
            read()


def test_files_that_cannot_be_summarised_are_named(kept, file, tmp_path):
    first, second = sorted(kept[0].glob("*.nc"))
    run = result_files.load(first)
    config = json.loads(run.attrs["config"])
    for altered, said in (
        (run.drop_vars("own"), "no run to summarise: the variable own is missing"),
        (run.assign_attrs(config="["), "no run to summarise: its config is none"),
        (run.assign_attrs(config=json.dumps(config | {"more": 1})), "version of srel_core: see"),
        (run.assign_attrs(kind="regression"), "no run to summarise: its kind is regression"),
        (result_files.load(file), "no run to summarise: its config is of another version"),
        (result_files.load(second), f"altered.nc, {second.name}: two of these runs have the same"),
        (run.assign_attrs(data_checksum="0"), "altered.nc, .*: these runs differ in their data_"),
    ):
        result_files.save(altered, tmp_path / "altered.nc")
        done = srel("summarise", tmp_path / "altered.nc", second, "--committed-dir", tmp_path / "c")
        assert done.exit_code in (1, 2) and done.stderr.count("\n") == 1, done.stderr
        assert re.search(said, done.stderr) and "altered.nc" in done.stderr
    assert not (tmp_path / "c").exists()


def test_whatever_is_said_of_a_file_names_it(file):
    summary = files.load_summary(file)
    config = json.loads(json.loads(summary.attrs["runs"])[0]["config"])
    for altered, said in (
        (summary.isel(slice_train_step=slice(2)), "slice_train_loss has shape"),
        (
            of_config(summary, config | {"colour": "red"}),
            "another version of srel_core: see 'colour'",
        ),
        (of_config(summary, config | {"seed": -1}), "seed must be 0 or more, not -1"),
        (of_config(summary, config | {"seed": "zero"}), "another version of srel_core: '<' not"),
        (of_config(summary, config | {"dataset": "folder:nowhere"}), "found no such folder"),
    ):
        result_files.save(altered, file)
        before = file.read_bytes()
        with pytest.raises((ResultError, DataError), match=rf"^{file.name}: .*{said}") as caught:
            verify.verify(file, "cpu", progress=False)
        assert "\n" not in str(caught.value) and file.read_bytes() == before


def of_config(summary, config):
    """The summary, with another config of its first run."""
    runs = json.loads(summary.attrs["runs"])
    runs[0]["config"] = json.dumps(config)
    return summary.assign_attrs(runs=json.dumps(runs))


def test_a_stamp_that_is_not_whole_is_none(summary):
    code = {"code_digest": "old", "verified_code_digest": standing.present_code(summary)}
    assert standing.standing(summary.assign_attrs(code)) == "stale"
    whole = code | {"verified_on": "2026-01-01", "verified_commit": "abc"}
    assert standing.standing(summary.assign_attrs(whole)) == "verified"
