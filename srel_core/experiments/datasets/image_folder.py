"""Image folders: SPLIT/CLASS/IMAGE."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.datasets.store import SIDE, DataError, Store, data_root


def open_folder(folder: Path, split: str, source: str) -> Store:
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

    return Store(tuple(tree.classes), np.array(tree.targets, dtype=np.int64), pixels)


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


def folder_fingerprint(name: str) -> str:
    """For "folder:PATH" a hash of its files' names, sizes and times of change; else "".

    A data set with a name of its own holds the same images everywhere, a user's folder need not.
    """
    if not name.startswith("folder:"):
        return ""
    folder = data_root()[0].expanduser() / Path(name.removeprefix("folder:")).expanduser()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        facts = path.stat()
        digest.update(f"{path.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
