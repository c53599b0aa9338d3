import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srel_core.flows import PowerFlow, RadialFlow
from tests.flows.reference import integrate, order_of_descent, relative_error, tangent_s_rel

TIMES = np.array([0.01, 0.05, 0.2, 0.7, 1.5])


def problem(seed, degree, p):
    rng = np.random.default_rng(seed)
    return RadialFlow(rng.standard_normal(p), rng.standard_normal(p) * rng.uniform(0.3, 1), degree)


problems = st.builds(problem, st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 5))


def coefficients(w, degree):
    return np.linalg.norm(w) ** (degree - 1) * w


def jacobian(w, degree):
    size = np.linalg.norm(w)
    unit = w / size
    return size ** (degree - 1) * (np.eye(len(w)) + (degree - 1) * np.outer(unit, unit))


def velocity(flow):
    return lambda w: -jacobian(w, flow.degree) @ (coefficients(w, flow.degree) - flow.target)


def pairs(seed, p, m=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, p)), rng.standard_normal((m, p))


@given(problems)
def test_weights_loss_and_s_rel_agree_with_numerical_integration(flow):
    weights = integrate(velocity(flow), flow.w0, TIMES)
    beta = np.array([coefficients(w, flow.degree) for w in weights])
    assert relative_error(flow.weights(TIMES), weights) < 1e-9
    assert relative_error(flow.beta(TIMES), beta) < 1e-9
    loss = 0.5 * ((beta - flow.target) ** 2).sum(1)
    np.testing.assert_allclose(flow.loss(TIMES), loss, rtol=1e-9, atol=1e-13)

    probe, sample = pairs(1, flow.w0.size)
    expected = []
    for w in weights:
        kernel = jacobian(w, flow.degree) @ jacobian(w, flow.degree).T
        own = np.einsum("mi,ij,mj->m", sample, kernel, sample)
        expected.append(np.abs(np.einsum("mi,ij,mj->m", probe, kernel, sample)) / own)
    assert relative_error(flow.s_rel(TIMES, probe, sample), np.array(expected)) < 1e-9


@given(problems)
def test_gradient_descent_converges_to_the_flow_at_first_order(flow):
    fastest = flow.degree**2 * max(1, *np.abs(flow.beta(0)), *np.abs(flow.target)) ** 2
    end = 0.5 / fastest
    order = order_of_descent(velocity(flow), flow.w0, end, flow.weights(end))
    assert 1.9 < order < 2.1


@given(problems)
def test_s_rel_is_that_of_a_small_step_on_the_predictor(flow):
    probe, sample = pairs(2, flow.w0.size)
    expected = tangent_s_rel(
        lambda w, x: coefficients(w, flow.degree) @ x,
        lambda w, x: jacobian(w, flow.degree) @ x,
        flow.weights(0.3),
        probe,
        sample,
    )
    np.testing.assert_allclose(flow.s_rel(0.3, probe, sample), expected, rtol=1e-5, atol=1e-6)


@given(problems)
def test_loss_never_rises_and_w_stays_in_its_plane(flow):
    t = np.geomspace(1e-6, 1e4, 150)
    loss = flow.loss(t)
    assert (np.diff(loss) <= 1e-11 * loss[0]).all()
    plane = np.linalg.qr(np.stack([flow.target, flow.w0], axis=1))[0]
    weights = flow.weights(t)
    outside = weights - weights @ plane @ plane.T
    assert np.abs(outside).max() < 1e-14 * np.abs(weights).max()


@given(problems)
def test_the_direction_turns_steadily_towards_the_target(flow):
    weights = flow.weights(np.geomspace(1e-3, 1e3, 100))
    cosine = weights @ flow.target / np.linalg.norm(weights, axis=1)
    assert flow.degree == 1 or (np.diff(cosine) > -1e-12).all()


@given(problems)
def test_limits(flow):
    np.testing.assert_allclose(flow.weights(0), flow.w0, rtol=1e-13, atol=1e-15)
    for t in (1e100, 1e300):  # next to the saddle at −β* a start waits long
        np.testing.assert_allclose(flow.beta(t), flow.target, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_long_tail_of_the_integration(degree):
    """The closed-form end agrees with plain integration well after it has taken over."""
    flow = problem(3, degree, 3)
    t = np.array([2.0, 4.0, 6.0, 9.0])
    assert relative_error(flow.weights(t), integrate(velocity(flow), flow.w0, t)) < 1e-9
    times = np.array([6.0, 2.0, 9.0, 4.0, 2.0])
    np.testing.assert_allclose(flow.weights(times), flow.weights(t)[[2, 0, 3, 1, 0]], rtol=1e-11)


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_start_parallel_to_the_target_is_a_power_flow(degree, sign):
    target = np.array([1.0, 2.0, -2.0])
    w0 = sign * 0.4 / 3 * target
    flow = RadialFlow(target, w0, degree)
    scalar = PowerFlow([3.0 * sign], [0.4**degree], degree).beta(TIMES)
    np.testing.assert_allclose(flow.beta(TIMES), sign * scalar * target / 3, rtol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_target_of_zero(degree):
    flow = RadialFlow(np.zeros(2), [3.0, -4.0], degree)
    scalar = PowerFlow([0.0], [5.0**degree], degree).beta(TIMES)
    np.testing.assert_allclose(flow.beta(TIMES), scalar * [0.6, -0.8], rtol=1e-12)
    almost = RadialFlow([1e-14, 1e-14], [3.0, -4.0], degree)
    np.testing.assert_allclose(almost.beta(TIMES), flow.beta(TIMES), rtol=1e-11)


@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("size", [1e-4, 1e3])
@pytest.mark.parametrize("cosine", [-1 + 1e-12, -0.6, 1 - 1e-12])
def test_extreme_starts_end_at_the_target(degree, size, cosine):
    w0 = size * np.array([cosine, np.sqrt((1 - cosine) * (1 + cosine))])
    flow = RadialFlow([2.0, 0.0], w0, degree)
    t = np.geomspace(1e-9, 1e30, 80)
    loss = flow.loss(t)
    assert (np.diff(loss) <= 1e-9 * loss[0]).all()
    np.testing.assert_allclose(flow.beta(t)[-1], [2, 0], atol=1e-9)


def test_degree_1_through_the_origin_has_a_constant_s_rel():
    flow = RadialFlow([1.0, 0.0], [-1.0, 0.0], 1)
    probe, sample = pairs(0, 2)
    expected = np.abs((probe * sample).sum(1)) / (sample**2).sum(1)
    s_rel = flow.s_rel([0.0, np.log(2), 3.0], probe, sample)
    np.testing.assert_allclose(s_rel, np.tile(expected, (3, 1)))
    np.testing.assert_allclose(flow.weights(np.log(2)), [0, 0], atol=1e-16)


def test_a_sample_of_zero_has_no_s_rel():
    assert np.isnan(problem(0, 2, 3).s_rel(TIMES, np.ones((1, 3)), np.zeros((1, 3)))).all()
