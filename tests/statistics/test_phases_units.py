"""The two-phase fit does not depend on the units of steps and values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srel_core.statistics.phases import fit_two_phase
from tests.statistics.test_phases import SEEDS, irregular_steps, ramp


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
