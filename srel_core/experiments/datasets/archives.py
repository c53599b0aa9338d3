"""Readers of data sets that come as a package's files: scikit-learn's digits, torchvision's.

Each is called with the folder that holds torchvision's files, the split, and whether to fetch what
is not there, and returns the class names, the labels and the pixels on request.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from srel_core.experiments.datasets.store import SIDE, SPLITS, Store

Reader = Callable[[Path, str, bool], Store]
_DIGITS = tuple("0123456789")


def read_digits(folder: Path, split: str, download: bool) -> Store:
    """8×8 digits, enlarged; 80 % train and 20 % test, stratified, drawn with seed 0."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    parts = train_test_split(
        np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0
    )
    rows = np.sort(parts[SPLITS.index(split)])
    return Store(
        _DIGITS, digits.target[rows], lambda some: _enlarge_digits(digits.images[rows[some]])
    )


def _enlarge_digits(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(n, 8, 8) in 0..16 → (n, 3, 32, 32) in 0..255.

    The bilinear weights are multiples of 1/64 and everything up to the rounding is exact in
    float32, so that the checksum is the same on every machine.
    """
    small = torch.from_numpy(grey).float()[:, None]
    large = torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear")
    return (large * 255 / 16).round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()


def cifar_reader(name: str) -> Reader:
    """The reader of torchvision's data set of this name, "CIFAR10" or "CIFAR100"."""

    def read(folder: Path, split: str, download: bool) -> Store:
        from torchvision import datasets

        cifar = getattr(datasets, name)(folder, train=split == "train", download=download)
        return Store(
            tuple(cifar.classes),
            np.array(cifar.targets, dtype=np.int64),
            lambda rows: cifar.data[rows].transpose(0, 3, 1, 2),
        )

    return read


def read_svhn(folder: Path, split: str, download: bool) -> Store:
    """Street View House Numbers, cropped digits."""
    from torchvision import datasets

    svhn = datasets.SVHN(folder, split=split, download=download)
    return Store(_DIGITS, svhn.labels, lambda rows: svhn.data[rows])
