"""Labelled images, validated when made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from srel_core.experiments.datasets.store import SIDE, DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled 32×32 RGB images, validated when made.

    Attributes:
        images: (N, 3, 32, 32) float32 in [0, 1], N ≥ 1.
        labels: (N,) int64, indices into `classes`.
        classes: the names, at least two, all different.
        source: which loader and from where, in words and without any absolute path.
        checksum: sha256 (hex) over the images as 8-bit values, their shape, the labels and the
            class names: the same whatever road the same pixels came by.

    Raises:
        DataError: a wrong shape or type, NaN or infinite pixels, pixels outside [0, 1], labels
            outside 0..C-1, fewer than two classes, a class named twice.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...]
    source: str
    checksum: str = field(init=False)

    def __post_init__(self) -> None:
        check_classes(self.classes)
        _check_images(self.images)
        _check_labels(self.labels, len(self.images), len(self.classes))
        object.__setattr__(self, "checksum", _checksum(self.images, self.labels, self.classes))


def check_classes(classes: Sequence[str]) -> None:
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"expected class names such as ('0', '2', '4'), got {classes!r}")
    if len(classes) < 2:
        raise DataError(f"expected at least two classes, got {list(classes)}: name another one")
    if len(set(classes)) < len(classes):
        raise DataError(f"expected different classes, got {list(classes)}: name each one once")


def _check_images(images: Tensor) -> None:
    shape = tuple(images.shape)
    if images.dtype != torch.float32 or shape[1:] != (3, SIDE, SIDE) or shape[0] == 0:
        raise DataError(
            f"expected images (N, 3, {SIDE}, {SIDE}) float32 with N ≥ 1, "
            f"got {shape} {images.dtype}: resize or convert them"
        )
    finite = images.isfinite().all(dim=(1, 2, 3))
    if not finite.all():
        first = int(torch.nonzero(~finite)[0])
        raise DataError(f"expected finite pixels, image {first} has NaN or Inf: remove it")
    low, high = (float(v) for v in images.aminmax())
    if low < 0 or high > 1:
        raise DataError(f"expected pixels in [0, 1], got {low:g} to {high:g}: rescale them")


def _check_labels(labels: Tensor, n_images: int, n_classes: int) -> None:
    if labels.dtype != torch.int64 or tuple(labels.shape) != (n_images,):
        raise DataError(
            f"expected labels ({n_images},) int64, one an image, "
            f"got {tuple(labels.shape)} {labels.dtype}: reshape or convert them"
        )
    low, high = (int(v) for v in labels.aminmax())
    if low < 0 or high >= n_classes:
        raise DataError(f"expected labels 0..{n_classes - 1}, got {low}..{high}: renumber them")


def _checksum(images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> str:
    header = json.dumps({"shape": list(images.shape), "classes": list(classes)})
    digest = hashlib.sha256(header.encode())
    digest.update((images * 255).round().to(torch.uint8).cpu().numpy().tobytes())
    digest.update(labels.cpu().numpy().astype("<i8").tobytes())
    return digest.hexdigest()
