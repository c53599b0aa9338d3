"""Sizes, times and degrees far from 1: right, or one line that says what is beyond float64."""

import time

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from srel_core.flows import PowerFlow, RadialFlow, ReluGateFlow, RidgeFlow
from srel_core.flows._cosh_power import log_memory
from tests.flows.reference import relative_error

RNG = np.random.default_rng(0)
W0, TARGET = np.array([0.6, -0.3, 0.5]), np.array([0.4, 0.7, -0.2])
PROBE, SAMPLE = RNG.standard_normal((2, 4, 3))
FEATURES, LABELS = np.maximum(RNG.standard_normal((12, 3)), 0), np.arange(12) % 2
HEADS = RNG.standard_normal((3, 2))

# Scales of the first and of the second argument, and a degree or the scale of a penalty.
MAKE = {
    "glm_tron": lambda w, target, _: ReluGateFlow(TARGET * target, W0 * w),
    "gradient": lambda w, target, _: ReluGateFlow(TARGET * target, W0 * w, flow="gradient"),
    "white": lambda w, target, d: ReluGateFlow(TARGET, W0 * w, np.diag([1, d, 2]) * target),
    "power": lambda w, target, d: PowerFlow(TARGET * target, np.abs(W0) * w, d),
    "radial": lambda w, target, d: RadialFlow(TARGET * target, W0 * w, d),
    "ridge": lambda w, target, d: RidgeFlow(FEATURES * target, LABELS, 10.0 ** (d - 50), HEADS * w),
}
exponents = st.one_of(st.just(0.0), st.floats(-307, 307))
scales = exponents.map(lambda e: 10.0**e)
degrees = st.one_of(st.integers(1, 9), st.sampled_from([30, 40, 100, 1000, 10**6]))


@pytest.mark.parametrize("name", MAKE)
@settings(max_examples=40)
@given(scales, scales, degrees, scales, scales, st.lists(scales, min_size=1, max_size=4))
def test_every_call_is_finite_or_refused_at_once(name, w, target, degree, probe, sample, t):
    t = np.array([0.0, *t])
    began = time.perf_counter()
    try:
        flow = MAKE[name](w, target, min(degree, 100) if name == "ridge" else degree)
    except ValueError as error:
        assert "within ±" in str(error) or "beyond the largest float64" in str(error)
        return
    pairs = PROBE * probe, SAMPLE * sample, *([LABELS[:4]] if name == "ridge" else [])
    for method in ("weights", "beta", "loss", "s_rel"):
        if not hasattr(flow, method):
            continue
        try:
            values = getattr(flow, method)(t, *(pairs if method == "s_rel" else ()))
        except ValueError as error:
            assert "within ±" in str(error) or "beyond the largest float64" in str(error)
            assert "\n" not in str(error)
            continue
        known = np.isfinite(values)
        if method == "s_rel" and isinstance(flow, ReluGateFlow):
            known |= flow.weights(t) @ SAMPLE.T <= 0  # an inactive sample has none
        assert known.all()
    assert time.perf_counter() - began < 4 * 1.0


@pytest.mark.parametrize("power", [-900, -60, 60, 480])
@pytest.mark.parametrize("name", ["glm_tron", "gradient"])
def test_a_gate_does_not_know_the_unit_of_its_weights(name, power):
    flow, unit = MAKE[name](1.0, 1.0, 0), 2.0**power
    scaled = MAKE[name](unit, unit, 0)
    t = np.array([0.0, 0.1, 3.0, 30.0])
    np.testing.assert_array_equal(scaled.weights(t), flow.weights(t) * unit)
    np.testing.assert_array_equal(scaled.loss(t), np.ldexp(flow.loss(t), 2 * power))
    np.testing.assert_array_equal(
        scaled.s_rel(t, PROBE * unit, SAMPLE / unit), flow.s_rel(t, PROBE, SAMPLE) * unit * unit
    )
    np.testing.assert_array_equal(scaled.crossing_times(SAMPLE / unit), flow.crossing_times(SAMPLE))


@pytest.mark.parametrize("power", [-480, -60, 60, 480])
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_ridge_flow_does_not_know_the_unit_of_its_features(penalty, power):
    unit, t = 2.0**power, np.array([0.0, 0.1, 3.0, 30.0])
    flow = RidgeFlow(FEATURES, LABELS, penalty, HEADS)
    scaled = RidgeFlow(FEATURES * unit, LABELS, np.ldexp(penalty, 2 * power), HEADS / unit)
    times = np.ldexp(t, -2 * power)
    same = dict(rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(scaled.weights(times) * unit, flow.weights(t), **same)
    np.testing.assert_allclose(scaled.loss(times), flow.loss(t), **same)
    np.testing.assert_allclose(
        scaled.outputs(times, SAMPLE * unit), flow.outputs(t, SAMPLE), **same
    )
    ratio = flow.s_rel(t, PROBE, SAMPLE, LABELS[:4])
    np.testing.assert_allclose(
        scaled.s_rel(times, PROBE * unit, SAMPLE * unit, LABELS[:4]), ratio, **same
    )


def test_features_much_smaller_than_the_penalty_still_pull():
    flow = RidgeFlow([[1e-140, 0.0], [0.0, 3e-140]], [0, 1], 2.0, np.zeros((2, 2)))
    want = np.diag([1e-140, 3e-140]) / 2  # μ over λ/K = 1
    np.testing.assert_allclose(flow.limit, want, rtol=1e-13)
    np.testing.assert_allclose(flow.weights(100.0), want, rtol=1e-13)


@pytest.mark.parametrize("flow", [PowerFlow, RadialFlow])
@pytest.mark.parametrize("degree", [1, 2, 3, 6])
@pytest.mark.parametrize("power", [-60, -20, 20, 60])
def test_coefficients_do_not_know_their_unit(flow, degree, power):
    """β = c b, t = s c^{−2+2/d}: with c = 2^{power·d} all of them are exact."""
    unit = 2.0 ** (power if flow is RadialFlow else power * degree)
    slow = np.ldexp([0.0, 0.01, 0.3, 2.0], -power * (2 * degree - 2))
    start = W0 if flow is RadialFlow else np.abs(W0)
    plain = flow(TARGET, start, degree)
    scaled = flow(TARGET * 2.0 ** (power * degree), start * unit, degree)
    t = [0.0, 0.01, 0.3, 2.0]
    np.testing.assert_allclose(
        scaled.weights(slow) / 2.0**power, plain.weights(t), rtol=1e-11, atol=1e-13
    )
    np.testing.assert_allclose(
        scaled.s_rel(slow, PROBE * 1e200, SAMPLE * 1e200), plain.s_rel(t, PROBE, SAMPLE), rtol=1e-9
    )


EXTREME = [
    (2, 1e200, 1e-300), (2, 1e-300, 1.0), (2, 1.0, -1e-200), (3, 1e-9, -1e-60),
    (3, 1e-300, 1e-20), (4, 1e60, -1.0), (7, 1e-250, 3e-4), (5, 1e150, 1e-30), (100, 1e5, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("degree", "start", "target"), EXTREME)
def test_power_flow_against_hundreds_of_digits(degree, start, target):
    """The time that leads to β(t), from the primitive of 1/β̇, brackets t."""
    apart = abs(np.log10(start) - np.log10(abs(target)))
    with mpmath.workdps(40 + int(1.5 * apart)):
        sign, unit, power = np.sign(target), mpmath.mpf(abs(target)), 2 - mpmath.mpf(2) / degree
        y0 = start / unit

        def primitive(y):
            if degree == 2:
                return sign * (mpmath.log(y) - mpmath.log(abs(1 - sign * y)))
            if sign > 0 and y > 1:
                return y**-power / power * mpmath.hyp2f1(1, power, power + 1, 1 / y)
            rest = mpmath.hyp2f1(1, 1 - power, 2 - power, sign * y)
            return sign * y ** (1 - power) / (1 - power) * rest

        natural = 1 / (degree**2 * mpmath.mpf(max(start, abs(target))) ** power)
        times = [float(natural * m) for m in (1e-3, 0.1, 1, 5, 1e6)]
        times = [t for t in times if 1e-300 < t < 1e300]
        assert times
        for t, beta in zip(
            times, PowerFlow([target], [start], degree).beta(times)[:, 0], strict=True
        ):
            tau = degree**2 * unit**power * mpmath.mpf(t)
            spread = [beta / unit * (1 + mpmath.mpf(side) * 1e-11) for side in (-1, 1)]
            passed = [sign > 0 and (y > 1) != (y0 > 1) for y in spread]
            reached = [
                mpmath.inf if over else primitive(y) - primitive(y0)
                for y, over in zip(spread, passed, strict=True)
            ]
            assert min(reached) <= tau * (1 + 1e-11) and tau * (1 - 1e-11) <= max(reached)


def exact_memory(start, log_q0, n, moved):
    """ln q from the binomial sum of cosh^n, in 40 digits."""
    with mpmath.workdps(40):
        start, moved = mpmath.mpf(start), mpmath.mpf(moved)
        integral, binomial = mpmath.mpf(0), mpmath.mpf(1)
        for k in range(n + 1):
            f = n - 2 * k
            length = mpmath.expm1(f * moved) / f if f else moved
            integral += binomial * mpmath.exp(f * start) * length
            binomial = binomial * (n - k) / (k + 1)
        end = mpmath.cosh(start + moved) ** n
        kept = mpmath.exp(log_q0) * mpmath.cosh(start) ** n
        return float(mpmath.log((kept + n * integral / mpmath.mpf(2) ** n) / end))


@pytest.mark.parametrize("n", [4, 9, 100])
@pytest.mark.parametrize("start", [0.0, 0.7, 5.0, -1e-3, -3.0, -20.0])
def test_the_memory_of_a_radial_flow_against_40_digits(n, start):
    moved = np.array([1e-12, 0.03, 0.6, 6.0, 25.0])
    for log_q0 in (-50.0, 0.0, 60.0):
        found = log_memory(start, log_q0, n, moved, np.log(moved))
        want = [exact_memory(start, log_q0, n, m) for m in moved]
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-14 * (100 + n * abs(start)))


@pytest.mark.parametrize("degree", [8, 30, 40, 100])
@pytest.mark.parametrize("angle", [0.9, 2.0])
def test_high_degrees_agree_with_a_stiff_solver(degree, angle):
    """In z = artanh u and ln ρ, which change by little where w hardly moves."""
    t = np.array([0.01, 0.1, 1.0, 3.0])
    start = [np.arctanh(np.cos(angle)), np.log(0.97)]

    def velocity(_, y):
        speed = np.exp((degree - 2) * y[1])
        return speed, degree * speed * (np.tanh(y[0]) - np.exp(degree * y[1]))

    solution = solve_ivp(
        velocity, (0, 3.0), start, method="Radau", rtol=1e-10, atol=1e-12, t_eval=t
    )
    z, radius = solution.y[0], np.exp(solution.y[1])
    expected = radius[:, None] * np.stack([np.tanh(z), 1 / np.cosh(z)], axis=1)
    w0 = 0.97 * np.array([np.cos(angle), np.sin(angle)])
    assert relative_error(RadialFlow([1.0, 0.0], w0, degree).weights(t), expected) < 1e-8


@pytest.mark.parametrize(("degree", "size"), [(3, 1e60), (8, 1e20), (2, 1e150)])
def test_a_start_far_above_the_target_shrinks_as_if_there_were_none(degree, size):
    """ρ^{−(2d−2)} grows by d(2d − 2)t: until it has doubled."""
    flow = RadialFlow([1.0, 0.0], size * np.array([0.6, 0.8]), degree)
    t = 1 / (degree * (2 * degree - 2)) * size ** -(2.0 * degree - 2)
    want = flow.w0 * 2 ** (-1 / (2 * degree - 2))
    np.testing.assert_allclose(flow.weights(t), want, rtol=1e-11)
    with pytest.raises(ValueError, match="beyond the largest float64"):
        RadialFlow([1.0, 0.0], [1e200, 1e200], degree).beta(0.0)


@pytest.mark.parametrize("degree", [3, 4, 8])
def test_a_start_far_below_the_target_leaves_the_origin_when_its_rate_says(degree):
    """u = tanh z, and ρ/ρ(0) = (cosh z/cosh z(0))^d while ρ is small; t = ∫ dz/ρ^{d−2}."""
    start = 1e-30
    flow = RadialFlow([1.0, 0.0], [0.0, start], degree)
    z = np.linspace(0, 0.3, 2001)
    slowness = np.cosh(z) ** (-degree * (degree - 2))
    t = (slowness[1:-1].sum() + (slowness[0] + slowness[-1]) / 2) * (z[1] - z[0])
    w = flow.weights(t / start ** (degree - 2.0))
    want = start * np.cosh(0.3) ** degree * np.array([np.tanh(0.3), 1 / np.cosh(0.3)])
    np.testing.assert_allclose(w, want, rtol=1e-5)


def test_a_small_target_is_reached_at_last():
    """However far above it β starts: a target of 1e-101 is not one of 0."""
    for degree in (2, 3, 5):
        np.testing.assert_allclose(
            PowerFlow([1e-101], [1.0], degree).beta(1e250), [1e-101], rtol=1e-11
        )


def test_s_rel_beside_a_coordinate_without_kernel():
    """xᵀA x is 1e-400 times the largest A x², and S_rel is there all the same."""
    flow = PowerFlow([1.0, 1.0], [0.0, 0.5], 3)
    sample = [[1.0, 1e-200]]
    np.testing.assert_allclose(flow.s_rel(0.0, [[0.0, 3e-200]], sample), [3.0])
    with pytest.raises(ValueError, match="S_rel at t = 0 is beyond the largest float64"):
        flow.s_rel(0.0, [[0.0, 1e200]], sample)
