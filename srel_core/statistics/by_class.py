"""Class structure of S_rel: the class matrix and the same-class AUC.

For probes x' of class c' and samples x of class c, x' ≠ x, the class matrix S[c', c] is an
aggregate of S_rel(x', x):

    mean            mean of change(x', x) / own(x)
    median          median of change(x', x) / own(x)
    ratio_of_means  mean of change(x', x) / mean of own(x), which no tiny own(x) can dominate

and the AUC needs no denominator at all: for each x, the chance that a same-class probe moves
more than a probe of another class (ties count one half); 0.5 means no class structure.

Every summary takes `weights`, how often each sample counts, and `probe_weights`, how often each
probe does: ones for the estimate itself, bootstrap multiplicities (`intervals.input_weights`) for
its interval, all resamples in one call.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from srel_core.scaling import mean, scaled, unscaled

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Reduce = Literal["ratio_of_means", "mean", "median"]


def class_matrix(
    change: Array,
    own: Array,
    probe_classes: Labels,
    sample_classes: Labels,
    *,
    exclude: NDArray[np.bool_] | None = None,
    reduce: Reduce = "ratio_of_means",
    weights: Array | None = None,
    probe_weights: Array | None = None,
) -> Array:
    """S[c', c] as (C, C), or (B, C, C) for weights of shape (B, S) and probe_weights of (B, P).

    change (P, S), own (S,), probe_classes (P,), sample_classes (S,); `exclude` (P, S) marks the
    pairs to leave out (x' = x). Samples with own = 0 have no S_rel and are left out of `mean`
    and `median`. A cell without pairs is NaN, and so is one with a NaN among its pairs.

    Units do not matter: no sum over- or underflows. ValueError where a cell itself does, for
    changes or own changes below 0, and for shapes that do not fit.
    """
    _check_pairs(change, own, probe_classes, sample_classes, exclude)
    if reduce not in get_args(Reduce):
        raise ValueError(f"unknown reduce {reduce!r}; known: {', '.join(get_args(Reduce))}")
    weight = np.ones((1, len(own))) if weights is None else np.atleast_2d(weights)
    of_probe = np.ones((1, len(change))) if probe_weights is None else np.atleast_2d(probe_weights)
    kept = np.ones(change.shape, bool) if exclude is None else ~exclude
    if reduce != "ratio_of_means":
        kept = kept & (own != 0)
    n_classes = 1 + max(int(probe_classes.max()), int(sample_classes.max()))
    n_rows = max(len(weight), len(of_probe))
    matrix = np.full((n_rows, n_classes, n_classes), np.nan)
    for c_probe in range(n_classes):
        for c_sample in range(n_classes):
            rows, columns = probe_classes == c_probe, sample_classes == c_sample
            cell = np.ix_(rows, columns)
            matrix[:, c_probe, c_sample] = _aggregate(
                change[cell], own[columns], kept[cell], of_probe[:, rows], weight[:, columns],
                reduce,
            )  # fmt: skip
    if np.isinf(matrix).any():
        raise ValueError(
            "S_rel or its mean over some pair of classes is beyond the largest float64, 1.8e+308: "
            "take another reduce, or leave out the samples that change least"
        )
    plain = all(given is None or given.ndim == 1 for given in (weights, probe_weights))
    return matrix[0] if plain else matrix


def _aggregate(
    change: Array,
    own: Array,
    kept: NDArray[np.bool_],
    of_probe: Array,
    weight: Array,
    reduce: Reduce,
) -> Array:
    """One cell of the class matrix for every row of `of_probe` (B, P) and `weight` (B, S): (B,)."""
    pairs = of_probe @ kept
    if reduce == "ratio_of_means":
        change, of_change = scaled(np.where(kept, change, 0))
        own, of_own = scaled(np.where(kept.any(0), own, 0))
        found = _divide((of_probe @ change * weight).sum(1), (pairs * own * weight).sum(1))
        return unscaled(found, int(of_change.item()) - int(of_own.item()))
    with np.errstate(over="ignore"):
        ratio = np.divide(change, own, out=np.zeros_like(change), where=kept)
    ratio, exponent = scaled(ratio)
    if reduce == "mean":
        found = _divide((of_probe @ ratio * weight).sum(1), (pairs * weight).sum(1))
    else:
        probes, samples = np.nonzero(kept)
        found = _weighted_median(ratio[kept], of_probe[:, probes] * weight[:, samples])
    return unscaled(found, int(exponent.item()))


def _divide(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _weighted_median(values: Array, weight: Array) -> Array:
    """Medians of values (n,) counted weight (B, n) times, (B,): the middle one or two, averaged."""
    if not values.size or np.isnan(values).any():
        return np.full(len(weight), np.nan)
    order = np.argsort(values)
    values, counted = values[order], weight[:, order].cumsum(1)
    half = counted[:, -1:] / 2
    lower = values[np.minimum((counted < half).sum(1), len(values) - 1)]
    upper = values[np.minimum((counted <= half).sum(1), len(values) - 1)]
    return np.where(counted[:, -1] > 0, (lower + upper) / 2, np.nan)


def same_and_other(matrix: Array) -> tuple[Array, Array]:
    """Means over the diagonal and over the rest of class matrices (..., C, C): (...), (...)."""
    n_classes = matrix.shape[-1]
    if n_classes < 2:
        raise ValueError("a class matrix of one class has no other class to compare with")
    on_diagonal = np.eye(n_classes, dtype=bool)
    return mean(matrix[..., on_diagonal], -1), mean(matrix[..., ~on_diagonal], -1)


def same_class_auc(
    change: Array,
    probe_classes: Labels,
    sample_classes: Labels,
    *,
    exclude: NDArray[np.bool_] | None = None,
    probe_weights: Array | None = None,
) -> Array:
    """P(change at a same-class probe > change at another-class probe) for each sample: (S,), or
    (B, S) for probe_weights of shape (B, P).

    Shapes as in `class_matrix`. NaN for a sample that lacks probes of either kind, or has a NaN
    among its changes.
    """
    _check_pairs(change, np.zeros(change.shape[1]), probe_classes, sample_classes, exclude)
    kept = np.ones(change.shape, bool) if exclude is None else ~exclude
    weight = np.ones((1, len(change))) if probe_weights is None else np.atleast_2d(probe_weights)
    auc = np.full((len(weight), change.shape[1]), np.nan)
    for label in np.unique(sample_classes):
        of_class = sample_classes == label
        same = probe_classes == label
        auc[:, of_class] = _auc(
            change[np.ix_(same, of_class)], change[np.ix_(~same, of_class)],
            kept[np.ix_(same, of_class)], kept[np.ix_(~same, of_class)],
            weight[:, same], weight[:, ~same],
        )  # fmt: skip
    return auc[0] if probe_weights is None or probe_weights.ndim == 1 else auc


def _auc(
    inside: Array,
    outside: Array,
    kept_inside: NDArray[np.bool_],
    kept_outside: NDArray[np.bool_],
    of_inside: Array,
    of_outside: Array,
) -> Array:
    """The AUC of the samples of one class, (B, S): changes inside their class (P, S) and outside
    it (Q, S), probes counted of_inside (B, P) and of_outside (B, Q) times."""
    first, second = inside.T[:, :, None], outside.T[:, None, :]
    with np.errstate(invalid="ignore"):
        wins = (first > second) + 0.5 * (first == second)
    pairs = kept_inside.T[:, :, None] & kept_outside.T[:, None, :]
    unknown = (np.isnan(inside) & kept_inside).any(0) | (np.isnan(outside) & kept_outside).any(0)
    won = np.einsum("sbq,bq->bs", of_inside @ np.where(pairs, wins, 0), of_outside)
    of_pairs = (of_inside @ kept_inside) * (of_outside @ kept_outside)
    return np.where(unknown, np.nan, _divide(won, of_pairs))


def mean_of_known(values: Array, weights: Array) -> Array:
    """Means (B,) of the samples' values (S,) or (B, S) that are not NaN, counted `weights` (B, S)
    times.

    NaN for a row of weights that counts none of them.
    """
    counted = weights * ~np.isnan(values)
    return _divide((counted * np.nan_to_num(values)).sum(1), counted.sum(1))


def _check_pairs(
    change: Array,
    own: Array,
    probe_classes: Labels,
    sample_classes: Labels,
    exclude: NDArray[np.bool_] | None,
) -> None:
    if change.ndim != 2 or own.shape != change.shape[1:]:
        raise ValueError(
            f"change must be (P, S) and own (S,), but they are {change.shape} and {own.shape}"
        )
    if probe_classes.shape != change.shape[:1] or sample_classes.shape != change.shape[1:]:
        raise ValueError(
            f"change is {change.shape}: it needs {change.shape[0]} probe classes and "
            f"{change.shape[1]} sample classes, not {probe_classes.shape} and "
            f"{sample_classes.shape}"
        )
    if exclude is not None and exclude.shape != change.shape:
        raise ValueError(f"exclude must be {change.shape} like change, not {exclude.shape}")
    for name, values in (("change", change), ("own", own)):
        if (values < 0).any() or np.isinf(values).any():
            raise ValueError(
                f"{name} must be finite and not negative, or NaN where it is not known"
            )
