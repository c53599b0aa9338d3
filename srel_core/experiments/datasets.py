"""Images for the experiments: one validated `ImageSet`, and the draws made from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srel_core.choices import unknown
from srel_core.experiments.image_files import SIDE, SPLITS, DataError, Store, open_store

__all__ = ["DataError", "ImageSet", "augment", "draw_per_class", "load_images", "normalise"]

_DEFAULT_CLASSES = {
    "digits": ("0", "2", "4"),
    "cifar10": ("airplane", "automobile", "ship"),
    "cifar100": ("motorcycle", "orange", "wardrobe"),
    "svhn": ("0", "2", "4"),
}
# Published, the same for every data set.
_MEAN = (0.4914, 0.4822, 0.4465)
_SD = (0.2023, 0.1994, 0.2010)


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
        _check_classes(self.classes)
        _check_images(self.images)
        _check_labels(self.labels, len(self.images), len(self.classes))
        object.__setattr__(self, "checksum", _checksum(self.images, self.labels, self.classes))


def load_images(
    name: str,
    classes: Sequence[str] | None = None,
    split: str = "train",
    per_class: int | None = None,
) -> ImageSet:
    """Load a data set as 32×32 RGB, class by class in the order of `classes`.

    Within a class the images keep their file order: the order in the archive, or the sorted
    paths of an image folder.

    Args:
        name: one of
            "digits": scikit-learn's 8×8 digits, enlarged bilinearly and rounded to 8 bits;
            80 % train and 20 % test, stratified over the ten digits, drawn with seed 0.
            "cifar10", "cifar100", "svhn": the image folder NAME/train, NAME/test under the data
            root if it is there, else torchvision's archive, downloaded (with its checksum) into
            the data root if it is not there.
            "folder:PATH": an image folder of your own, PATH/train/CLASS/IMAGE and
            PATH/test/CLASS/IMAGE; a relative PATH counts from the data root. The images are
            square, of any size (antialiased bilinear resize), 8-bit grey, palette or RGB.
        classes: names, or the digits as strings for "digits" and "svhn". None: airplane,
            automobile, ship (cifar10); motorcycle, orange, wardrobe (cifar100); 0, 2, 4 (svhn,
            digits); all of them (folder).
        split: "train" or "test".
        per_class: at most this many images a class, the first in file order. None: all.

    Raises:
        DataError: an unknown name, class or split, a class without images, data that are absent
            while the network is unreachable, damaged files, images that are not square.
    """
    if split not in SPLITS:
        raise DataError(unknown("split", split, SPLITS))
    if per_class is not None and per_class < 1:
        raise DataError(f"per_class is at least 1, or None for all: got {per_class}")
    requested = _DEFAULT_CLASSES.get(name) if classes is None else classes
    if requested is not None:
        _check_classes(requested)  # here already: the next line may download
    store = open_store(name, split)
    chosen = tuple(store.classes if requested is None else requested)
    rows = _rows_by_class(store, chosen, per_class)
    pixels = torch.from_numpy(np.ascontiguousarray(store.pixels(np.concatenate(rows))))
    labels = torch.repeat_interleave(torch.tensor([len(r) for r in rows]))
    return ImageSet(pixels.float() / 255, labels, chosen, store.source)


def augment(images: Tensor, seed: int) -> Tensor:
    """Random crop (4 black pixels of padding on each side), then a horizontal flip for one in two.

    Published: drawn once per run and then fixed; before `normalise`, so that the padding is black.

    Args:
        images: (N, 3, H, W).
        seed: fixes one crop and one flip for each image, on any device. The global generator is
            neither read nor moved.

    Returns:
        (N, 3, H, W), new memory, of the same type and on the same device.

    Raises:
        DataError: another shape.
    """
    _check_rgb(images)
    padding, (n, channels, height, width) = 4, images.shape
    draws = torch.Generator().manual_seed(seed)
    top = torch.randint(2 * padding + 1, (n, 1), generator=draws)
    left = torch.randint(2 * padding + 1, (n, 1), generator=draws)
    flip = torch.randint(2, (n, 1), generator=draws).bool()
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    columns = torch.where(flip, columns.flip(1), columns)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    return padded[
        torch.arange(n)[:, None, None, None],
        torch.arange(channels)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def normalise(images: Tensor) -> Tensor:
    """(images − mean) / sd with the published mean and sd of each channel.

    Args:
        images: (N, 3, H, W) in [0, 1].

    Returns:
        (N, 3, H, W), of the same type and on the same device.

    Raises:
        DataError: another shape.
    """
    _check_rgb(images)
    mean, sd = (images.new_tensor(v)[:, None, None] for v in (_MEAN, _SD))
    return (images - mean) / sd


def draw_per_class(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Draw the same number of samples from each class, without replacement.

    Args:
        labels: (N,) int64; the classes are 0..C-1 with C − 1 the largest label.
        per_class: how many of each.
        seed: fixes the draw; a smaller `per_class` draws the first of the same samples. The
            global generator is neither read nor moved.

    Returns:
        (C·per_class,) int64 indices into `labels`, class by class.

    Raises:
        DataError: no labels, `per_class` < 1, or a class with fewer samples.
    """
    if per_class < 1 or len(labels) == 0:
        raise DataError(f"expected labels and per_class ≥ 1: got {len(labels)} and {per_class}")
    draws = torch.Generator().manual_seed(seed)
    drawn = []
    for index, count in enumerate(torch.bincount(labels).tolist()):
        if count < per_class:
            raise DataError(f"class {index} has {count} samples, {per_class} asked: ask for fewer")
        order = torch.randperm(count, generator=draws)[:per_class]
        drawn.append(torch.nonzero(labels == index).flatten()[order.to(labels.device)])
    return torch.cat(drawn)


def _rows_by_class(
    store: Store, chosen: Iterable[str], per_class: int | None
) -> list[NDArray[np.int64]]:
    """For each chosen class the rows of its first `per_class` images in file order."""
    rows = []
    for name in chosen:
        if name not in store.classes:
            raise DataError(f"{store.source}: {unknown('class', name, store.classes)}")
        found = np.flatnonzero(store.labels == store.classes.index(name))
        if len(found) == 0:
            raise DataError(f"{store.source}: no image of class {name!r}: leave it out or add some")
        rows.append(found[:per_class])
    return rows


def _check_classes(classes: Sequence[str]) -> None:
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


def _check_rgb(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise DataError(f"expected images (N, 3, H, W), got {tuple(images.shape)}: reshape them")


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
