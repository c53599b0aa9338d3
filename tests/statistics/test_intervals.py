"""Bootstrap intervals against what they promise."""

import numpy as np
import pytest

from srel_core.statistics.intervals import interval_over_seeds, resample_samples, side_of


def test_resamples_keep_the_size_of_each_class():
    labels = np.array([0, 1, 1, 2, 2, 2])
    counts = resample_samples(labels, 50, seed=0)
    for label in range(3):
        assert (counts[:, labels == label].sum(1) == (labels == label).sum()).all()
    assert np.array_equal(counts, resample_samples(labels, 50, seed=0))


def test_the_interval_covers_a_known_mean_as_often_as_it_promises():
    """A statistic that is a mean of 40 normal samples, in each of 8 runs that differ."""
    rng, covered, trials = np.random.default_rng(0), 0, 300
    for trial in range(trials):
        runs = rng.normal(size=(8, 1)) + rng.normal(size=(8, 40))
        weights = resample_samples(np.zeros(40, dtype=int), 200, seed=trial)
        low, high = interval_over_seeds((runs @ weights.T / 40), seed=trial)
        covered += low <= 0 <= high
    assert 0.86 <= covered / trials <= 0.97  # nominal 0.95, a little short at 8 runs


@pytest.mark.parametrize("power", [-1060, -300, 300, 1020])
def test_an_interval_does_not_know_its_unit(power):
    resampled = np.random.default_rng(0).integers(1, 9, (3, 40, 2)).astype(float)
    plain = interval_over_seeds(resampled, seed=0)
    far = interval_over_seeds(np.ldexp(resampled, power), seed=0)
    with np.errstate(under="ignore"):
        want = np.ldexp(plain, power)
    np.testing.assert_allclose(far, want, rtol=1e-12, atol=3 * 5e-324)


def test_side_of():
    assert side_of((0.6, 0.9), 0.5) == "above"
    assert side_of((0.1, 0.4), 0.5) == "below"
    assert side_of((0.4, 0.6), 0.5) == "undecided"
    assert side_of((0.5, 0.6), 0.5) == "undecided"
    assert side_of((float("nan"), float("nan")), 0.5) == "undecided"


def test_bad_input_gets_one_clear_line():
    with pytest.raises(ValueError, match="n_resamples must be at least 1, not 0"):
        resample_samples(np.zeros(3, dtype=int), 0, seed=0)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, not 95"):
        interval_over_seeds(np.zeros((1, 3)), seed=0, level=95)
