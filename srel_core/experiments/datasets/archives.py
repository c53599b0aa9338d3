"""Data sets that come as a package's files: scikit-learn's digits, torchvision's archives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from srel_core.experiments.datasets.store import SIDE, SPLITS, DataError, Store

_DIGITS = tuple("0123456789")
# What torchvision unpacks directly under the data root.
ARCHIVES = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "svhn": "{split}_32x32.mat",
}


def open_digits(split: str) -> Store:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    parts = train_test_split(
        np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0
    )
    rows = np.sort(parts[SPLITS.index(split)])
    return Store(
        _DIGITS,
        digits.target[rows],
        lambda some: _enlarge_digits(digits.images[rows[some]]),
        "digits (scikit-learn)",
    )


def _enlarge_digits(grey: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(n, 8, 8) in 0..16 → (n, 3, 32, 32) in 0..255.

    The bilinear weights are multiples of 1/64 and everything up to the rounding is exact in
    float32, so that the checksum is the same on every machine.
    """
    small = torch.from_numpy(grey).float()[:, None]
    large = torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear")
    return (large * 255 / 16).round().to(torch.uint8).expand(-1, 3, -1, -1).numpy()


def open_archive(name: str, split: str, given: Path, root_name: str) -> Store:
    from torchvision import datasets

    root = given.expanduser()
    wanted = ARCHIVES[name].format(split=split)
    present = (root / wanted).exists()
    source = f"{name} (torchvision archive under {root_name})"
    try:
        if name == "svhn":
            svhn = datasets.SVHN(root, split=split, download=not present)
            return Store(_DIGITS, svhn.labels, lambda rows: svhn.data[rows], source)
        reader = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        cifar = reader(root, train=split == "train", download=not present)
    except (OSError, RuntimeError) as error:  # no network, no permission; a wrong checksum
        place = f"{root_name} ({given})"
        if present:
            raise DataError(
                f"{name}: {wanted} in {place} is incomplete or damaged: "
                "remove it, and it is downloaded again"
            ) from error
        raise DataError(
            f"{name}: neither {name}/train nor {wanted} is in {place}, and the download failed "
            f"({error}): set SREL_DATA to a folder that holds one of them, or go online"
        ) from error
    return Store(
        tuple(cifar.classes),
        np.array(cifar.targets, dtype=np.int64),
        lambda rows: cifar.data[rows].transpose(0, 3, 1, 2),
        source,
    )
