import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srel_core.flows import RidgeFlow, _blocks
from tests.flows.reference import integrate, order_of_descent, relative_error

TIMES = np.array([0.01, 0.1, 0.5, 1.0, 2.0, 5.0])


def problem(seed, n=12, p=5, n_classes=3, penalty=0.7, rank=None, starts=()):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p))
    if rank is not None:
        features = features[:, :rank] @ rng.standard_normal((rank, p)) / np.sqrt(rank)
    labels = rng.integers(0, n_classes, n)
    return RidgeFlow(features, labels, penalty, rng.standard_normal((*starts, p, n_classes)))


def velocity(flow):
    n, (_, n_classes) = len(flow.features), flow.w0.shape
    target = np.eye(n_classes)[flow.labels]

    def minus_gradient(w):
        data = flow.features.T @ (flow.features @ w - target) / n
        return -data - flow.penalty / n_classes * w

    return minus_gradient


def printed_loss(flow, w):
    n, n_classes = len(flow.features), flow.n_classes
    residual = flow.features @ w - np.eye(n_classes)[flow.labels]
    return (residual**2).sum() / (2 * n) + flow.penalty / (2 * n_classes) * (w**2).sum()


def one_step_s_rel(flow, w, h_probe, h_sample, k, eta):
    """‖change at the probe‖ / ‖change at the sample‖ under one SGD step, by subtraction."""
    gradient = np.outer(h_sample, w.T @ h_sample - np.eye(flow.n_classes)[k])
    gradient = gradient + flow.penalty / flow.n_classes * w
    after = w - eta * gradient
    return np.linalg.norm((after - w).T @ h_probe) / np.linalg.norm((after - w).T @ h_sample)


def pairs(seed, p=5, n_classes=3, m=4):
    rng = np.random.default_rng(seed + 1)
    return (
        rng.standard_normal((m, p)),
        rng.standard_normal((m, p)),
        rng.integers(0, n_classes, m),
    )


problems = st.builds(
    problem,
    seed=st.integers(0, 10**6),
    n=st.integers(1, 20),
    penalty=st.sampled_from([0.0, 0.01, 0.7, 8.0]),
    rank=st.sampled_from([None, 1, 3]),
)


@given(problems, st.integers(0, 10**6))
def test_weights_loss_and_s_rel_agree_with_numerical_integration(flow, seed):
    weights = integrate(velocity(flow), flow.w0, TIMES)
    assert relative_error(flow.weights(TIMES), weights) < 1e-9
    loss = np.array([printed_loss(flow, w) for w in weights])
    np.testing.assert_allclose(flow.loss(TIMES), loss, rtol=1e-9, atol=1e-13)

    probe, sample, k = pairs(seed)
    expected = [
        [one_step_s_rel(flow, w, *pair, eta=0.3) for pair in zip(probe, sample, k, strict=True)]
        for w in weights
    ]
    assert relative_error(flow.s_rel(TIMES, probe, sample, k), np.array(expected)) < 1e-9


@given(problems)
def test_gradient_descent_converges_to_the_flow_at_first_order(flow):
    order = order_of_descent(velocity(flow), flow.w0, 0.5, flow.weights(0.5))
    assert 1.9 < order < 2.1


@pytest.mark.parametrize("eta", [1e-3, 0.1, 40.0])
def test_s_rel_is_that_of_one_step_of_any_size(eta):
    flow, (probe, sample, k) = problem(0), pairs(0)
    w = flow.weights(1.3)
    expected = [one_step_s_rel(flow, w, *pair, eta) for pair in zip(probe, sample, k, strict=True)]
    np.testing.assert_allclose(flow.s_rel(1.3, probe, sample, k), expected, rtol=1e-11)


def test_s_rel_is_the_printed_equation_8():
    flow, (probe, sample, k) = problem(2), pairs(2)
    shrink, w = flow.penalty / 3, flow.weights(0.4)
    for i, (h1, h, label) in enumerate(zip(probe, sample, k, strict=True)):
        step = shrink * np.eye(5) + np.outer(h, h)
        own = shrink + h @ h
        above = (h @ h1) ** 2 - 2 * (h @ h1) * w[:, label] @ step @ h1
        above += ((w.T @ step @ h1) ** 2).sum()
        below = (h @ h) ** 2 - 2 * (h @ h) * own * w[:, label] @ h + own**2 * ((w.T @ h) ** 2).sum()
        actual = flow.s_rel(0.4, probe, sample, k)[i]
        np.testing.assert_allclose(actual, np.sqrt(above / below), rtol=1e-11)


@given(problems)
def test_loss_never_rises_and_s_rel_of_a_sample_with_itself_is_1(flow):
    assert (np.diff(flow.loss(np.geomspace(1e-6, 1e6, 60))) <= 0).all()
    _, sample, k = pairs(1)
    np.testing.assert_allclose(flow.s_rel(TIMES, sample, sample, k), 1, rtol=1e-12)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
@pytest.mark.parametrize("rank", [None, 2])
def test_limits(penalty, rank):
    flow = problem(3, penalty=penalty, rank=rank)
    np.testing.assert_allclose(flow.weights(0), flow.w0, atol=1e-14)
    for t in (1e6, 1e300):
        np.testing.assert_allclose(flow.weights(t), flow.limit, atol=1e-12)
    assert np.abs(velocity(flow)(flow.limit)).max() < 1e-13
    np.testing.assert_allclose(flow.loss(1e300), printed_loss(flow, flow.limit), rtol=1e-13)


def test_without_penalty_the_weights_keep_their_part_in_the_null_space():
    flow = problem(4, n=3, p=5, penalty=0.0)
    null = np.linalg.svd(flow.features)[2][3:]
    moved = flow.weights(np.array([1.0, 1e12])) - flow.w0
    assert np.abs(null @ moved).max() < 1e-12
    assert (flow.rates == 0).sum() == 2


def test_without_penalty_s_rel_is_a_constant():
    """The change of a linear predictor is (h·h') times the error at h, whatever the weights."""
    flow, (probe, sample, k) = problem(5, penalty=0.0), pairs(5)
    expected = np.abs((probe * sample).sum(1)) / (sample**2).sum(1)
    np.testing.assert_allclose(
        flow.s_rel(TIMES, probe, sample, k), np.tile(expected, (6, 1)), rtol=1e-12
    )


def test_zero_features_and_a_sample_already_learnt_have_no_s_rel():
    h = np.array([[3.0, 4.0]])
    flow = RidgeFlow([[1.0, 0.0]], [0], 0.5, np.ones((2, 2)))
    assert np.isnan(flow.s_rel([0.0, 1.0], h, np.zeros((1, 2)), [1])).all()
    learnt = RidgeFlow([[1.0, 0.0]], [0], 0.0, [[1.0, 0.0], [0.0, 0.0]])
    assert np.isnan(learnt.s_rel(1.0, h, [[1.0, 0.0]], [0])).all()


def test_several_starts_are_the_single_ones_side_by_side():
    flow, (probe, sample, k) = problem(6, starts=(4,)), pairs(6)
    assert flow.weights(TIMES).shape == (6, 4, 5, 3)
    assert flow.s_rel(TIMES, probe, sample, k).shape == (6, 4, 4)
    for r, w0 in enumerate(flow.w0):
        alone = RidgeFlow(flow.features, flow.labels, flow.penalty, w0)
        for name, args in {
            "weights": (),
            "loss": (),
            "outputs": (probe,),
            "s_rel": (probe, sample, k),
        }.items():
            together = getattr(flow, name)(TIMES, *args)[:, r]
            np.testing.assert_allclose(together, getattr(alone, name)(TIMES, *args), rtol=1e-11)


def test_outputs_are_those_of_the_weights():
    flow, (probe, _, _) = problem(7), pairs(7)
    expected = np.einsum("tpk,mp->tmk", flow.weights(TIMES), probe)
    np.testing.assert_allclose(flow.outputs(TIMES, probe), expected, rtol=1e-11, atol=1e-13)


def test_blocks_of_times_change_nothing(monkeypatch):
    flow, (probe, sample, k) = problem(8), pairs(8)
    times = np.linspace(0, 3, 300)
    whole = flow.s_rel(times, probe, sample, k)
    monkeypatch.setattr(_blocks, "_BLOCK", 1)
    np.testing.assert_allclose(flow.s_rel(times, probe, sample, k), whole, rtol=1e-14)
