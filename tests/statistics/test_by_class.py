"""Class matrices and AUC against plain loops over pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from srel_core.statistics import by_class
from srel_core.statistics.intervals import input_weights

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


def _drawn(labels, n, seed):
    """Multiplicities of probes and samples: (n, P), (n, S)."""
    none = np.zeros((len(labels[0]), len(labels[1])), dtype=bool)
    return (of[1:] for of in input_weights(*labels, none, n, seed))


def _slow_matrix(
    change, own, probe_classes, sample_classes, exclude, reduce, counts, of_probe=None
):
    of_probe = np.ones(len(change)) if of_probe is None else of_probe
    n_classes = 3
    matrix = np.full((n_classes, n_classes), math.nan)
    for c_probe in range(n_classes):
        for c_sample in range(n_classes):
            pairs = [
                (j, i)
                for i in range(len(own))
                for _ in range(int(counts[i]))
                for j in range(len(change))
                for _ in range(int(of_probe[j]))
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
    probes, samples = _drawn(arrays[2:], 4, seed)
    resampled = by_class.class_matrix(*arrays, exclude=exclude, reduce=reduce, weights=samples)
    for counts, matrix in zip(samples, resampled, strict=True):
        np.testing.assert_allclose(matrix, _slow_matrix(*problem, reduce, counts), rtol=1e-12)
    both = by_class.class_matrix(
        *arrays, exclude=exclude, reduce=reduce, weights=samples, probe_weights=probes
    )
    for counts, of_probe, matrix in zip(samples, probes, both, strict=True):
        want = _slow_matrix(*problem, reduce, counts, of_probe)
        np.testing.assert_allclose(matrix, want, rtol=1e-12)


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


@given(seed=st.integers(0, 2**20))
def test_a_probe_that_counts_twice_is_two_probes(seed):
    change, _, *labels, exclude = _problem(seed)
    change = np.round(change)
    weights, _ = _drawn(labels, 3, seed)
    got = by_class.same_class_auc(change, *labels, exclude=exclude, probe_weights=weights)
    for counts, auc in zip(weights.astype(int), got, strict=True):
        rows = np.repeat(np.arange(len(change)), counts)
        want = by_class.same_class_auc(
            change[rows], labels[0][rows], labels[1], exclude=exclude[rows]
        )
        np.testing.assert_allclose(auc, want, rtol=1e-12)


def test_same_and_other():
    matrix = np.array([[1.0, 2.0], [4.0, 3.0]])
    assert by_class.same_and_other(matrix) == (2.0, 3.0)
    with pytest.raises(ValueError, match="one class has no other"):
        by_class.same_and_other(np.ones((1, 1)))


@pytest.mark.parametrize("reduce", REDUCES)
@given(
    seed=st.integers(0, 2**20), of_change=st.integers(-1000, 1000), of_own=st.integers(-1000, 1000)
)
def test_the_units_of_change_and_own_change_no_bit(reduce, seed, of_change, of_own):
    change, own, *labels, exclude = _problem(seed)
    _, weights = _drawn(labels, 3, seed)
    plain = by_class.class_matrix(
        change, own, *labels, exclude=exclude, reduce=reduce, weights=weights
    )
    far = np.ldexp(change, of_change), np.ldexp(own, of_own)
    if abs(of_change - of_own) < 1000:
        matrix = by_class.class_matrix(
            *far, *labels, exclude=exclude, reduce=reduce, weights=weights
        )
        np.testing.assert_array_equal(matrix, np.ldexp(plain, of_change - of_own))
        for a, b in zip(
            by_class.same_and_other(matrix), by_class.same_and_other(plain), strict=True
        ):
            np.testing.assert_array_equal(a, np.ldexp(b, of_change - of_own))
    np.testing.assert_array_equal(
        by_class.same_class_auc(far[0], *labels, exclude=exclude),
        by_class.same_class_auc(change, *labels, exclude=exclude),
    )


LARGEST, SMALLEST = np.finfo(float).max, np.finfo(float).smallest_subnormal


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("size", [LARGEST, 1e-310, SMALLEST])
def test_sums_beyond_float64_and_numbers_at_its_end(reduce, size):
    labels = np.array([0, 0, 0, 1, 1, 1])
    change, own = np.full((6, 6), size), np.full(6, size)
    matrix = by_class.class_matrix(change, own, labels, labels, reduce=reduce)
    np.testing.assert_array_equal(matrix, np.ones((2, 2)))
    assert by_class.same_and_other(np.full((3, 3), size)) == (size, size)
    ties = by_class.same_class_auc(change, labels, labels)
    np.testing.assert_array_equal(ties, np.full(6, 0.5))
    change[:3] /= 2 if size > 1 else np.inf  # the next smaller number is 0
    np.testing.assert_array_equal(
        by_class.same_class_auc(change, labels, labels), [0, 0, 0, 1, 1, 1]
    )


def test_an_s_rel_beyond_float64_is_refused_where_it_counts():
    labels = np.array([0, 0, 0, 1])
    change, own = np.ones((4, 4)), np.array([SMALLEST, 1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="beyond the largest float64.*take another reduce"):
        by_class.class_matrix(change, own, labels, labels, reduce="mean")
    for reduce, want in (("median", 1.0), ("ratio_of_means", 1.5)):
        matrix = by_class.class_matrix(change, own, labels, labels, reduce=reduce)
        assert matrix[0, 0] == want and matrix[1, 0] == want


@pytest.mark.parametrize("reduce", REDUCES)
def test_nan_is_seen_in_its_own_cell_alone(reduce):
    labels = np.array([0, 0, 1, 1])
    exclude = np.eye(4, dtype=bool)
    for where in ("change", "own"):
        change, own = np.ones((4, 4)), np.ones(4)
        if where == "change":
            change[1, 0] = np.nan
        else:
            own[0] = np.nan
        matrix = by_class.class_matrix(
            change, own, labels, labels, exclude=exclude, reduce=reduce, weights=np.eye(4) + 1
        )
        lost = [[True, False], [where == "own", False]]
        np.testing.assert_array_equal(np.isnan(matrix), np.tile(lost, (4, 1, 1)))
        change[0, 0] = np.nan  # an excluded pair is not looked at
        again = by_class.class_matrix(
            change, own, labels, labels, exclude=exclude, reduce=reduce, weights=np.eye(4) + 1
        )
        np.testing.assert_array_equal(again, matrix)


def test_the_mean_of_known_values_counts_what_is_there():
    values, weights = np.array([1.0, np.nan, 4.0]), np.array([[1.0, 1, 1], [0, 5, 0], [2, 0, 1]])
    np.testing.assert_array_equal(by_class.mean_of_known(values, weights), [2.5, np.nan, 2.0])
    each = np.stack([values, values[::-1], values * 3])
    np.testing.assert_array_equal(by_class.mean_of_known(each, weights), [2.5, np.nan, 6.0])


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
    for bad in (-1.0, np.inf):
        with pytest.raises(ValueError, match="own must be finite and not negative, or NaN"):
            by_class.class_matrix(change, own + bad, probe_classes, sample_classes)
        with pytest.raises(ValueError, match="change must be finite and not negative, or NaN"):
            by_class.same_class_auc(change + 10 * bad, probe_classes, sample_classes)
