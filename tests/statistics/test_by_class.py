"""Class matrices and AUC against plain loops over pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from srel_core.statistics import by_class
from srel_core.statistics.intervals import resample_samples

REDUCES = ["ratio_of_means", "mean", "median"]


def _problem(seed, n_probes=9, n_samples=8, n_classes=3):
    rng = np.random.default_rng(seed)
    change, own = rng.lognormal(size=(n_probes, n_samples)), rng.lognormal(size=n_samples)
    own[rng.random(n_samples) < 0.2] = 0
    probe_classes, sample_classes = (
        rng.permutation(np.resize(np.arange(n_classes), n)) for n in (n_probes, n_samples)
    )
    exclude = rng.random((n_probes, n_samples)) < 0.2
    return change, own, probe_classes, sample_classes, exclude


def _slow_cell(change, own, kept_pairs, reduce):
    """One aggregate from an explicit list of (probe, sample) pairs."""
    if reduce == "ratio_of_means":
        total = sum(own[i] for _, i in kept_pairs)
        return sum(change[j, i] for j, i in kept_pairs) / total if total else math.nan
    ratios = sorted(change[j, i] / own[i] for j, i in kept_pairs if own[i] > 0)
    if not ratios:
        return math.nan
    return np.mean(ratios) if reduce == "mean" else np.median(ratios)


def _slow_matrix(change, own, probe_classes, sample_classes, exclude, reduce, counts):
    n_classes = 3
    matrix = np.full((n_classes, n_classes), math.nan)
    for c_probe in range(n_classes):
        for c_sample in range(n_classes):
            pairs = [
                (j, i)
                for i in range(len(own))
                for _ in range(int(counts[i]))
                for j in range(len(change))
                if probe_classes[j] == c_probe
                and sample_classes[i] == c_sample
                and not exclude[j, i]
            ]
            matrix[c_probe, c_sample] = _slow_cell(change, own, pairs, reduce)
    return matrix


@pytest.mark.parametrize("reduce", REDUCES)
@given(seed=st.integers(0, 2**20))
def test_matrix_and_its_resamples_equal_a_loop_over_pairs(reduce, seed):
    problem = _problem(seed)
    *arrays, exclude = problem
    got = by_class.class_matrix(*arrays, exclude=exclude, reduce=reduce)
    want = _slow_matrix(*problem, reduce, np.ones(len(arrays[1])))
    np.testing.assert_allclose(got, want, rtol=1e-12)
    weights = resample_samples(arrays[3], 4, seed)
    resampled = by_class.class_matrix(*arrays, exclude=exclude, reduce=reduce, weights=weights)
    for counts, matrix in zip(weights, resampled, strict=True):
        np.testing.assert_allclose(matrix, _slow_matrix(*problem, reduce, counts), rtol=1e-12)


@given(seed=st.integers(0, 2**20))
def test_auc_is_the_mann_whitney_statistic(seed):
    change, _, probe_classes, sample_classes, exclude = _problem(seed)
    change = np.round(change)  # ties
    got = by_class.same_class_auc(change, probe_classes, sample_classes, exclude=exclude)
    for i, value in enumerate(got):
        same = (probe_classes == sample_classes[i]) & ~exclude[:, i]
        other = (probe_classes != sample_classes[i]) & ~exclude[:, i]
        if same.any() and other.any():
            u = mannwhitneyu(change[same, i], change[other, i]).statistic
            assert value == pytest.approx(u / (same.sum() * other.sum()))
        else:
            assert math.isnan(value)


def test_same_and_other():
    matrix = np.array([[1.0, 2.0], [4.0, 3.0]])
    assert by_class.same_and_other(matrix) == (2.0, 3.0)
    with pytest.raises(ValueError, match="one class has no other"):
        by_class.same_and_other(np.ones((1, 1)))


def test_bad_input_gets_one_clear_line():
    change, own, probe_classes, sample_classes, exclude = _problem(0)
    with pytest.raises(ValueError, match="unknown reduce 'max'; known: ratio_of_means"):
        by_class.class_matrix(change, own, probe_classes, sample_classes, reduce="max")
    with pytest.raises(ValueError, match=r"change must be \(P, S\) and own \(S,\)"):
        by_class.class_matrix(change, own[1:], probe_classes, sample_classes)
    with pytest.raises(ValueError, match="needs 9 probe classes and 8 sample classes"):
        by_class.class_matrix(change, own, sample_classes, probe_classes)
    with pytest.raises(ValueError, match=r"exclude must be \(9, 8\)"):
        by_class.class_matrix(change, own, probe_classes, sample_classes, exclude=exclude[1:])
