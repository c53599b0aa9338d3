"""What a data set on disk is to those who read it, and the one error of all that fails there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "test")
SIDE = 32


class DataError(ValueError):
    """Data that cannot be used: one line with what was expected, what came, what to do."""


@dataclass(frozen=True)
class Store:
    """One split of a data set as it lies on disk, in file order."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # (M,), indices into classes
    pixels: Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # (n,) rows → (n, 3, 32, 32)


def printable(name: str) -> str:
    r"""A file's name for a message: bytes that are no UTF-8 as \xNN, control characters escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in name)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
