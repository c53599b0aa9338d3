"""What decides a claim is found by changing one choice at a time, and said in words."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from srel_core.book.claims.decided import changes, decided_by, in_one_line
from srel_core.book.claims.evidence import Claim, Count, Exactness, Finding
from srel_core.book.claims.of_the_paper import FRESH_ADAM, GRADIENT_STEP, THE_STEP, claims
from srel_core.book.committed import study_file
from srel_core.book.published.numbers import title_of
from srel_core.book.text.findings import findings

SIDES = {"above": (2.0, 3.0), "below": (0.1, 0.5), "undecided": (0.5, 2.0)}


def finding(sides, **choices):
    bounds = tuple(SIDES[side] for side in sides)
    return Finding(
        str(choices), tuple(map(np.mean, bounds)), bounds, 1.0, choices=choices
    )  # fmt: skip


def claim(findings, parts=()):
    return Claim("C", "page", "sec-preference", findings, parts=tuple(parts))


def test_only_what_differs_in_one_choice_is_compared():
    found = claim({
        "cifar10": (
            finding(["above", "above"], step="a", mean="x"),
            finding(["above", "below"], step="b", mean="x"),
            finding(["below", "undecided"], step="b", mean="y"),
        )
    })  # fmt: skip
    assert changes(found) == {"mean": (2, 2), "step": (1, 2)}
    assert decided_by(found) == (
        "By mean: x **for it** (3 of 4 epochs), y neither for nor against it. "
        "The answer turns on **mean** (2 of 2 pairs of readings that differ in nothing else), "
        "step (1 of 2)."
    )


def test_the_choice_that_changes_most_is_said_in_one_line():
    found = claim({
        "cifar10": (
            finding(["above", "above", "undecided"], step="short", mean="x"),
            finding(["below", "below", "below"], step="long", mean="x"),
            finding(["below", "below", "above"], step="long", mean="y"),
        ),
        "cifar100": (finding(["above", "above", "above"], step="short", mean="x"),),
    })  # fmt: skip
    assert in_one_line(found) == (
        "By step: short **for it** (5 of 6 epochs), long **against it** (5 of 6 epochs)."
    )
    same = claim({"cifar10": (finding(["above"], step="a"), finding(["above"], step="b"))})
    assert in_one_line(same) == ""


def test_data_sets_are_compared_where_all_choices_are_the_same():
    found = claim({
        "cifar10": (finding(["above"], step="a"), finding(["above"], step="b")),
        "cifar100": (finding(["below"], step="a"), finding(["above"], step="b")),
    })  # fmt: skip
    assert changes(found) == {"the data set": (1, 2), "step": (1, 2)}


@given(st.lists(st.lists(st.sampled_from(list(SIDES)), min_size=3, max_size=3), max_size=5))
def test_counts_are_those_of_all_pairs_of_one_choice(several):
    found = claim({"cifar10": tuple(finding(s, step=str(i)) for i, s in enumerate(several))})
    pairs = [(a, b) for i, a in enumerate(several) for b in several[:i]]
    differ = sum(x != y for a, b in pairs for x, y in zip(a, b, strict=True))
    assert changes(found) == ({"step": (differ, 3 * len(pairs))} if pairs else {})
    assert (decided_by(found) == "") == (not pairs)


def test_counts_are_told_by_their_parts_the_largest_share_first():
    counts = (Count("all", 13, 48),)
    parts = (Count("with ReLU", 1, 24), Count("with tanh", 12, 24))
    assert decided_by(claim({"": counts}, parts)) == (
        "With tanh, **12 of 24** agree; with ReLU, **1 of 24** agree."
    )


def test_formulas_are_counted_and_what_was_not_examined_is_silent():
    exact = (Exactness("a", 1e-9, 1e-6), Exactness("b", 1.0, 1e-6))
    assert decided_by(claim({"": exact})) == "1 of 2 formulas agree with independent computations."
    assert decided_by(claim({})) == ""


def auc(side, value, step):
    low, high = {"above": (0.51, 0.9), "below": (0.1, 0.49), "undecided": (0.4, 0.6)}[side]
    return Finding("r", (value,), ((low, high),), 0.5, "AUC ", {THE_STEP: step})


def test_the_sentence_on_classification_says_on_which_side_the_last_interval_lies():
    def said(first, second):
        found = {
            "cifar10": (auc(first, 0.571, GRADIENT_STEP), auc(second, 0.151, FRESH_ADAM)),
            "cifar100": (auc(first, 0.652, GRADIENT_STEP), auc(first, 0.388, FRESH_ADAM)),
        }
        return findings([claim(found)])[0]

    text = said("above", "below")
    assert text.startswith("**Classification.** On CIFAR-10 and CIFAR-100, a short gradient step ")
    assert "moves **its own class** farther (57% and 65% of comparisons); the long" in text
    assert "prefers its own class on one and not on another (its own in 15% and 39%)" in text
    assert "code, moves **other classes** farther (85% and 61%)" in said("below", "below")
    assert "a short gradient step prefers neither" in said("undecided", "below")


def test_the_sentences_are_those_of_the_committed_results():
    found = claims()
    classification, regression, theory = findings(found)
    by_label = {claim.label: claim for claim in found}
    two_phases, large, *_ = by_label["sec-two-phases"].findings[""]
    assert f"{two_phases.within} of {two_phases.of} networks" in regression
    assert f"In {large.within} it also stays large" in regression
    *parts, by_next_step = by_label["sec-two-phases"].parts
    assert by_next_step.reading == "by the step that Adam takes next"
    assert sum(part.within for part in parts) == two_phases.within
    assert sum(part.of for part in parts) == two_phases.of
    assert f"{len(by_label['sec-flows-claim'].readings)} closed forms" in theory
    for f in by_label["sec-preference"].findings["cifar10"]:
        if f.choices.get(THE_STEP) == GRADIENT_STEP and f.unit == "AUC ":
            assert f"{f.values[-1]:.0%}" in classification


def test_the_first_claim_is_read_from_as_many_seeds_as_there_are():
    seeds = study_file.load("seeds")
    (claim,) = (claim for claim in claims() if claim.label == "sec-preference")
    for dataset, found in claim.findings.items():
        (reading,) = (f for f in found if f.reading == f"KL, {GRADIENT_STEP} (AUC)")
        at = seeds.sel(row=title_of(dataset), rule="sgd:1e-4", divergence="kl")
        assert reading.values == tuple(at.auc.values.tolist())
        assert reading.intervals == tuple(map(tuple, at.auc_interval.values.T.tolist()))


def test_without_results_it_says_so(tmp_path):
    assert [text.split("** ")[1] for text in findings(claims(tmp_path))[:2]] == [
        "No results yet."
    ] * 2
