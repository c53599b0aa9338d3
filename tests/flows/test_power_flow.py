import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from srel_core.flows import PowerFlow
from tests.flows.reference import integrate, order_of_descent, relative_error, tangent_s_rel

TIMES = np.array([0.01, 0.05, 0.2, 0.7, 1.5])


def problem(seed, degree, zero_target=False):
    """Targets of both signs; starts of both signs where the degree is odd."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=4)
    if zero_target:
        target[seed % 4] = 0
    beta0 = rng.uniform(0.05, 2, 4)
    if degree % 2:
        beta0 = beta0 * rng.choice([-1, 1], 4)
    return PowerFlow(target, beta0, degree)


problems = st.builds(problem, st.integers(0, 10**6), st.integers(1, 6), st.booleans())


def velocity(flow):
    d = flow.degree
    return lambda w: -d * w ** (d - 1) * (w**d - flow.target)


def pairs(seed, m=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, 4)), rng.standard_normal((m, 4))


@given(problems)
def test_weights_loss_and_s_rel_agree_with_numerical_integration(flow):
    d = flow.degree
    weights = integrate(velocity(flow), flow.weights(0), TIMES)
    beta = weights**d
    assert relative_error(flow.weights(TIMES), weights) < 1e-9
    assert relative_error(flow.beta(TIMES), beta) < 1e-9
    loss = 0.5 * ((beta - flow.target) ** 2).sum(1)
    np.testing.assert_allclose(flow.loss(TIMES), loss, rtol=1e-9, atol=1e-13)

    probe, sample = pairs(d)
    jacobian = d * weights ** (d - 1)  # diagonal
    kernel = np.einsum("ti,mi,mi->tm", jacobian**2, probe, sample)
    own = np.einsum("ti,mi->tm", jacobian**2, sample**2)
    assert relative_error(flow.s_rel(TIMES, probe, sample), np.abs(kernel) / own) < 1e-9


@given(problems)
def test_gradient_descent_converges_to_the_flow_at_first_order(flow):
    order = order_of_descent(velocity(flow), flow.weights(0), 0.1, flow.weights(0.1))
    assert 1.9 < order < 2.1


@given(problems)
def test_s_rel_is_that_of_a_small_step_on_the_predictor(flow):
    d, (probe, sample) = flow.degree, pairs(3)
    expected = tangent_s_rel(
        lambda w, x: w**d @ x, lambda w, x: d * w ** (d - 1) * x, flow.weights(0.3), probe, sample
    )
    np.testing.assert_allclose(flow.s_rel(0.3, probe, sample), expected, rtol=1e-4, atol=1e-6)


@given(problems)
def test_loss_never_rises_and_signs_are_kept(flow):
    t = np.geomspace(1e-6, 1e6, 200)
    loss = flow.loss(t)
    assert (np.diff(loss) <= 1e-15 * loss[0]).all()
    if flow.degree > 1:
        assert (np.sign(flow.beta(t)) * np.sign(flow.beta0) >= 0).all()


@given(problems)
def test_limits(flow):
    np.testing.assert_allclose(flow.beta(0), flow.beta0, rtol=1e-14)
    keeps = (flow.degree == 1) | (flow.beta0 * flow.target > 0)
    for t in (1e30, 1e300):
        limit = np.where(keeps, flow.target, 0)
        np.testing.assert_allclose(flow.beta(t), limit, rtol=1e-14, atol=1e-10)


@pytest.mark.parametrize("degree", [3, 4, 7])
@pytest.mark.parametrize("target", [1.0, -1.0, 3e-4, -3e-4, 250.0])
@pytest.mark.parametrize("start", [1e-9, 0.3, 1 - 1e-9, 5.0, 1e7])
def test_inverted_integral_to_1e_10(degree, target, start):
    """Adaptive quadrature of dt = dβ/β̇ up to β(t) gives back t."""
    power = 2 - 2 / degree

    def speed(b):
        return degree**2 * b**power * (target - b)

    def elapsed(left, right):
        """In x = ln|β − β*| near β*, where dt = −dx/(d² β^a), and in ln β elsewhere."""
        side = np.sign(start - target)
        middle = target + side * abs(target) / 2
        if (left - middle) * (right - middle) < 0:
            return elapsed(left, middle) + elapsed(middle, right)
        if abs(left + right - 2 * target) <= abs(target):
            ends = np.log(side * (np.array([left, right]) - target))
            slowness = lambda x: -((target + side * np.exp(x)) ** -power) / degree**2  # noqa: E731
        else:
            ends = np.log([left, right])
            slowness = lambda x: np.exp(x) / speed(np.exp(x))  # noqa: E731
        return quad(slowness, *ends, epsabs=0, epsrel=1e-12, limit=200)[0]

    t = np.array([0.1, 1.0, 5.0]) / (degree**2 * max(start, abs(target)) ** power)
    beta = PowerFlow([target], [start], degree).beta(t)[:, 0]
    for t_step, left, right in zip(np.diff(t, prepend=0), [start, *beta[:2]], beta, strict=True):
        error = abs((elapsed(left, right) - t_step) * speed(right)) / right
        assert error < 1e-10


def test_odd_degree_is_antisymmetric_and_keeps_a_start_of_zero():
    flow = PowerFlow([1.0, -2.0, 3.0], [-0.5, 0.5, 0.0], 3)
    mirror = PowerFlow([-1.0, 2.0, -3.0], [0.5, -0.5, 0.0], 3)
    np.testing.assert_array_equal(flow.beta(TIMES), -mirror.beta(TIMES))
    assert (flow.beta(TIMES)[:, 2] == 0).all()
    assert (flow.weights(TIMES)[:, 2] == 0).all()


def test_a_start_at_the_target_stays():
    for degree in (1, 2, 3):
        flow = PowerFlow([0.7, 2.0], [0.7, 2.0], degree)
        np.testing.assert_array_equal(flow.beta(TIMES), np.tile([0.7, 2.0], (5, 1)))


def test_target_of_zero_is_the_limit_of_small_targets():
    for degree in (2, 3, 5):
        at_zero = PowerFlow([0.0], [1.3], degree).beta(TIMES)
        for target in (1e-13, -1e-13, 1e-200, -1e-200):
            np.testing.assert_allclose(
                PowerFlow([target], [1.3], degree).beta(TIMES), at_zero, rtol=1e-11
            )


def test_a_sample_without_kernel_has_no_s_rel():
    flow = PowerFlow([1.0, 1.0], [0.5, 0.0], 3)
    s_rel = flow.s_rel(TIMES, np.ones((3, 2)), [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert (np.isnan(s_rel) == [True, True, False]).all()


def test_degree_1_has_a_constant_s_rel():
    probe, sample = pairs(0)
    flow = PowerFlow([1.0, 2, 3, 4], [1.0, -1, 0, 2], 1)
    expected = np.abs((probe * sample).sum(1)) / (sample**2).sum(1)
    np.testing.assert_allclose(flow.s_rel(TIMES, probe, sample), np.tile(expected, (5, 1)))
