import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srel_core.flows import ReluGateFlow
from tests.flows.reference import (
    gate_moments,
    integrate,
    order_of_descent,
    relative_error,
    tangent_s_rel,
)

TIMES = np.array([0.1, 0.5, 1.0, 3.0, 8.0])
P = 4

seeds = st.integers(0, 10**6)


def vectors(seed, *shape):
    return np.random.default_rng(seed).standard_normal((*shape, P))


def gradient_flow(seed):
    teacher, w0 = vectors(seed, 2)
    return ReluGateFlow(teacher, w0, flow="gradient")


def glm_tron(seed, rank=P):
    """The flow, and inputs symmetric under x → −x with just its covariance."""
    teacher, w0, *x = vectors(seed, 2 + 2 * P)
    x = np.array(x)
    x[:, rank:] = 0
    x = np.concatenate([x, -x])
    return ReluGateFlow(teacher, w0, x.T @ x / len(x)), x


@given(seeds, st.sampled_from([P, 2]))
def test_glm_tron_weights_on_any_symmetric_data(seed, rank):
    flow, x = glm_tron(seed, rank)

    def velocity(w):
        return -((np.maximum(x @ w, 0) - np.maximum(x @ flow.teacher, 0)) @ x) / len(x)

    assert relative_error(flow.weights(TIMES), integrate(velocity, flow.w0, TIMES)) < 1e-9
    assert 1.9 < order_of_descent(velocity, flow.w0, 1.0, flow.weights(1.0)) < 2.1
    distance = np.linalg.norm(flow.weights(np.geomspace(0.01, 1e3, 80)) - flow.teacher, axis=1)
    assert (np.diff(distance) <= 1e-14 * distance[0]).all()


@settings(max_examples=6)
@given(seeds)
def test_gradient_flow_is_the_one_of_exact_gaussian_integrals(seed):
    flow = gradient_flow(seed)

    def velocity(w):
        return -gate_moments(w, flow.teacher)[0]

    assert relative_error(flow.weights(TIMES), integrate(velocity, flow.w0, TIMES)) < 1e-9
    assert 1.9 < order_of_descent(velocity, flow.w0, 0.3, flow.weights(0.3)) < 2.1


@given(seeds)
def test_gradient_flow_has_a_conserved_quantity(seed):
    """(π − θ − π a/B)/b, for the parts a along and b across the teacher: its orbit in the plane."""
    flow = gradient_flow(seed)
    w, full = flow.weights(TIMES), np.linalg.norm(flow.teacher)
    along = w @ flow.teacher / full
    across = np.linalg.norm(w - np.outer(along, flow.teacher / full), axis=1)
    conserved = (np.pi - np.arctan2(across, along) - np.pi * along / full) / across
    np.testing.assert_allclose(conserved, conserved[0], rtol=1e-9, atol=1e-9)


@given(seeds)
def test_loss_is_the_exact_gaussian_integral(seed):
    for flow in (glm_tron(seed)[0], gradient_flow(seed)):
        values, basis = np.linalg.eigh(flow.covariance)
        root = basis * np.sqrt(values) @ basis.T
        expected = [gate_moments(root @ w, root @ flow.teacher)[1] for w in flow.weights(TIMES)]
        np.testing.assert_allclose(flow.loss(TIMES), expected, rtol=1e-9, atol=1e-14)


@given(seeds)
def test_loss_never_rises_on_white_inputs_and_w_stays_in_its_plane(seed):
    flow = gradient_flow(seed)
    t = np.geomspace(1e-3, 1e4, 120)
    for name in ("gradient", "glm_tron"):
        white = ReluGateFlow(flow.teacher, flow.w0, flow=name)
        loss = white.loss(t)
        assert (np.diff(loss) <= 1e-12 * loss[0]).all()
        plane = np.linalg.qr(np.stack([flow.teacher, flow.w0], axis=1))[0]
        weights = white.weights(t)
        assert np.abs(weights - weights @ plane @ plane.T).max() < 1e-13


def test_glm_tron_loss_may_rise_on_inputs_that_are_not_white():
    flow = ReluGateFlow([0.1, 7.2], [-0.18, -0.31], np.diag([1.0, 0.002]))
    assert np.diff(flow.loss(np.linspace(0, 20, 50))).max() > 0


@given(seeds)
def test_limits(seed):
    for flow in (glm_tron(seed)[0], gradient_flow(seed)):
        np.testing.assert_allclose(flow.weights(0), flow.w0, rtol=1e-13, atol=1e-14)
        for t in (1e9, 1e300):
            np.testing.assert_allclose(flow.weights(t), flow.teacher, atol=1e-12)
        assert flow.loss(1e300) < 1e-25


@pytest.mark.parametrize("t", [5.0, 45.0, 200.0])
def test_closed_form_end_of_the_gradient_flow(t):
    """The deviation from w* halves every 2 ln 2 once small, to the rounding of w*."""
    flow = gradient_flow(1)
    early, late = flow.weights([t + 40, t + 40 + 2 * np.log(2)]) - flow.teacher
    np.testing.assert_allclose(late, early / 2, rtol=1e-3, atol=1e-15)


def test_gradient_flow_straight_through_the_origin_never_leaves_the_line():
    teacher = np.array([0.0, 2.0])
    away = ReluGateFlow(teacher, -0.5 * teacher, flow="gradient")
    np.testing.assert_allclose(away.weights(TIMES)[:, 1], -np.exp(-TIMES / 2), rtol=1e-13)
    towards = ReluGateFlow(teacher, 0.5 * teacher, flow="gradient")
    np.testing.assert_allclose(towards.weights(TIMES)[:, 1], 2 - np.exp(-TIMES / 2), rtol=1e-13)
    nearly = ReluGateFlow(teacher, [1e-9, -1.0], flow="gradient")
    np.testing.assert_allclose(nearly.weights(1e4), teacher, atol=1e-12)


@given(seeds, st.sampled_from(["glm_tron", "gradient"]))
def test_s_rel_is_that_of_a_small_step_on_the_predictor(seed, name):
    flow = ReluGateFlow(*vectors(seed, 2), flow=name)
    probe, sample = vectors(seed + 1, 2, 6)
    w = flow.weights(0.8)
    sample = sample * np.where(sample @ w > 0, 1, -1)[:, None]
    expected = tangent_s_rel(
        lambda w, x: max(w @ x, 0), lambda w, x: (w @ x > 0) * x, w, probe, sample
    )
    np.testing.assert_allclose(flow.s_rel(0.8, probe, sample), expected, rtol=1e-6, atol=1e-9)


@given(seeds, st.sampled_from(["glm_tron", "gradient"]))
def test_crossing_times(seed, name):
    flow = ReluGateFlow(*vectors(seed, 2), flow=name)
    x = vectors(seed + 1, 20)
    times = flow.crossing_times(x)
    crosses = ~np.isnan(times)
    assert (crosses == ((x @ flow.w0) * (x @ flow.teacher) < 0)).all()
    for t, z in zip(times[crosses], x[crosses], strict=True):
        before, after = flow.weights([t * (1 - 1e-9), t * (1 + 1e-9)]) @ z
        assert before * after < 0
    # S_rel of a probe switches there, and nowhere else
    grid = np.linspace(0, 40, 4001)
    sample = np.tile(flow.teacher, (20, 1))
    active = flow.s_rel(grid, x, sample) > 0
    known = ~np.isnan(flow.s_rel(grid, x, sample)).any(1)
    switches = (np.diff(active[known], axis=0) != 0).sum(0)
    inside = crosses & (times > grid[known][0]) & (times < grid[known][-1])
    assert (switches == inside).all()


def test_inactive_and_zero_samples_have_no_s_rel():
    flow = ReluGateFlow([1.0, 0.0], [1.0, 1.0])
    sample = np.array([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]])
    s_rel = flow.s_rel(0.0, [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]], sample)
    np.testing.assert_array_equal(s_rel, [1.0, np.nan, np.nan])
    assert flow.s_rel(0.0, [[-2.0, 0.0]], sample[:1]) == 0


def test_glm_tron_keeps_the_null_directions_of_the_covariance():
    flow = ReluGateFlow([1.0, 1.0], [3.0, 4.0], np.diag([1.0, 0.0]))
    np.testing.assert_allclose(flow.weights(1e300), [1.0, 4.0], rtol=1e-14)
