"""The decision rule on curves whose right answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srel_core.book.regression.two_phase_rule import ALPHA, CHECKS, Case, _ratio, holm, judge

STEPS = np.arange(101) * 30.0
SEEDS = 10


def case(curve, level=1.0, noise=0.01, linear=0.5, tangent=None, seed=0):
    """Seeds with noise, and a size of their own, about one curve (T,)."""
    rng = np.random.default_rng(seed)
    size = level * np.exp(0.05 * rng.standard_normal((SEEDS, 1)))
    curves = size * (curve + noise * rng.standard_normal((SEEDS, len(STEPS))))
    end = curves[:, -1] if tangent is None else np.full(SEEDS, tangent)
    return Case(STEPS, curves, np.full(SEEDS, linear), end)


def to_plateau(at, start):
    return start + (1 - start) * np.minimum(STEPS / at, 1)


CURVES = {
    "a rise to a plateau": (case(to_plateau(700, 0.3)), "two phases, large"),
    "a fall to a plateau": (case(to_plateau(700, 1.8)), "two phases, large"),
    "an early exponential": (case(1 - 0.6 * np.exp(-STEPS / 150)), "two phases, large"),
    "a plateau below the linear model's": (
        case(to_plateau(700, 0.3), linear=1.3),
        "two phases, not large",
    ),
    "a plateau like the linear model's": (
        case(to_plateau(700, 0.3), linear=1.0),
        "two phases, not large",
    ),
    "a plateau below the final tangent kernel's": (
        case(to_plateau(700, 0.3), tangent=1.2),
        "two phases, not large",
    ),
    "a constant": (case(np.ones_like(STEPS), noise=0), "does not move"),
    "noise about a constant": (case(np.ones_like(STEPS)), "does not move"),
    "a small step": (case(to_plateau(700, 0.95), noise=0.001), "does not move"),
    "a straight line": (case(1 + STEPS / 3000), "one trend, no break"),
    "an exact straight line": (case(1 + STEPS / 3000, noise=0), "one trend, no break"),
    "a late break": (case(to_plateau(2300, 0.3)), "a break, no rest"),
    "a slower rise after the break": (
        case(np.minimum(STEPS / 700, 1) + np.maximum(STEPS - 700, 0) / 4000),
        "a break, no rest",
    ),
    "a rest that drifts": (
        case(30 * to_plateau(300, 0.01) + np.maximum(STEPS - 300, 0) / 200),
        "a break, no rest",
    ),
    "a logarithm": (case(np.log1p(STEPS / 50) / 4, noise=0.002), "a break, no rest"),
    "a break at the third step": (case(to_plateau(75, 0.3)), "a break too early to tell"),
    "a logarithm on a pedestal": (
        case(1 + 0.2 * np.log1p(STEPS) / np.log1p(3000), noise=1e-3),
        "no scale of its own",
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_each_curve_gets_the_verdict_it_should(name):
    curves, words = CURVES[name]
    verdict = judge({name: curves})[name]
    assert verdict.words == words
    assert verdict.two_phases == words.startswith("two phases")
    # what comes after the first failure was not reached
    answers = [verdict.checks[check] for check in CHECKS]
    assert answers == sorted(answers, reverse=True)


def test_measurements_are_those_of_the_curve():
    made = case(to_plateau(700, 0.3), level=2.0, noise=0.001)
    verdict = judge({"": made})[""]
    assert verdict.fit.break_step == pytest.approx(700, abs=5)
    assert verdict.start == pytest.approx(made.curves[:, 0].mean())
    assert verdict.plateau == pytest.approx(made.curves[:, 24:].mean(), rel=1e-3)
    assert verdict.moved == pytest.approx(0.7, abs=0.01)
    assert verdict.half_break == pytest.approx(1, abs=0.01)
    ratios = made.curves[:, 24:].mean(1) / 0.5
    assert verdict.to_linear[0] == pytest.approx(np.exp(np.log(ratios).mean()), rel=1e-3)
    assert verdict.to_linear[1] < verdict.to_linear[0] < verdict.to_linear[2]
    assert verdict.to_tangent == pytest.approx(1, abs=0.01)


def test_the_interval_of_the_ratio_to_the_linear_model_covers_as_promised():
    rng = np.random.default_rng(1)
    intervals = [_ratio(2 * np.exp(0.2 * rng.standard_normal(SEEDS)), 1.0) for _ in range(2000)]
    assert np.mean([low <= 2 <= high for _, low, high in intervals]) == pytest.approx(
        0.95, abs=0.015
    )


def test_p_values_are_adjusted_for_all_cases_judged_together():
    weak = case(to_plateau(700, 0.7), noise=0.4)
    alone = judge({"weak": weak})["weak"]
    assert 0.005 < alone.p_adjusted <= ALPHA and alone.checks["breaks"]
    others = {str(i): CURVES["a straight line"][0] for i in range(19)}
    among = judge({"weak": weak} | others)["weak"]
    assert among.p_adjusted == pytest.approx(20 * alone.p_adjusted) and not among.checks["breaks"]


def test_more_cases_than_p_values_can_tell_apart():
    line = CURVES["a straight line"][0]
    with pytest.raises(ValueError, match="101 cases are too many .* more than 100$"):
        judge({str(i): line for i in range(101)})


def test_a_plateau_of_zero_is_not_large():
    falls = 1 - np.minimum(STEPS / 700, 1)
    verdict = judge({"": case(falls, noise=0)})[""]
    assert verdict.to_linear[0] == 0 and not verdict.checks["large"]


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_definition_rejects(p_values):
    """Step down from the smallest: reject while p_(i) ≤ α/(m − i)."""
    rejected, m = set(), len(p_values)
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        if p_values[index] > ALPHA / (m - rank):
            break
        rejected.add(index)
    adjusted = holm(p_values)
    close = np.isclose(adjusted, ALPHA, rtol=1e-9)
    for i in range(m):
        assert close[i] or (adjusted[i] <= ALPHA) == (i in rejected)
    assert (adjusted >= np.array(p_values) - 1e-15).all() and (adjusted <= 1).all()
