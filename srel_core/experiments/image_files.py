"""Where data sets lie: image folders, torchvision's archives, scikit-learn's digits.

`open_store` finds one split of a data set and says what is in it; pixels are decoded on request.
The data root is the folder that the environment variable SREL_DATA names, else
`~/.cache/srel_core/data` (`$XDG_CACHE_HOME/srel_core/data` where that is set).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from srel_core.choices import unknown

NAMES = ("digits", "cifar10", "cifar100", "svhn", "folder:PATH")
SPLITS = ("train", "test")
SIDE = 32
_DIGITS = tuple("0123456789")
# What torchvision unpacks directly under the data root.
_ARCHIVES = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "svhn": "{split}_32x32.mat",
}


class DataError(ValueError):
    """Data that cannot be used: one line with what was expected, what came, what to do."""


@dataclass(frozen=True)
class Store:
    """One split of a data set as it lies on disk, in file order."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # (M,), indices into classes
    pixels: Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # (n,) rows → (n, 3, 32, 32)
    source: str


def open_store(name: str, split: str) -> Store:
    """One split of the data set `name`; DataError if it is unknown, absent or damaged."""
    given, root_name = _data_root()
    root = given.expanduser()
    if name == "digits":
        return _open_digits(split)
    if name.startswith("folder:"):
        path = Path(name.removeprefix("folder:")).expanduser()
        where = f"folder:{path.name}" if path.is_absolute() else f"folder:{path}"
        under = "" if path.is_absolute() else f" under {root_name}"
        return _open_folder(root / path, split, f"{where} (image folder{under})")
    if name not in _ARCHIVES:
        raise DataError(unknown("data set", name, NAMES))
    if (root / name / "train").is_dir():
        return _open_folder(root / name, split, f"{name} (image folder under {root_name})")
    return _open_archive(name, split, given, root_name)


def folder_fingerprint(name: str) -> str:
    """For "folder:PATH" a hash of its files' names, sizes and times of change; else "".

    A data set with a name of its own holds the same images everywhere, a user's folder need not.
    """
    if not name.startswith("folder:"):
        return ""
    folder = _data_root()[0].expanduser() / Path(name.removeprefix("folder:")).expanduser()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        facts = path.stat()
        digest.update(f"{path.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _data_root() -> tuple[Path, str]:
    """The data root as the user gave it, `~` and all, and a name for it without a path."""
    if given := os.environ.get("SREL_DATA"):
        return Path(given), "SREL_DATA"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return cache / "srel_core" / "data", "the default data root"


def _open_digits(split: str) -> Store:
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


def _open_folder(folder: Path, split: str, source: str) -> Store:
    from torchvision.datasets import ImageFolder

    try:
        tree = ImageFolder(folder / split, loader=partial(_read_image, folder), allow_empty=True)
    except OSError as error:
        raise DataError(
            f"{source}: expected images in {split}/CLASS/, found no such folder: "
            "check the path and SREL_DATA"
        ) from error

    def pixels(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([tree[row][0] for row in rows]).transpose(0, 3, 1, 2)

    return Store(tuple(tree.classes), np.array(tree.targets, dtype=np.int64), pixels, source)


def _read_image(folder: Path, path: str) -> NDArray[np.uint8]:
    """(32, 32, 3): one square image file."""
    from PIL import Image

    name = Path(path).relative_to(folder)
    try:
        with Image.open(path) as image:
            # Converted to RGB, 16-bit grey would saturate and hidden transparent pixels appear.
            if image.mode not in ("1", "L", "P", "RGB") or "transparency" in image.info:
                raise DataError(
                    f"{name}: expected opaque 8-bit grey, palette or RGB, got mode {image.mode} "
                    "or transparency: convert it"
                )
            if image.width != image.height:
                raise DataError(
                    f"{name}: expected a square image, got {image.width}×{image.height} pixels: "
                    "crop it"
                )
            rgb = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError) as error:  # what Pillow raises for damaged files
        raise DataError(f"{name}: expected an image, cannot read it: replace it") from error
    return np.asarray(rgb)


def _open_archive(name: str, split: str, given: Path, root_name: str) -> Store:
    from torchvision import datasets

    root = given.expanduser()
    wanted = _ARCHIVES[name].format(split=split)
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
