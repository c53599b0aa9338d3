"""Verdicts follow from intervals, and are drawn and counted as they are."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srel_core.book.claims import evidence, flow_check, of_the_paper
from srel_core.book.claims.comparison import BesidePublished, accuracy_rows, curve_rows
from srel_core.book.claims.decided import decided_by
from srel_core.book.claims.evidence import Claim, Count, Exactness, Finding, overall
from srel_core.book.committed import files, regression_file, write_regression
from srel_core.book.published.numbers import NOT_RUN, PUBLISHED
from srel_core.book.regression.rows import judged_rows
from srel_core.book.text import result_tables, verdict_tables
from srel_core.experiments import result_files
from srel_core.experiments.regression.settings import regression_settings
from tests.support.book import tool

numbers = st.floats(-3, 5) | st.sampled_from([np.inf, -np.inf, 1.0])
intervals = st.lists(st.tuples(numbers, numbers).map(sorted).map(tuple), min_size=1, max_size=7)


def finding(bounds, reading="r", threshold=1.0):
    return Finding(reading, tuple(low for low, _ in bounds), tuple(bounds), threshold)


@given(intervals)
def test_no_text_says_holds_where_the_interval_does_not(bounds):
    found = finding(bounds)
    above = [low > 1 for low, _ in bounds]
    below = [high < 1 for _, high in bounds]
    assert (found.word == "holds") == all(above)
    assert (found.word == "does not hold") == (any(below) and not any(above))
    text = found.words
    assert ("**holds**" in text) == any(above)
    assert ("**reversed**" in text) == any(below)
    # Where it is said of some epochs only, of just these.
    for word, sides in (("holds", above), ("reversed", below)):
        named = re.search(rf"\*\*{word}\*\* in epochs? ([\d–, ]+?)(?:, \*\*|$)", text)
        if any(sides) and not all(sides):
            assert _numbers(named[1]) == [i for i, side in enumerate(sides, start=1) if side]
        else:
            assert named is None


def _numbers(text):
    found = []
    for part in text.split(", "):
        low, _, high = part.partition("–")
        found += range(int(low), int(high or low) + 1)
    return found


@given(st.lists(intervals, max_size=4))
def test_a_claim_holds_only_where_every_interval_does(several):
    findings = tuple(finding(bounds, f"r{i}") for i, bounds in enumerate(several))
    claim = Claim("C", "page", "label", {"cifar10": findings} if findings else {}, "no results")
    every = [low > 1 for bounds in several for low, _ in bounds]
    assert (claim.word == "holds") == (bool(every) and all(every))
    assert (claim.word == "not examined") == (not several)
    if claim.word == "does not hold":
        assert not any(every)
    row = verdict_tables.table([claim], lambda c: "").splitlines()[-1]
    assert f"| **{claim.word}** |" in row
    assert claim.word != "not examined" or "no results" in row
    assert decided_by(claim) in row


def test_the_words_of_a_claim():
    assert overall(["holds", "holds"]) == "holds"
    assert overall(["holds", "does not hold"]) == "depends"
    assert overall(["holds", "cannot be told"]) == "depends"
    assert overall(["depends"]) == "depends"
    assert overall(["does not hold", "cannot be told"]) == "does not hold"
    assert overall(["cannot be told"]) == "cannot be told"
    assert overall([]) == "not examined"
    with pytest.raises(ValueError, match="a value and an interval for each epoch"):
        Finding("r", (1.0,), (), 1.0)


@pytest.mark.parametrize(
    "bounds", [(2, 0.5), (np.nan, 2), (0.5, np.nan), (np.nan, np.nan), (np.inf, 2)]
)
def test_what_is_no_interval_is_no_finding(bounds):
    with pytest.raises(ValueError, match="'r' has a value .*: expected numbers, and a lower bound"):
        Finding("r", (1.0, 1.0), ((0.5, 2.0), bounds), 1.0)
    with pytest.raises(ValueError, match="'r' has a value nan"):
        Finding("r", (np.nan,), ((0.5, 2.0),), 1.0)


def test_effects_are_those_of_the_last_epoch():
    found = Finding("r", (2.0, 1234.5), ((1.5, 3.0), (1100.2, 2e6)), 1.0)
    assert found.text == "**holds**; ×1,234 [1,100, 2e+06]"
    assert evidence.spans([1, 2, 3, 5, 7, 8]) == "epochs 1–3, 5, 7–8"
    assert evidence.digits(float("nan")) == "not defined"


@given(st.floats(0.1, 10), st.floats(0.5, 0.99), st.floats(1.01, 2), st.floats(0.05, 20))
def test_agreement_with_a_mean_of_other_runs_is_wider_by_the_root_of_two(ours, down, up, there):
    row = BesidePublished(ours, ours * down, ours * up, there)
    assert row.within == (ours * down <= there <= ours * up)
    assert not row.within or row.within_other_mean
    edge = ours * up ** (2**0.5)
    assert BesidePublished(ours, ours * down, ours * up, edge * 0.999).within_other_mean
    assert not BesidePublished(ours, ours * down, ours * up, edge * 1.001).within_other_mean
    assert row.difference == pytest.approx((ours - there) / there, abs=1e-9)


def test_agreement_and_exactness_in_words():
    assert [Count("r", n, 3).word for n in (0, 2, 3)] == ["does not hold", "depends", "holds"]
    assert "2 of 3 agree" in Count("r", 2, 3).text
    with pytest.raises(ValueError, match="0 of 0"):
        Count("r", 0, 0)
    assert Exactness("r", 1e-9, 1e-6).word == "holds"
    for error in (1e-3, np.inf, np.nan):
        wrong = Exactness("r", error, 1e-6)
        assert wrong.word == "does not hold" and "NOT below" in wrong.text


def test_the_flows_are_exact_and_a_wrong_one_is_seen(monkeypatch):
    errors = flow_check.flow_errors(seed=3)
    assert len(errors) == 6 and max(errors.values()) < flow_check.TOLERANCE
    right = flow_check.PowerFlow.s_rel
    monkeypatch.setattr(flow_check.PowerFlow, "s_rel", lambda *a: 1.001 * right(*a))
    wrong = flow_check.flow_errors(seed=3)
    assert {n for n, e in wrong.items() if e > flow_check.TOLERANCE} == {
        "power, d = 2", "power, d = 3"
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Committed results of small runs under the name of a published data set."""
    from srel_core.book.committed.write import summary_of
    from srel_core.experiments.profiles import class_experiments
    from tests.book.conftest import N_RESAMPLES

    place = tmp_path_factory.mktemp("results")
    experiments = class_experiments("smoke", "digits", epochs=2)
    runs = [e.run(place / "runs", "cpu", progress=False) for e in experiments]
    path = place / files.file_name("cifar10")
    result_files.save(summary_of(runs, n_resamples=N_RESAMPLES), path)
    return place


def test_claims_say_what_the_results_hold(folder):
    found = of_the_paper.claims(folder)
    summary = files.load_all(folder)["cifar10"]
    prefers, sharper, again, regression, forms = found
    assert regression.word == "not examined" and "no results" in regression.missing
    assert forms.word == "holds"
    by_reading = {f.reading: f for f in prefers.findings["cifar10"]}
    at = summary.sel(rule="sgd:1e-4", divergence="kl")
    median = by_reading["KL, gradient step (median)"]
    want = at.sel(aggregate="median")
    assert median.values == tuple(want.epoch_preference.values.tolist())
    assert [low for low, _ in median.intervals] == want.epoch_preference_interval[0].values.tolist()
    assert by_reading["KL, gradient step (AUC)"].threshold == 0.5
    gain = {f.reading: f for f in sharper.findings["cifar10"]}
    assert gain["as published (ratio of preferences)"].threshold == 1
    got = gain["KL against norm of logits, fresh Adam (AUC)"]
    assert got.threshold == 0
    adam = summary.sel(rule="adam:1e-4", divergence="kl")
    assert got.values == tuple(adam.auc_gain.values.tolist())
    # Two epochs of two curves are compared for each definition, and two of the accuracy.
    assert [f.of for f in again.findings["cifar10"]] == [4, 4, 2]
    row = curve_rows(summary, "cifar10", "original", "other")[1]
    assert row.published == PUBLISHED["cifar10"].other["original"][1]
    assert row.low <= row.ours <= row.high


def test_data_sets_without_results_say_so(folder):
    lines = verdict_tables.details(of_the_paper.claims(folder)).splitlines()
    readings = [line for line in lines[2:] if not line.startswith("| **")]
    assert len(readings) == 9 + 4 + 3
    for line in readings:
        assert line.count(NOT_RUN) == 2 and line.count(" | ") == 3
    assert verdict_tables.details(of_the_paper.claims(folder / "runs")) == ""


def test_a_data_set_of_which_nothing_was_published_has_its_column(folder, tmp_path):
    summary = files.load_all(folder)["cifar10"]
    for name in ("cifar10", "birds"):
        result_files.save(summary, tmp_path / files.file_name(name))
    summaries = files.load_all(tmp_path)
    found = of_the_paper.claims(tmp_path)
    header, _, *lines = verdict_tables.details(found).splitlines()
    assert header == "| Read as | CIFAR-10 | CIFAR-100 | SVHN | birds |"
    assert sum("nothing was published" in line for line in lines) == 3
    assert curve_rows(summary, "birds", "original", "same") == []
    assert accuracy_rows(summary, "birds") == []
    assert "- birds: " in result_tables.badges(summaries)
    assert "| birds |" in result_tables.settings_table(summaries)
    assert "birds" not in result_tables.missing(summaries)
    assert verdict_tables.in_brief(found[0]).endswith("on CIFAR-10 and birds")


def test_the_verdict_on_some_readings_in_brief():
    found = {"cifar10": (finding([(2, 3)], "KL, a"), finding([(0, 0.5)], "KL, b"))}
    one = Claim("C", "page", "label", found)
    assert verdict_tables.in_brief(one, "KL, a") == "**holds**, on CIFAR-10"
    assert verdict_tables.in_brief(one) == "**depends** (1 *holds*, 1 *does not hold*), on CIFAR-10"
    formula = Claim("C", "page", "label", {"": (Exactness("x", 0, 1), Exactness("y", 0, 1))})
    assert verdict_tables.in_brief(formula) == "**holds**"
    assert verdict_tables.in_brief(Claim("C", "", "", {}, "none yet"), "KL") == "**not examined**"
    with pytest.raises(ValueError, match="unknown reading 'KM': the nearest is"):
        verdict_tables.in_brief(one, "KM")


@given(st.lists(intervals, min_size=1, max_size=4))
def test_the_verdict_on_all_readings_in_brief_is_that_on_the_claim(several):
    findings = tuple(finding(bounds, f"r{i}") for i, bounds in enumerate(several))
    claim = Claim("C", "page", "label", {"cifar10": findings, "svhn": findings[::-1]})
    assert verdict_tables.in_brief(claim).startswith(f"**{claim.word}**")


def test_the_picture_shows_each_reading(folder):
    keep, found = tool("verdicts"), of_the_paper.claims(folder)
    text = keep.picture(found)
    assert keep.picture(found) == text
    readings = [reading for claim in found[:3] for reading in claim.readings]
    assert len(readings) == 9 + 4 + 3
    for shown in [*readings, "CIFAR-10", "all 6 readings", f"4. {found[3].title}"]:
        assert f"<!-- {shown.replace('`', '')} -->" in text
    assert "CIFAR-100" not in text and "<dc:date>" not in text


def test_regression_is_counted_by_setting(tmp_path):
    path = write_regression.write(tmp_path / "runs", tmp_path, "smoke")
    kept = regression_file.load(tmp_path)
    assert path.name == regression_file.FILE and kept is not None
    claim = of_the_paper.claims(tmp_path)[3]
    phases, large, rises, following = claim.findings[""]
    rows = [row for row in judged_rows(_smoke_results(tmp_path)) if row.setting.family == "mlp"]
    networks = [row for row in rows if not row.next_step]
    by_next = [row.judgement.two_phases for row in rows if row.next_step]
    assert (following.within, following.of) == (sum(by_next), len(by_next))
    assert len(by_next) == 10 and claim.parts[-1].reading == "by the step that Adam takes next"
    assert phases.of == large.of == len(networks) < len(kept.row)
    assert phases.within == sum(row.judgement.two_phases for row in networks)
    assert large.within == sum(row.judgement.checks["large"] for row in networks)
    moving = [row for row in networks if row.judgement.checks["moves"]]
    assert (rises.within, rises.of) == (sum(row.rises for row in moving), len(moving))
    assert claim.title in verdict_tables.other_details([claim])
    result_files.save(kept.drop_vars("moved"), path)
    with pytest.raises(result_files.ResultError, match=r"schema: expected moved .*make results"):
        regression_file.load(tmp_path)


def _smoke_results(folder):
    return {e: e.run(folder / "runs") for e in regression_settings("smoke")}
