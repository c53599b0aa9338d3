"""The committed file on regression says what follows from its numbers, and can be verified."""

import json
import re

import numpy as np
import pytest

from srel_core.book.claims import of_the_paper
from srel_core.book.committed import regression_file, some_settings, standing, verify
from srel_core.book.committed.write_regression import write
from srel_core.experiments import result_files
from srel_core.experiments.regression.settings import regression_settings
from srel_core.experiments.result_files import ResultError
from tests.book.conftest import COMMIT
from tests.support.book import ROOT
from tests.test_cli import srel


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    return write(folder / "runs", folder, "smoke")


@pytest.fixture
def file(written, tmp_path):
    path = tmp_path / written.name
    path.write_bytes(written.read_bytes())
    return path


def test_what_is_written_holds_all_that_its_answers_follow_from(file):
    table = regression_file.load_file(file)
    assert table.attrs["commit"] == COMMIT
    for name, values in regression_file.answers(table).items():
        np.testing.assert_array_equal(table[name], values)
    assert some_settings.settings_of(table) == regression_settings("smoke")


@pytest.mark.parametrize(
    ("name", "alter", "fault"),
    [
        ("passed", lambda v: v | True, "passed of .* does not follow from the numbers beside it"),
        ("p_adjusted", lambda v: v / 2, "p_adjusted of .* does not follow"),
        ("verdict", lambda v: v[::-1], "verdict of .* does not follow"),
        ("p_value", lambda v: v - 1, "p_value does not lie between 0 and 1"),
        ("moved", lambda v: v * np.nan, "moved is not finite everywhere"),
        ("slopes", lambda v: v * np.nan, "slopes must be a number where"),
        ("to_linear", lambda v: v[::-1], "the lower bound of an interval lies above"),
        ("break_interval", lambda v: v[::-1], "the lower bound of an interval lies above"),
    ],
)
def test_what_cannot_be_or_does_not_follow_is_refused(file, name, alter, fault):
    table = regression_file.load_file(file)
    altered = table.assign({name: (table[name].dims, alter(table[name].values))})
    result_files.save(altered, file)
    with pytest.raises(ResultError, match=fault):
        of_the_paper.claims(file.parent)


def test_another_form_is_refused(file):
    table = regression_file.load_file(file)
    for altered, fault in (
        (table.drop_vars("moved"), "expected moved .*`make results` writes it anew"),
        (table.assign_attrs(kind="class_srel"), "its kind is 'class_srel'"),
        (table.assign(moved=table.family), "moved is <U"),
        (table.assign(verdict=table.moved), "verdict is float64"),
        (table.assign(passed=table.passed * 1.0), "passed is float64"),
        (table.drop_vars("check"), "expected the coordinate check to be"),
        (table.drop_vars("row"), "expected the names of the settings"),
        (
            table.assign_coords(bound=["low", "low"]),
            "expected the coordinate bound to be low, high",
        ),
    ):
        result_files.save(altered, file)
        with pytest.raises(ResultError, match=fault):
            regression_file.load_file(file)


def test_verify_runs_some_settings_again_and_stamps_the_file(file, monkeypatch):
    done = srel("verify", "--quiet", file)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "regression.nc: agrees (3 of 48 settings to 0.0e+00)" in done.stdout
    table = regression_file.load_file(file)
    assert table.attrs["verified_commit"] == COMMIT
    assert standing.standing(table) == "current"
    monkeypatch.setattr(standing, "present_code", lambda _: "newer")
    assert standing.standing(table) == "stale"


def test_a_table_that_agrees_with_itself_but_not_with_the_code_is_refused(file):
    table = regression_file.load_file(file)
    forged = table.assign(start=table.start * 1.01)
    result_files.save(forged, file)
    before = file.read_bytes()
    with pytest.raises(ResultError, match=r"gives other numbers \(3 of 48 settings to 9.9e-03\)"):
        verify.verify(file)
    assert file.read_bytes() == before


def test_the_code_chooses_which_settings_are_run_again(file):
    settings = regression_settings("smoke")
    choices = {code: some_settings.chosen(settings, code) for code in ("a", "b")}
    assert choices["a"] == some_settings.chosen(settings[::-1], "a")
    assert all(len(set(found)) == 3 for found in choices.values())
    assert choices["a"] != choices["b"]


def test_rows_and_config_belong_together(file):
    table = regression_file.load_file(file)
    config = json.loads(table.attrs["config"])
    config["settings"][0]["colour"] = "red"
    other = table.assign_attrs(config=json.dumps(config))
    result_files.save(other, file)
    said = "regression.nc: its config is of another version of srel_core: see 'colour'"
    with pytest.raises(ResultError, match=said):
        verify.verify(file)
    for config in ("{}", "7", "[" * 99999, '{"settings": [7]}'):
        with pytest.raises(ValueError, match="its config gives no settings"):
            some_settings.settings_of(table.assign_attrs(config=config))
    setting = regression_settings("smoke")[0]
    with pytest.raises(ValueError, match="its rows are not those of its settings"):
        some_settings.largest_difference(table.isel(row=slice(1, None)), [setting])


def test_a_smaller_profile_does_not_take_the_place_of_a_larger_one(tmp_path):
    committed = ROOT / "results" / regression_file.FILE
    (tmp_path / committed.name).write_bytes(committed.read_bytes())
    done = srel("regression", "--profile", "smoke", "--committed-dir", tmp_path)
    assert done.exit_code == 1 and done.stderr.count("\n") == 1
    assert re.search(r"has results that its successor would lack \(\d+\): write to", done.stderr)
    assert (tmp_path / committed.name).read_bytes() == committed.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [committed.name]
