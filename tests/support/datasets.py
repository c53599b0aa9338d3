"""Write small image data sets in the formats of the real ones, and look at what is loaded.

`pixels` is everywhere (N, 32, 32, 3) uint8 and `labels` N class indices, in file order.
"""

import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torch import Tensor
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from srel_core.experiments.datasets import DataError, load_images

Pixels = NDArray[np.uint8]

CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer"]
CIFAR10_NAMES += ["dog", "frog", "horse", "ship", "truck"]
# As in the real archive: 100 names, those of the paper at their own places.
CIFAR100_NAMES = [
    {48: "motorcycle", 53: "orange", 94: "wardrobe"}.get(i, f"class{i:02}") for i in range(100)
]


def random_pixels(n: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def write_image_folder(
    folder: Path, pixels: Sequence[Pixels], labels: Sequence[int], names: Sequence[str]
) -> None:
    """folder/CLASS/00000.png, …: one file an image; (H, W) is grey, (H, W, 3) RGB."""
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / names[label] / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def write_pets(folder: Path, images: Sequence[Pixels]) -> None:
    """folder/train/{cat,dog}: the images, in turn a cat and a dog."""
    labels = [i % 2 for i in range(len(images))]
    write_image_folder(folder / "train", images, labels, ["cat", "dog"])


def write_cifar(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    name: str,
    train: tuple[Pixels, Sequence[int]],
    test: tuple[Pixels, Sequence[int]],
) -> Path:
    """CIFAR-10 or -100 as their archives unpack; returns the folder.

    torchvision's checksum table is replaced by the checksums of these files.
    """
    reader = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    key = "labels" if name == "cifar10" else "fine_labels"
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    for table, (pixels, labels) in (("train_list", train), ("test_list", test)):
        files = [file for file, _ in getattr(reader, table)]
        parts = np.array_split(np.arange(len(labels)), len(files))
        for file, part in zip(files, parts, strict=True):
            rows = pixels[part].transpose(0, 3, 1, 2).reshape(len(part), 3 * 32 * 32)
            _pickle(folder / file, {"data": rows, key: [int(labels[i]) for i in part]})
        sums = [[file, calculate_md5(folder / file)] for file in files]
        monkeypatch.setattr(reader, table, sums)
    names = CIFAR10_NAMES if name == "cifar10" else CIFAR100_NAMES
    meta = folder / reader.meta["filename"]
    _pickle(meta, {reader.meta["key"]: names})
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": calculate_md5(meta)})
    return folder


def pack_cifar(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Turn an unpacked CIFAR folder into the .tar.gz that the site serves."""
    reader = next(r for r in (datasets.CIFAR10, datasets.CIFAR100) if r.base_folder == folder.name)
    archive = folder.parent / reader.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    monkeypatch.setattr(reader, "tgz_md5", calculate_md5(archive))


def write_svhn(
    monkeypatch: pytest.MonkeyPatch, root: Path, split: str, pixels: Pixels, digits: Sequence[int]
) -> Path:
    """SVHN's cropped digits: X (32, 32, 3, N), y (N, 1) with the digit 0 written as 10."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{split}_32x32.mat"
    y = np.array([[digit or 10] for digit in digits], dtype=np.uint8)
    savemat(path, {"X": pixels.transpose(1, 2, 3, 0), "y": y})
    url, file, _ = datasets.SVHN.split_list[split]
    monkeypatch.setitem(datasets.SVHN.split_list, split, [url, file, calculate_md5(path)])
    return path


def _pickle(path: Path, content: dict[str, object]) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def refused(*args: Any, words: Sequence[str], **kwargs: Any) -> str:
    """The one-line message with which load_images refuses; it holds each of the words."""
    with pytest.raises(DataError) as error:
        load_images(*args, **kwargs)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def as_pixels(images: Tensor) -> Pixels:
    """(N, 32, 32, 3) uint8, as the data sets hold them."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def load_as_first(
    root: Path, image: Image.Image | bytes, name: str = "x.png", **options: Any
) -> Pixels:
    """(32, 32, 3) uint8: the first cat, from a file that is written or saved."""
    write_pets(root / "pets", random_pixels(2))
    (root / "pets/train/cat/00000.png").unlink()
    path = root / "pets/train/cat" / name
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **options)
    return as_pixels(load_images("folder:pets").images)[0]


def loaded(**options: Any) -> list[tuple[int, Pixels]]:
    """(label, pixels) of the images of folder:pets, in order."""
    found = load_images("folder:pets", **options)
    return list(zip(found.labels.tolist(), as_pixels(found.images), strict=True))


def same(one: Sequence[tuple[int, Pixels]], other: Sequence[tuple[int, Pixels]]) -> bool:
    return len(one) == len(other) and all(
        label == again and np.array_equal(image, twin)
        for (label, image), (again, twin) in zip(one, other, strict=True)
    )
