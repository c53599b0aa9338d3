"""The chapters on regression run, and their words follow from their numbers."""

import re

import nbformat
import pytest

from srel_core.book.regression import two_phase_rule as rule
from srel_core.experiments.regression.settings import describe, regression_settings
from srel_core.rules import OPTIMIZER
from tests.support.book import ROOT


@pytest.fixture(scope="module")
def text(executed):
    """All that the two executed chapters print."""
    kept = {path.name for path in (ROOT / "_build/results").iterdir()}
    assert kept >= {setting.file_name for setting in regression_settings("smoke")}
    outputs = []
    for name, figures in {"regression_two_phase": 2, "regression_why": 4}.items():
        cells = nbformat.read(executed / f"{name}.ipynb", 4).cells
        found = [output for cell in cells for output in cell.get("outputs", [])]
        assert sum("image/png" in o.get("data", {}) for o in found) == figures
        outputs += found
    return "\n\n".join(o.get("data", {}).get("text/markdown", o.get("text", "")) for o in outputs)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module")
def table(text):
    """The rows of the table of all settings, by name."""
    lines = text.split("| setting |")[1].split("\n\n")[0].splitlines()[2:]
    return {row[0]: row[1:] for row in map(cells, lines)}


def percent(words):
    return float(words.rstrip("%)")) / 100


def test_every_setting_is_in_the_table_once_for_each_kind_of_pairs(table):
    expected = set()
    for setting in regression_settings("smoke"):
        kinds = (" [within]", " [across]") if setting.inputs == "mixture" else ("",)
        expected |= {describe(setting) + kind for kind in kinds}
        if OPTIMIZER in setting.more_rules:
            expected.add(describe(setting) + ", next step")
    assert set(table) == expected


def test_verdicts_follow_from_the_numbers_beside_them(table):
    """Up to the digits shown: numbers on a threshold may fall on either side."""
    for levels, where, slopes, drift, half, p, to_linear, to_kernel, words in table.values():
        moved = percent(levels.split("(")[1])
        low = float(re.search(r"\[([\d.]+|nan)", to_linear)[1])
        if words == "does not move":
            assert moved <= rule.MOVES + 0.005
            continue
        assert moved >= rule.MOVES - 0.005 and where != "—"
        if words == "one trend, no break":
            assert float(p) >= rule.ALPHA - 0.005
            continue
        assert float(p) <= rule.ALPHA + 0.005
        rests = abs(float(slopes)) <= rule.REST + 5e-4 and percent(drift) <= rule.REST + 0.005
        if words == "a break, no rest":
            continue
        assert rests
        if words in ("no scale of its own", "a break too early to tell"):
            assert (float(half) < rule.OWN_SCALE + 0.005) == (words == "no scale of its own")
            continue
        assert float(half) >= rule.OWN_SCALE - 0.005
        large = low >= 0.995 and float(to_kernel) >= rule.LIKE_TANGENT - 0.005
        assert large or words == "two phases, not large"


def test_the_linear_control_does_not_move(text, table):
    controls = [row for name, row in table.items() if name.startswith("linear")]
    assert len(controls) == 4
    for row in controls:
        assert row[-1] == "does not move" and row[1:6] == ["—"] * 5
        assert row[6] == "1.00 [1.00, 1.00]"
    said = re.search(r"by more than \$(\d) \\times 10\^\{(-?\d+)\}\$ of its value", text)
    assert float("{}e{}".format(*said.groups())) < 1e-10


def test_the_closing_sentences_count_the_rows_of_the_table(text, table):
    words = [row[-1] for name, row in table.items() if not name.endswith("next step")]
    said = {
        "as claimed,**": "two phases, large",
        "that is not large,**": "two phases, not large",
        "A break too early**": "a break too early to tell",
        "length of the training,**": "no scale of its own",
        "no rest after it,**": "a break, no rest",
        "No break**": "one trend, no break",
        "No motion**": "does not move",
    }
    assert set(words) <= set(said.values())
    for start, verdict in said.items():
        found = re.search(re.escape(start) + r"[^.]*? in (\d+) of (\d+) rows", text)
        assert int(found[1]) == words.count(verdict) and int(found[2]) == len(words)
    first = next(line for line in text.splitlines() if line.startswith("| as above"))
    order = list(said.values())
    assert cells(first)[1:] == [*(str(words.count(w)) for w in order), "0"]


def test_the_next_step_is_judged_in_words_that_count_its_rows(text, table):
    words = [row[-1] for name, row in table.items() if name.endswith("next step")]
    found = re.search(
        r"Of (\d+) trainings by Adam, \d+ have two phases by the SGD step, and (\d+)", text
    )
    two = sum(w.startswith("two phases") for w in words)
    assert list(map(int, found.groups())) == [len(words), two]
    assert f"Adam trains, {two} of {len(words)} have two phases" in text


def test_directions_are_those_of_the_levels(text, table):
    """Rises and falls of the networks that move add up, and agree with start → plateau."""
    rises, falls = map(int, re.search(r"rises in (\d+) .* falls in (\d+)", text).groups())
    networks = {
        n: r for n, r in table.items() if n.startswith(("relu", "tanh")) and "next step" not in n
    }
    moving = [row[0] for row in networks.values() if row[-1] != "does not move"]
    assert rises + falls == len(moving)
    levels = [list(map(float, re.findall(r"\d\.\d+", levels)[:2])) for levels in moving]
    assert sum(end > start for start, end in levels) <= rises
    assert sum(end < start for start, end in levels) <= falls


def test_the_gates_break_is_where_the_closed_form_puts_it_if_it_says_so(text):
    lines = text.split("| $\\eta$ |")[1].split("\n\n")[0].splitlines()[2:]
    inside = []
    for _, _, measured, predicted, said, _ in map(cells, lines):
        low, high = map(float, re.search(r"\[([\d.]+), ([\d.]+)\]", measured).groups())
        inside.append(said == "yes")
        assert inside[-1] == (low <= float(predicted) <= high)
    agreed = re.search(r"in the interval of the measured one in (\d) of (\d)", text)
    assert [int(n) for n in agreed.groups()] == [sum(inside), len(inside)]
