"""Batches of inputs as models take them: a tensor, several by position, or several by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    default_collate,
)

from srel_core.engine.setup import checks

Given = Tensor | NDArray[Any] | Sequence[Any] | Mapping[str, Any]
"""n inputs to a model: a tensor or NumPy array (n, ...); a tuple or list of these, with which the
model is called by position; or a mapping of these, with which it is called by name."""

_BATCH = 256  # items of a Dataset to collate at a time
_SHUFFLE = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


@dataclass(frozen=True)
class Inputs:
    """n inputs to a model, of one or several tensors (n, ...).

    The model is called with them by position, or by `names` where there are any.
    """

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, name: str, given: Given) -> "Inputs":
        """What was given as `name`, checked; ValueError, in one line, where it is no batch."""
        names = None
        if isinstance(given, Mapping):
            kept = {key: value for key, value in given.items() if value is not None}
            names, values = tuple(map(str, kept)), list(kept.values())
        else:
            values = list(given) if isinstance(given, (tuple, list)) else [given]
        labels = [f"{name}[{key!r}]" for key in names] if names else [name] * len(values)
        tensors = tuple(
            as_tensor(label, value) for label, value in zip(labels, values, strict=True)
        )
        if not tensors or any(t.ndim == 0 or len(t) == 0 for t in tensors):
            noun = {"x": "sample", "probes": "probe"}.get(name, "input")
            raise ValueError(f"{name} is empty: at least one {noun} is needed")
        lengths = sorted({len(t) for t in tensors})
        if len(lengths) > 1:
            raise ValueError(
                f"{name} holds tensors of different lengths, {lengths}: the first dimension must "
                "be the batch in each of them"
            )
        for label, tensor in zip(labels, tensors, strict=True):
            checks.require_finite(label, tensor)
        return cls(tensors, names)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: slice | Tensor) -> "Inputs":
        return Inputs(tuple(t[rows] for t in self.tensors), self.names)

    def split(self, n: int) -> Iterator["Inputs"]:
        """At most n at a time."""
        return (self[k : k + n] for k in range(0, len(self), n))

    def joined(self, other: "Inputs") -> "Inputs":
        """These, and after them those others of the same kind."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        return Inputs(tuple(torch.cat(pair) for pair in pairs), self.names)

    def like(self, weight: Tensor) -> "Inputs":
        """On the device of a weight, and what is real or complex in its precision."""
        return Inputs(tuple(to_model(t, weight) for t in self.tensors), self.names)

    def channels_last(self) -> "Inputs":
        """The same with the channels of a pixel side by side in memory, where they are images."""
        images = (
            t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t
            for t in self.tensors
        )
        return Inputs(tuple(images), self.names)

    def call(self, model: nn.Module) -> Any:
        """Whatever the model gives for them."""
        # A model that turns autocast on would go on with rounded weights that it has kept since
        # before a step, for it keeps them until the outermost autocast ends: the caller's.
        torch.clear_autocast_cache()
        if self.names is None:
            return model(*self.tensors)
        return model(**dict(zip(self.names, self.tensors, strict=True)))

    def require_like(self, other: "Inputs") -> None:
        """ValueError unless these, the samples, and the probes `other` are inputs of one model."""
        if self.names != other.names or len(self.tensors) != len(other.tensors):
            raise ValueError(
                f"x holds {self._described()} but probes {other._described()}: both must be "
                "inputs of one model"
            )
        for a, b in zip(self.tensors, other.tensors, strict=True):
            if a.shape[1:] != b.shape[1:]:
                raise ValueError(
                    f"samples have shape {tuple(a.shape[1:])} but probes {tuple(b.shape[1:])}: "
                    "both must be inputs of one model"
                )

    def equal_rows(self, other: "Inputs") -> Tensor:
        """(len(self), len(other)), on the CPU: True where both hold the same numbers."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        return torch.stack([_equal_rows(a, b) for a, b in pairs]).all(0)

    def _described(self) -> str:
        return ", ".join(self.names) if self.names else f"{len(self.tensors)} tensor(s)"


def as_tensor(name: str, value: object) -> Tensor:
    """A tensor, or a NumPy array as one, with values of its own; ValueError for anything else."""
    if isinstance(value, np.ndarray):
        try:
            return torch.from_numpy(np.array(value))
        except TypeError:
            raise ValueError(f"{name} is an array of {value.dtype}: give numbers") from None
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} must be a torch tensor or a NumPy array, not {type(value).__name__}"
        )
    if value.layout != torch.strided:
        raise ValueError(f"{name} is a {value.layout} tensor: give x.to_dense()")
    return value


def read_pairs(name: str, data: object) -> tuple[Given, Tensor | None] | None:
    """Everything that a Dataset or a DataLoader gives, read once: its inputs and, where its items
    are pairs, their targets. None for anything else. ValueError for a DataLoader that shuffles:
    which row of the result were which input?"""
    if isinstance(data, DataLoader):
        if isinstance(data.sampler, _SHUFFLE):
            raise ValueError(
                f"{name} is a DataLoader that shuffles, so that no row of the result could be told "
                "from another: give its dataset, or one batch, as by next(iter(loader))"
            )
        batches = list(data)
    elif isinstance(data, Dataset):
        batches = list(DataLoader(data, batch_size=_BATCH))
    else:
        return None
    if not batches:
        raise ValueError(f"{name} is empty: at least one input is needed")
    whole = _concatenated(batches)
    if isinstance(whole, (tuple, list)) and len(whole) == 2:
        return whole[0], whole[1]
    if isinstance(whole, dict) and "labels" in whole:
        targets = whole.pop("labels")
        return whole, targets
    return whole, None


def _concatenated(batches: list[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Tensor):
        return torch.cat(batches)
    if isinstance(first, Mapping):
        return {key: _concatenated([batch[key] for batch in batches]) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(_concatenated(list(parts)) for parts in zip(*batches, strict=True))
    return default_collate([item for batch in batches for item in batch])


def to_model(values: Tensor, like: Tensor) -> Tensor:
    """On the device of `like`, and real or complex numbers in its precision."""
    values = values.clone() if values.is_inference() else values.detach()
    dtype = values.dtype
    if dtype.is_complex:
        dtype = like.dtype.to_complex() if like.dtype in _WITH_COMPLEX else torch.complex64
    elif dtype.is_floating_point:
        dtype = like.dtype.to_real()
    return values.to(device=like.device, dtype=dtype)


_WITH_COMPLEX = {torch.float32, torch.float64, torch.complex64, torch.complex128}


def _equal_rows(a: Tensor, b: Tensor) -> Tensor:
    rows_a, rows_b = (_as_bytes(t) for t in (a, b))
    at_b: dict[bytes, list[int]] = {}
    for i, row in enumerate(rows_b):
        at_b.setdefault(row, []).append(i)
    equal = np.zeros((len(rows_a), len(rows_b)), dtype=bool)
    for j, row in enumerate(rows_a):
        if row in at_b:
            equal[j, at_b[row]] = True
    return torch.from_numpy(equal)


def _as_bytes(values: Tensor) -> list[bytes]:
    """What each row holds."""
    rows = values.detach().cpu().resolve_conj().contiguous().reshape(len(values), -1)
    return [row.tobytes() for row in rows.view(torch.uint8).numpy()] if rows.numel() else [
        b"" for _ in rows
    ]  # fmt: skip
