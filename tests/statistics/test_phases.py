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


@pytest.mark.parametrize("shape", [(30,), (4, 30)])
@given(
    seed=SEEDS,
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-10, 10),
    unit=st.floats(1e-3, 1e6),
    origin=st.floats(-10, 10),
)
@settings(max_examples=20)
def test_units_do_not_matter(shape, seed, scale, shift, unit, origin):
    rng = np.random.default_rng(seed)
    s = irregular_steps(rng, 30)
    y = ramp(s - s[0], 20) + 0.1 * rng.standard_normal(shape)
    a = fit_two_phase(s, y)
    b = fit_two_phase(unit * (s + origin), scale * (y + shift))
    length = s[-1] - s[0]

    def same(got, expected, tolerance):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * tolerance)

    same(b.break_step / unit - origin, a.break_step, length)
    same(np.array(b.interval) / unit - origin, a.interval, length)
    same(b.slope_early * unit / scale, a.slope_early, 1)
    same(b.slope_late * unit / scale, a.slope_late, 1)
    same(b.break_value / scale - shift, a.break_value, 1)
    same(b.plateau / scale - shift, a.plateau, 1)
    assert b.p_value == pytest.approx(a.p_value, abs=0.001)


@pytest.mark.parametrize("shape", [(20,), (3, 20)])
@pytest.mark.parametrize("log", [False, True])
@given(seed=SEEDS, of_steps=st.integers(-1040, 1010), of_values=st.integers(-1040, 1010))
@settings(max_examples=15)
def test_powers_of_two_change_no_bit(shape, log, seed, of_steps, of_values):
    """Down to where float64 has only a few digits left, and up to its largest number."""
    rng = np.random.default_rng(seed)
    s = np.cumsum(rng.integers(1, 4, 20)).astype(float)
    y = np.round(8 * ramp(s - s[0], 12) + rng.standard_normal(shape)) + 16.0
    plain = fit_two_phase(s, y, log=log)
    if log:
        of_values = 0
    try:
        fit = fit_two_phase(np.ldexp(s, of_steps), np.ldexp(y, of_values), log=log)
    except ValueError as error:
        assert "beyond the data: take another unit" in str(error)
        assert of_values - of_steps > 1000
        return
    for name in ("p_value", "residual_autocorrelation", "log"):
        assert getattr(fit, name) == getattr(plain, name)
    with np.errstate(under="ignore"):
        for name in ("break_step", "interval"):
            np.testing.assert_array_equal(
                getattr(fit, name), np.ldexp(getattr(plain, name), of_steps)
            )
        for name in ("break_value", "plateau"):
            assert getattr(fit, name) == np.ldexp(getattr(plain, name), of_values)
        for name in ("slope_early", "slope_late"):
            assert getattr(fit, name) == np.ldexp(getattr(plain, name), of_values - of_steps)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-90, 1e154, 1e300])
def test_the_unit_of_the_values_does_not_move_the_break(scale, log):
    rng = np.random.default_rng(9)
    s = np.arange(30.0)
    y = ramp(s + 1, 12) + 0.05 * rng.random((4, 30)) + 1
    for curves in (y, y[0]):
        a, b = fit_two_phase(s, curves, log=log), fit_two_phase(s, curves * scale, log=log)
        assert b.break_step == pytest.approx(a.break_step, rel=1e-9)
        assert b.interval == pytest.approx(a.interval, rel=1e-6)
        assert b.p_value == pytest.approx(a.p_value, abs=0.001)
        assert b.plateau / scale == pytest.approx(a.plateau, rel=1e-9)


def test_steps_too_uneven_to_tell_apart_are_refused():
    s = np.concatenate([np.arange(5) * 1e-100, 1.0 + np.arange(5)])
    with pytest.raises(ValueError, match="spaced too unevenly"):
        fit_two_phase(s, ramp(s, 2.0))
    s[:5] = np.arange(5) * 1e-30
    fit_two_phase(s, ramp(s, 2.0))


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


# ---- calibration: fewer trials than benchmarks/phases.py, bounds at more than three sigma ----


def calibrate(truth, make, n):
    """Median error, coverage and the share of p ≤ 0.05, over n curves make(rng) on [0, 1]."""
    rng = np.random.default_rng(7)
    errors, covered, found = [], 0, 0
    for _ in range(n):
        y = make(rng)
        fit = fit_two_phase(np.linspace(0, 1, y.shape[-1]), y)
        errors.append(abs(fit.break_step - truth))
        covered += fit.interval[0] <= truth <= fit.interval[1]
        found += fit.p_value <= 0.05
    return np.median(errors), covered / n, found / n


def walks(rng, n_curves, n_steps):
    """Noise that is strongly correlated along the steps, each curve with a level of its own."""
    noise = rng.standard_normal((n_curves, n_steps))
    for t in range(1, n_steps):
        noise[:, t] = 0.9 * noise[:, t - 1] + np.sqrt(1 - 0.9**2) * noise[:, t]
    return noise + rng.standard_normal((n_curves, 1))


@pytest.mark.parametrize(("noise", "largest_error"), [(0.01, 0.003), (0.1, 0.02), (0.3, 0.06)])
def test_breaks_of_noisy_ramps(noise, largest_error):
    def make(rng):
        return ramp(np.linspace(0, 1, 60), 0.35) + noise * rng.standard_normal(60)

    error, coverage, found = calibrate(0.35, make, 200)
    assert error <= largest_error
    assert 0.9 <= coverage <= 0.99
    assert found > 0.95


@pytest.mark.parametrize("n_curves", [3, 5])
def test_breaks_of_curves_of_several_seeds_with_correlated_noise(n_curves):
    def make(rng):
        return ramp(np.linspace(0, 1, 40), 0.35) + 0.05 * walks(rng, n_curves, 40)

    error, coverage, found = calibrate(0.35, make, 200)
    assert error <= 0.02
    assert coverage >= 0.9
    assert found > 0.95


def test_false_alarms_on_one_straight_line():
    def make(rng):
        return np.linspace(0, 1, 20) + 0.1 * rng.standard_normal(20)

    assert 0.025 < calibrate(0, make, 800)[2] < 0.075


@pytest.mark.parametrize("n_curves", [3, 5, 10])
def test_false_alarms_on_several_straight_lines_with_correlated_noise(n_curves):
    def make(rng):
        return np.linspace(0, 1, 30) + 0.1 * walks(rng, n_curves, 30)

    assert calibrate(0, make, 300)[2] <= 0.05


def test_a_break_that_the_curve_does_not_bound_leaves_the_interval_open():
    s = np.linspace(0, 1, 20)
    noise = 0.01 * np.random.default_rng(9).standard_normal(20)
    assert fit_two_phase(s, ramp(s, s[1]) + noise).interval[0] == s[0]  # before the third step
    assert fit_two_phase(s, ramp(s[::-1], s[1]) + noise).interval[1] == s[-1]
    assert fit_two_phase(s, noise).interval == (s[0], s[-1])  # no break at all


def test_the_residuals_tell_a_smooth_bend_from_a_break():
    s = np.linspace(0, 1, 100)
    noise = 0.01 * np.random.default_rng(10).standard_normal(100)
    bend = fit_two_phase(s, 1 - np.exp(-s / 0.2) + noise)
    corner = fit_two_phase(s, ramp(s, 0.35) + noise)
    assert bend.p_value == corner.p_value == 1 / 10_000  # neither is a straight line
    assert bend.residual_autocorrelation > 0.8
    assert abs(corner.residual_autocorrelation) < 0.25


# ---- refusals ----

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
