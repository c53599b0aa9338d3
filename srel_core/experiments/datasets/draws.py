"""Draws made from images: crops and mirror images, samples of each class; and their scale."""

import torch
from torch import Tensor

from srel_core.experiments.datasets.store import DataError

# Published, the same for every data set.
_MEAN = (0.4914, 0.4822, 0.4465)
_SD = (0.2023, 0.1994, 0.2010)


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


def _check_rgb(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise DataError(f"expected images (N, 3, H, W), got {tuple(images.shape)}: reshape them")
