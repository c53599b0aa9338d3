"""The two-phase fit against brute force, on exact curves, and on curves with known truth."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srel_core.statistics.hinge import Hinges
from srel_core.statistics.phases import MIN_STEPS, NoBreakError, fit_two_phase

SEEDS = st.integers(0, 2**32 - 1)


def ramp(x, at):
    return np.minimum(x / at, 1)


def irregular_steps(rng, n):
    return np.cumsum(rng.uniform(0.2, 3, n)) - 5


def hinge_design(s, knot):
    return np.stack([np.ones_like(s), s, np.maximum(s - knot, 0)], axis=1)


def sse_by_lstsq(s, y, knot):
    """The oracle: one least-squares problem for each knot; curves y in columns, (T, ...)."""
    design = hinge_design(s, knot)
    residual = y - design @ np.linalg.lstsq(design, y)[0]
    return (residual**2).sum(0)


def knot_grid(s, n=400):
    return np.linspace(s[2], s[-3], n)


@given(SEEDS, st.integers(MIN_STEPS, 25))
@settings(max_examples=30)
def test_no_knot_of_a_fine_grid_fits_better(seed, n):
    rng = np.random.default_rng(seed)
    s, y = irregular_steps(rng, n), rng.standard_normal(n)
    fit = fit_two_phase(s, y)
    sse = ((y - fit.predict(s)) ** 2).sum()
    grid = knot_grid(s)
    by_grid = np.array([sse_by_lstsq(s, y, knot) for knot in grid])
    assert sse <= by_grid.min() * (1 + 1e-9)
    assert s[2] - 1e-9 <= fit.break_step <= s[-3] + 1e-9  # three points on each side
    # and the fit at its own knot is the least-squares one
    np.testing.assert_allclose(sse, sse_by_lstsq(s, y, fit.break_step), rtol=1e-8)


@given(SEEDS, st.integers(MIN_STEPS, 25), st.floats(0.05, 0.95))
@settings(max_examples=30)
def test_the_span_of_knots_above_a_threshold_is_that_of_a_fine_grid(seed, n, share):
    rng = np.random.default_rng(seed)
    s, y = irregular_steps(rng, n), rng.standard_normal(n)
    hinges = Hinges.on_grid(s)
    v = hinges.products(y)
    threshold = share * float(hinges.best(v).gain)
    lo, hi = hinges.span_above(v, threshold)

    grid = knot_grid(s, 1000)
    line = (hinges.off_line(y) ** 2).sum()
    gain = np.array([line - sse_by_lstsq(s, y, knot) for knot in grid])
    above = grid[gain >= threshold]
    spacing = grid[1] - grid[0]
    if gain[0] >= threshold:
        assert lo == -np.inf
    elif above.size:
        assert lo <= above[0] <= lo + spacing or gain.max() < threshold * 1.001
    if gain[-1] >= threshold:
        assert hi == np.inf
    elif above.size:
        assert hi - spacing <= above[-1] <= hi or gain.max() < threshold * 1.001


def test_p_value_is_that_of_the_largest_F_over_all_knots_by_brute_force():
    rng = np.random.default_rng(8)
    s = irregular_steps(rng, 20)
    y = ramp(s - s[0], 15) + 0.35 * rng.standard_normal(20)
    curves = np.column_stack([y, rng.standard_normal((20, 4000))])
    best = np.min([sse_by_lstsq(s, curves, knot) for knot in knot_grid(s, 200)], axis=0)
    line = np.stack([np.ones_like(s), s], axis=1)
    straight = ((curves - line @ np.linalg.lstsq(line, curves)[0]) ** 2).sum(0)
    f = (straight - best) / (best / (20 - 4))
    expected = (f[1:] >= f[0]).mean()
    assert 0.02 < expected < 0.5, "the example should be neither clear nor hopeless"
    assert fit_two_phase(s, y).p_value == pytest.approx(expected, abs=0.02)


@given(
    seed=SEEDS,
    n=st.integers(MIN_STEPS, 40),
    where=st.floats(0.01, 0.99),
    early=st.floats(-5, 5),
    change=st.floats(0.1, 5),
    sign=st.sampled_from([-1, 1]),
)
@settings(max_examples=50)
def test_exact_hinges_are_recovered(seed, n, where, early, change, sign):
    s = irregular_steps(np.random.default_rng(seed), n)
    at, late = s[2] + where * (s[-3] - s[2]), early + sign * change
    y = 3 + early * np.minimum(s - at, 0) + late * np.maximum(s - at, 0)
    fit = fit_two_phase(s, y)
    assert fit.break_step == pytest.approx(at, abs=1e-8 * (s[-1] - s[0]))
    assert fit.slope_early == pytest.approx(early, abs=1e-8)
    assert fit.slope_late == pytest.approx(late, abs=1e-8)
    assert fit.break_value == pytest.approx(3, abs=1e-8)
    assert fit.plateau == pytest.approx(3 + late * (s[-1] - at) / 2, abs=1e-8)
    assert fit.interval == pytest.approx((at, at), abs=1e-5 * (s[-1] - s[0]))
    assert fit.p_value == 1 / 10_000
    assert fit.residual_autocorrelation == 0
    np.testing.assert_allclose(fit.predict(s), y, atol=1e-8)
    middle = np.array([[s[0] - 1, at], [s[-1], s[-1] + 2]])  # beyond the data, any shape
    expected = 3 + early * np.minimum(middle - at, 0) + late * np.maximum(middle - at, 0)
    np.testing.assert_allclose(fit.predict(middle), expected, atol=1e-7)


def test_an_early_break_on_a_logarithmic_grid_keeps_its_digits():
    s = np.unique(np.concatenate([[0], np.geomspace(1, 1e6, 100).round()]))
    for at in (3.0, 50.0, 1e3, 1e5):
        assert fit_two_phase(s, ramp(s, at)).break_step == pytest.approx(at, rel=1e-9)


def test_time_reversed_the_phases_change_places():
    rng = np.random.default_rng(3)
    s = irregular_steps(rng, 40)
    y = ramp(s - s[0], 20) + 0.1 * rng.standard_normal(40)
    a, b = fit_two_phase(s, y), fit_two_phase(-s[::-1], y[::-1])
    assert b.break_step == pytest.approx(-a.break_step)
    assert b.slope_early == pytest.approx(-a.slope_late)
    assert b.slope_late == pytest.approx(-a.slope_early)


def test_upside_down_the_break_stays():
    rng = np.random.default_rng(3)
    s = irregular_steps(rng, 40)
    y = ramp(s - s[0], 20) + 0.1 * rng.standard_normal(40)
    a, b = fit_two_phase(s, y), fit_two_phase(s, -y)
    assert (b.break_step, b.p_value) == (a.break_step, a.p_value)
    assert (b.slope_early, b.slope_late, b.plateau) == pytest.approx(
        (-a.slope_early, -a.slope_late, -a.plateau)
    )


def test_many_curves_are_fitted_by_their_mean_whatever_the_level_and_slope_of_each():
    rng = np.random.default_rng(4)
    s = np.linspace(0, 1, 40)
    y = ramp(s, 0.4) + 0.1 * rng.standard_normal((5, 40))
    a = fit_two_phase(s, y)
    assert a.break_step == fit_two_phase(s, y.mean(0)).break_step
    own = rng.standard_normal((2, 5, 1))
    b = fit_two_phase(s, y + own[0] + own[1] * s)
    assert b.break_step == pytest.approx(a.break_step)
    assert b.interval == pytest.approx(a.interval)
    assert b.p_value == pytest.approx(a.p_value)


@pytest.mark.parametrize("shape", [(30,), (4, 30)])
def test_log_fits_the_logarithm_and_answers_in_the_units_of_the_values(shape):
    rng = np.random.default_rng(5)
    s = np.arange(30)
    y = np.exp(ramp(s, 12) + 0.05 * rng.standard_normal(shape))
    a, b = fit_two_phase(s, y, log=True), fit_two_phase(s, np.log(y))
    assert a.log and not b.log
    for same in ("break_step", "interval", "slope_early", "slope_late", "p_value"):
        assert getattr(a, same) == getattr(b, same)
    assert a.plateau == np.exp(b.plateau)
    assert a.break_value == np.exp(b.break_value)
    np.testing.assert_allclose(a.predict(s), np.exp(b.predict(s)))


def test_the_seed_alone_decides_the_random_numbers():
    rng = np.random.default_rng(6)
    s = np.arange(20)
    y = ramp(s, 8) + 0.2 * rng.standard_normal(20)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert fit_two_phase(s, y, seed=1) == fit_two_phase(s.tolist(), y.tolist(), seed=1)
    assert fit_two_phase(s, y, seed=1).interval != fit_two_phase(s, y, seed=2).interval
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_the_result_cannot_be_changed():
    fit = fit_two_phase(np.arange(20), ramp(np.arange(20), 8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        fit.break_step = 3


S = np.arange(20.0)
Y = ramp(S, 8) + 0.01 * np.random.default_rng(11).standard_normal((3, 20))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("level", [1.0, 1e-9, 0.7, 3e12])
@pytest.mark.parametrize("shape", [(20,), (3, 20)])
def test_constant_curves_have_no_break(shape, level, log):
    rounding = 1 + 1e-15 * np.random.default_rng(12).standard_normal(shape)
    with pytest.raises(NoBreakError, match="no change at all"):
        fit_two_phase(S, np.full(shape, level), log=log)
    with pytest.raises(NoBreakError, match="no change at all"):
        fit_two_phase(S, level * rounding, log=log)


def test_zero_is_constant():
    with pytest.raises(NoBreakError, match="no change at all"):
        fit_two_phase(S, np.zeros(20))


def test_an_exact_straight_line_has_no_break():
    with pytest.raises(NoBreakError, match="one straight line"):
        fit_two_phase(S, 0.3 * S - 1)
    with pytest.raises(NoBreakError, match="one straight line"):
        fit_two_phase(S, np.exp(-0.3 * S), log=True)


@pytest.mark.parametrize(
    ("steps", "values", "log", "message"),
    [
        (S[:7], Y[0, :7], False, r"at least 8 steps: there are 7"),
        ([], [], False, r"at least 8 steps: there are 0"),
        (S, Y[:2], False, r"at least 3 curves to compare: there are 2; pass a single curve as"),
        (S, Y[:1], False, r"at least 3 curves to compare: there are 1"),
        (S, Y[[0, 0, 0]], False, r"all 3 curves are equal"),
        (S, Y[0, 1:], False, r"steps has \(20,\), values \(19,\)"),
        (S, Y.T, False, r"steps has \(20,\), values \(20, 3\)"),
        (S, Y[None], False, r"steps has \(20,\), values \(1, 3, 20\)"),
        (S[None], Y[0], False, r"steps has \(1, 20\)"),
        (S, 1.0, False, r"values \(\)"),
        (S[::-1], Y[0], False, r"steps must be finite and increasing"),
        (np.where(S == 3, 2, S), Y[0], False, r"steps must be finite and increasing"),
        (np.where(S == 3, np.nan, S), Y[0], False, r"steps must be finite and increasing"),
        (np.where(S == 19, np.inf, S), Y[0], False, r"steps must be finite and increasing"),
        (S, np.where(S < 2, np.nan, Y[0]), False, r"values must be finite: 2 of 20 are not"),
        (S, np.where(S < 1, -np.inf, Y[0]), False, r"values must be finite: 1 of 20 are not"),
        (S, np.where(S < 2, -1, 1 + Y[0]), True, r"positive values: 2 of 20 are not positive"),
    ],
)
def test_what_cannot_be_fitted_is_refused(steps, values, log, message):
    with pytest.raises(ValueError, match=message) as caught:
        fit_two_phase(steps, values, log=log)
    assert not isinstance(caught.value, NoBreakError)
    assert "\n" not in str(caught.value)
