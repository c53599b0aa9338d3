"""What a data set on disk is to those who read it, and where data sets are looked for.

The data root is the folder that the environment variable SREL_DATA names, else
`~/.cache/srel_core/data` (`$XDG_CACHE_HOME/srel_core/data` where that is set).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


def data_root() -> tuple[Path, str]:
    """The data root as the user gave it, `~` and all, and a name for it without a path."""
    if given := os.environ.get("SREL_DATA"):
        return Path(given), "SREL_DATA"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return cache / "srel_core" / "data", "the default data root"
