"""Inputs of the flows: converted to float64, or one ValueError that says what to do."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from srel_core.scaling import scaled, unscaled

FloatArray = NDArray[np.float64]

LARGEST = 1e300  # of an input: small multiples of such still are float64
LARGEST_DEGREE = 10**6


def array(
    name: str,
    value: ArrayLike,
    shape: str,
    ndim: int | tuple[int, ...],
    largest: float = LARGEST,
) -> FloatArray:
    """A float64 copy of `value`; ValueError unless finite, within ±`largest`, of `ndim` dimensions.

    `shape` is how an error names the shape that was expected, "(N, p)" say.
    """
    try:
        result = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be numbers of shape {shape}: convert it with np.asarray(..., float)"
        ) from None
    if result.ndim not in np.atleast_1d(ndim):
        raise ValueError(f"{name} must have shape {shape}, not {result.shape}: reshape it")
    if 0 in result.shape:
        raise ValueError(f"{name} must not be empty, but has shape {result.shape}: pass data")
    if not np.isfinite(result).all():
        raise ValueError(f"{name} must be finite, but has NaN or Inf entries: remove them")
    if np.abs(result).max() > largest:
        raise ValueError(
            f"{name} must be within ±{largest:g}, but has an entry of size "
            f"{np.abs(result).max():.3g}: take another unit"
        )
    return result


def same_shape(name: str, value: ArrayLike, like_name: str, like: FloatArray) -> FloatArray:
    """`value` as a vector of the same length as the vector `like`."""
    result = array(name, value, "(p,)", 1)
    if result.shape != like.shape:
        raise ValueError(
            f"{name} has {result.size} entries, but {like_name} has {like.size}: make them equal"
        )
    return result


def samples(name: str, value: ArrayLike, dimension: int) -> FloatArray:
    """`value` as m input vectors, (m, dimension)."""
    result = array(name, value, f"(m, {dimension})", 2)
    if result.shape[1] != dimension:
        raise ValueError(
            f"{name} must have shape (m, {dimension}), not {result.shape}: "
            "one row per sample, as long as the flow's own vectors"
        )
    return result


def pairs(
    names: tuple[str, str], probe: ArrayLike, sample: ArrayLike, dimension: int
) -> tuple[FloatArray, FloatArray]:
    """m pairs of a probe and a sample, each (m, dimension)."""
    both = samples(names[0], probe, dimension), samples(names[1], sample, dimension)
    if len(both[0]) != len(both[1]):
        raise ValueError(
            f"{names[0]} and {names[1]} must have one row per pair, but have "
            f"{len(both[0])} and {len(both[1])} rows: repeat the shorter one"
        )
    return both


def labels(name: str, value: ArrayLike, count: int, n_classes: int) -> NDArray[np.intp]:
    """`count` class labels, integers in 0..n_classes − 1."""
    result = np.array(value)
    if result.shape != (count,) or result.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be {count} integers, one per sample, not {result.dtype} of shape "
            f"{result.shape}: convert it with .astype(int) or pass as many labels as samples"
        )
    if result.min() < 0 or result.max() >= n_classes:
        raise ValueError(
            f"{name} must be in 0..{n_classes - 1}, but spans {result.min()}..{result.max()}: "
            "renumber the classes, or give w0 a column for each"
        )
    return result.astype(np.intp)


def freeze(instance: object, **values: Any) -> None:
    """Set attributes of a frozen dataclass that is being made; arrays become read-only."""
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        object.__setattr__(instance, name, value)


def times(t: ArrayLike) -> FloatArray:
    """`t` as an array (T,); a scalar becomes (1,)."""
    result = np.atleast_1d(array("t", t, "() or (T,)", (0, 1), largest=np.inf))
    if result.min() < 0:
        raise ValueError(
            f"t must not be negative, but its least entry is {result.min():g}: "
            "the flow starts at t = 0"
        )
    return result


def like_times(t: ArrayLike, values: FloatArray) -> Any:
    """`values` (T, ...), without the leading axis where `t` was a scalar."""
    return values[0] if np.ndim(t) == 0 else values


def half_square(difference: FloatArray) -> FloatArray:
    """½‖·‖² of vectors (..., p), infinite where it is beyond float64."""
    size, exponent = scaled(difference, axis=-1)
    return unscaled(0.5 * (size**2).sum(-1), 2 * exponent[..., 0])


def outcome(name: str, t: ArrayLike, values: FloatArray, undefined: bool = False) -> Any:
    """`like_times`, or ValueError if some of `values` (T, ...) are beyond float64.

    NaN is a value that has no definition if `undefined`, else what is left of infinite parts.
    """
    beyond = np.isinf(values) if undefined else ~np.isfinite(values)
    if beyond.any():
        first = times(t)[beyond.reshape(len(values), -1).any(1)][0]
        raise ValueError(
            f"{name} at t = {first:g} is beyond the largest float64, 1.8e+308: "
            "take inputs whose sizes differ less, or another unit"
        )
    return like_times(t, values)


def degree(value: int) -> int:
    """A degree of homogeneity d = 1, 2, 3, …"""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"degree must be an integer ≥ 1, not {value!r}: use 1, 2, 3, …")
    if value > LARGEST_DEGREE:
        raise ValueError(f"degree must be at most {LARGEST_DEGREE}, not {value}: use a smaller one")
    return int(value)
