"""Bootstrap intervals against what they promise."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from srel_core.statistics.intervals import (
    input_weights,
    interval_over_seeds,
    mean_interval,
    over_runs,
    side_of,
)


def _weights(n_resamples, seed, same_input=None):
    probes, samples = np.array([0, 0, 1, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 2])
    same = np.zeros((7, 6), dtype=bool) if same_input is None else same_input
    return probes, samples, input_weights(probes, samples, same, n_resamples, seed)


def test_resamples_keep_the_size_of_each_class():
    *labels, weights = _weights(50, seed=0)
    for of, counts in zip(labels, weights, strict=True):
        assert counts.shape == (51, len(of)) and (counts[0] == 1).all()
        for label in range(3):
            assert (counts[:, of == label].sum(1) == (of == label).sum()).all()
        assert (counts[1:] != 1).any()
    for counts, again in zip(weights, _weights(50, seed=0)[2], strict=True):
        assert np.array_equal(counts, again)


def test_an_input_that_is_both_counts_once():
    """Probe 2 is sample 1, probe 6 is sample 3: others are drawn on their own."""
    same = np.zeros((7, 6), dtype=bool)
    same[2, 1] = same[6, 3] = True
    _, _, (probes, samples) = _weights(50, seed=0, same_input=same)
    assert np.array_equal(probes[:, 2], samples[:, 1])
    assert np.array_equal(probes[:, 6], samples[:, 3])
    assert not np.array_equal(probes[:, 3], samples[:, 2])


def test_some_pair_of_different_inputs_is_left_in_each_class():
    labels = np.repeat([0, 1, 2], [2, 3, 4])
    probes, samples = input_weights(labels, labels, np.eye(9, dtype=bool), 500, seed=0)
    assert np.array_equal(probes, samples)
    for label in range(3):
        drawn = samples[:, labels == label]
        assert ((drawn > 0).sum(1) >= 2).all()
        assert (drawn.sum(1) == drawn.shape[1]).all()


# A statistic of crossed samples and probes, which are the same inputs, as published.
@pytest.mark.parametrize("n_runs", [3, 8])
@pytest.mark.parametrize("of_runs", [0.0, 9.0])
def test_the_interval_covers_a_known_mean_at_least_as_often_as_it_promises(n_runs, of_runs):
    """The variance of the runs is none, or nine times that of their inputs."""
    rng, covered, trials, n = np.random.default_rng(0), 0, 200, 12
    labels, same = np.zeros(n, dtype=int), np.eye(n, dtype=bool)
    for trial in range(trials):
        values = np.empty((n_runs, 101))
        for run in range(n_runs):
            z = rng.normal(size=(n, 1)) + rng.normal(size=n) + rng.normal(size=(n, n))
            z = np.where(same, 0, z + rng.normal() * np.sqrt(of_runs * 2 / n))
            probes, samples = input_weights(labels, labels, same, 100, seed=100 * trial + run)
            pairs = (probes @ ~same * samples).sum(1)
            values[run] = (probes @ z * samples).sum(1) / pairs
        low, high = interval_over_seeds(values, seed=trial)
        covered += low <= 0 <= high
    assert covered / trials >= 0.91


def test_the_interval_of_one_run_is_that_of_its_inputs():
    values = np.random.default_rng(0).normal(size=(1, 4001)) * 2 + 5
    low, high = interval_over_seeds(values, seed=0)
    np.testing.assert_allclose([low, high], values[0, 0] + 2 * 1.96 * np.array([-1, 1]), atol=0.3)


def test_runs_without_any_spread_of_their_own_have_the_interval_of_student():
    """No spread within a run: the mean of three numbers, by Student's t."""
    estimates = np.array([1.0, 2.0, 6.0])
    low, high = interval_over_seeds(np.repeat(estimates[:, None], 20001, 1), seed=0)
    found = ttest_1samp(estimates, 0).confidence_interval()
    assert high - low == pytest.approx(found.high - found.low, rel=0.15)  # it is not symmetric
    assert low < 3 < high


@pytest.mark.parametrize("power", [-1060, -300, 300, 1020])
def test_an_interval_does_not_know_its_unit(power):
    resampled = np.random.default_rng(0).integers(1, 9, (3, 40, 2)).astype(float)
    plain = interval_over_seeds(resampled, seed=0)
    far = interval_over_seeds(np.ldexp(resampled, power), seed=0)
    with np.errstate(under="ignore"):
        want = np.ldexp(plain, power)
    np.testing.assert_allclose(far, want, rtol=1e-12, atol=3 * 5e-324)


def test_a_positive_quantity_has_positive_bounds():
    rng = np.random.default_rng(0)
    values = list(rng.lognormal(size=(3, 4, 201)))
    plain, positive = (
        over_runs("q", values, ("cell",), (4,), (), 0.95, positive=of)["q_interval"][1]
        for of in (False, True)
    )
    estimate = np.mean(values, 0)[:, 0]
    assert (plain[0] < 0).any() and (positive > 0).all()
    np.testing.assert_allclose(estimate * np.log(positive / estimate), plain - estimate)


def test_the_interval_of_a_mean_is_students():
    values = np.random.default_rng(0).normal(size=7)
    for level in (0.9, 0.95):
        bounds = ttest_1samp(values, 0).confidence_interval(level)
        want = (values.mean(), bounds.low, bounds.high)
        np.testing.assert_allclose(mean_interval(values, level), want)


def test_side_of():
    assert side_of((0.6, 0.9), 0.5) == "above"
    assert side_of((0.1, 0.4), 0.5) == "below"
    assert side_of((0.4, 0.6), 0.5) == "undecided"
    assert side_of((0.5, 0.6), 0.5) == "undecided"
    assert side_of((float("nan"), float("nan")), 0.5) == "undecided"


def test_bad_input_gets_one_clear_line():
    with pytest.raises(ValueError, match="n_resamples must be at least 1, not 0"):
        _weights(0, seed=0)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, not 95"):
        interval_over_seeds(np.zeros((1, 3)), seed=0, level=95)
