"""A SHA-256 over what a file holds, however it is laid out in the file.

Two files have the same digest if and only if they have the same names, dimensions, types, values to
the bit, and attributes. Text counts as text, whatever type it is kept in; a number alone counts as
a list of one, as NetCDF keeps both in one way.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

ATTRIBUTE = "content_sha256"
"""The attribute that holds a file's digest, and is no part of it."""


def of_dataset(dataset: "xr.Dataset") -> str:
    """Of all variables, coordinates and attributes."""
    own = {name: value for name, value in dataset.attrs.items() if name != ATTRIBUTE}
    parts: list[tuple[Any, NDArray[Any]]] = [(_plain(own), np.empty(0, np.uint8))]
    for name, variable in sorted(dataset.variables.items(), key=lambda item: str(item[0])):
        role = "coordinate" if name in dataset.coords else "variable"
        kind, values = _kept(np.asarray(variable.values))
        label = [str(name), role, list(map(str, variable.dims)), kind, list(variable.shape)]
        parts.append(([*label, _plain(variable.attrs)], values))
    return _sum(parts)


def of_tensors(tensors: "Mapping[str, Tensor]", about: Mapping[str, str]) -> str:
    """Of all tensors by name, and of the words about them."""
    import torch

    parts: list[tuple[Any, NDArray[Any]]] = [(dict(about), np.empty(0, np.uint8))]
    for name, tensor in sorted(tensors.items()):
        as_bytes = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        parts.append(([name, str(tensor.dtype), list(tensor.shape)], as_bytes))
    return _sum(parts)


def _sum(parts: Iterable[tuple[Any, NDArray[Any]]]) -> str:
    digest = hashlib.sha256()
    for label, values in parts:
        digest.update(json.dumps([label, values.nbytes], sort_keys=True).encode() + b"\n")
        digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _kept(values: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """The type of values in words, and their bytes: numbers with the lowest byte first."""
    if values.dtype.kind in "biufc":
        kind = values.dtype.newbyteorder("<")
        return kind.str, np.ascontiguousarray(values, kind)
    text = json.dumps([str(value) for value in values.ravel()])
    return "text", np.frombuffer(text.encode(), np.uint8)


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    listed = {str(name): np.asarray(value).reshape(-1) for name, value in attributes.items()}
    return {
        name: [value.dtype.kind, value.tolist()]
        if value.dtype.kind in "biuf"
        else ["text", list(map(str, value))]
        for name, value in listed.items()
    }
