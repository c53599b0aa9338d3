import numpy as np
import pytest
from scipy.linalg import expm

from srel_core.book.published.ridge import (
    PublishedRidgeFlow,
    published_average,
    published_features,
    published_times,
)
from srel_core.flows import RidgeFlow


@pytest.fixture
def flow():
    rng = np.random.default_rng(0)
    features, labels = published_features(4, rng, n_per_class=15)
    return PublishedRidgeFlow(features, labels, 1.0, rng.standard_normal((3, 4, 2)))


def as_published(flow, start, time, h_probe, h_sample):
    """Weights and S_rel by the published formulas: one matrix exponential, class 1 the target."""
    n, p = flow.features.shape
    big = n * flow.penalty / 2
    m = big * np.eye(p) + flow.features.T @ flow.features / n
    mean = np.stack([flow.features[flow.labels == k].sum(0) / n for k in (0, 1)], axis=1)
    rest = np.linalg.solve(m, mean)
    w = expm(-time * m) @ (start - rest) + rest
    step = (big * np.eye(p) + np.outer(h_sample, h_sample) / n) @ h_probe
    inner, square = h_probe @ h_sample, h_sample @ h_sample
    above = inner**2 - 2 * inner * w[:, 1] @ step + ((w.T @ step) ** 2).sum()
    below = square**2 - 2 * square * (big + square) * w[:, 1] @ h_sample
    below += (big + square) ** 2 * ((w.T @ h_sample) ** 2).sum()
    return w, np.sqrt(above / below)


def test_weights_and_s_rel_are_the_published_ones(flow):
    times = np.array([0.0, 1e-3, 0.01, 0.1])
    probe, sample = flow.features[:3], flow.features[-3:]
    s_rel = flow.s_rel(times, probe, sample, [1, 1, 1])
    assert s_rel.shape == (4, 3, 3)
    for i, t in enumerate(times):
        for r in range(3):
            for j in range(3):
                w, expected = as_published(flow, flow.w0[r], t, probe[j], sample[j])
                np.testing.assert_allclose(flow.weights(t)[r], w, rtol=1e-10, atol=1e-13)
                np.testing.assert_allclose(s_rel[i, r, j], expected, rtol=1e-8)


def test_loss_is_the_printed_one_at_weights_that_do_not_follow_it(flow):
    t = np.array([0.0, 0.01, 0.3])
    n = len(flow.features)
    for labels in (flow.labels, np.ones(n, int)):
        expected = [
            [
                ((flow.features @ w - np.eye(2)[labels]) ** 2).sum() / (2 * n)
                + flow.penalty / 4 * (w**2).sum()
                for w in starts
            ]
            for starts in flow.weights(t)
        ]
        np.testing.assert_allclose(flow.loss(t, labels), expected, rtol=1e-11)
    defined = RidgeFlow(flow.features, flow.labels, flow.penalty, flow.w0)
    assert (flow.loss(10.0) > defined.loss(10.0)).all()


def test_s_rel_of_a_sample_with_itself_is_not_1(flow):
    h = flow.features[-2:]
    assert (np.abs(flow.s_rel(0.0, h, h, [1, 1]) - 1) > 0.1).all()


def test_average_divides_twice():
    assert published_average(np.ones((5, 20))) == pytest.approx(np.full(5, 1 / 20))


def test_published_setting():
    features, labels = published_features(6, np.random.default_rng(1))
    assert features.shape == (2000, 6) and (features >= 0).all()
    assert (np.bincount(labels) == [1000, 1000]).all()
    active = features[labels == 1].mean(0).max() / features[labels == 0].mean(0).max()
    assert 5 < active < 9
    times = published_times()
    assert times.shape == (8001,) and times[-1] == pytest.approx(0.008)


@pytest.mark.parametrize("width", [10, 100])
def test_published_plot_is_recognisable(width):
    """From about 1e-4 through two knees to a plateau near 5e-2, while the loss falls to about 1."""
    rng = np.random.default_rng(5)
    features, labels = published_features(width, rng)
    probe, sample = (
        features[rng.permutation(1000)[:20]],
        features[1000 + rng.permutation(1000)[:20]],
    )
    flow = PublishedRidgeFlow(features, labels, 1.0, rng.standard_normal((10, width, 2)))
    t = published_times()[::20]
    curve = published_average(np.median(flow.s_rel(t, probe, sample, np.ones(20, int)), axis=1))
    loss = np.median(flow.loss(t), axis=1)
    assert 2e-5 < curve[0] < 1e-3 < 1e-2 < curve[-1] < 0.2
    assert 1e4 < loss[0] < 1e6 and loss[-1] < 2
    early, middle, late = curve[10] / curve[0], curve[50] / curve[10], curve[250] / curve[50]
    assert early > 2 and middle < 2 and late > 10
