"""Every data set that is known by name, and requests that none can meet."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srel_core.experiments.datasets import load_images
from tests.support.datasets import (
    as_pixels,
    pack_cifar,
    random_pixels,
    refused,
    write_cifar,
    write_image_folder,
    write_pets,
    write_svhn,
)

REAL_ROOT = os.environ.get("SREL_DATA", "")


# Requests that no data set can meet


def test_unknown_data_set():
    refused("cifar01", words=["'cifar10'", "digits", "cifar100", "svhn", "folder:PATH"])
    refused("folder", words=["'folder:PATH'"])


def test_unknown_split():
    refused("digits", split="tset", words=["'tset'", "'test'"])


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ((), "at least two"),
        (("0",), "at least two"),
        (("0", "2", "0"), "different"),
        ("024", "class names"),
        ((0, 2), "class names"),
        (("0", "22"), "'2'"),
    ],
)
def test_unusable_classes(classes, words):
    refused("digits", classes=classes, words=[words])


@pytest.mark.parametrize("per_class", [0, -3])
def test_unusable_per_class(per_class):
    refused("digits", per_class=per_class, words=["at least 1", str(per_class)])


# digits

TEN_DIGITS = [str(digit) for digit in range(10)]


def test_digits():
    train, test = load_images("digits"), load_images("digits", split="test")
    assert train.classes == ("0", "2", "4")
    assert train.source == "digits (scikit-learn)"
    assert torch.bincount(train.labels).tolist() == [142, 142, 145]
    assert torch.bincount(test.labels).tolist() == [36, 35, 36]
    assert torch.equal(train.images[:, 0], train.images[:, 1])
    assert torch.equal(train.images, (train.images * 255).round() / 255)
    seen = {image.tobytes() for image in as_pixels(train.images)}
    assert not any(image.tobytes() in seen for image in as_pixels(test.images))


def test_digits_are_the_same_on_every_machine():
    assert load_images("digits", per_class=2).checksum == (
        "2d6e45df312a85f43cb92131d1b56328a3ac071910153e5bbe456bfe2c53163e"
    )


def test_digits_enlarged_as_pillow_does():
    from sklearn.datasets import load_digits

    train, test = (load_images("digits", classes=TEN_DIGITS, split=s) for s in ("train", "test"))
    ours = {image.tobytes() for s in (train, test) for image in as_pixels(s.images)}
    raw = load_digits().images
    assert len(train.labels) + len(test.labels) == len(raw)
    for grey in raw[:20]:
        large = Image.fromarray(grey.astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR)
        pixels = np.rint(np.asarray(large) * 255 / 16).astype(np.uint8)
        assert pixels[..., None].repeat(3, -1).tobytes() in ours


@given(
    classes=st.lists(st.sampled_from(TEN_DIGITS), min_size=2, unique=True),
    per_class=st.integers(1, 200),
)
def test_classes_come_in_the_order_asked(classes, per_class):
    some = load_images("digits", classes=classes, per_class=per_class)
    every = load_images("digits", classes=TEN_DIGITS)
    rows = [(every.labels == int(name)).nonzero().flatten()[:per_class] for name in classes]
    assert some.classes == tuple(classes)
    assert torch.equal(some.images, every.images[torch.cat(rows)])
    assert some.labels.tolist() == [i for i, found in enumerate(rows) for _ in found]


# CIFAR as torchvision keeps it

DEFAULTS = {
    "cifar10": (("airplane", "automobile", "ship"), [0, 1, 8]),
    "cifar100": (("motorcycle", "orange", "wardrobe"), [48, 53, 94]),
}


@pytest.fixture(params=DEFAULTS)
def cifar(request, root, monkeypatch):
    """(name, folder, pixels, labels): 20 training images, the first 10 of them also test."""
    pixels = random_pixels(20)
    labels = [*DEFAULTS[request.param][1], 5] * 5
    train, test = (pixels, labels), (pixels[:10], labels[:10])
    return request.param, write_cifar(monkeypatch, root, request.param, train, test), pixels, labels


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_archive(cifar, monkeypatch, packed):
    name, folder, pixels, labels = cifar
    if packed:
        pack_cifar(monkeypatch, folder)
    train, test = load_images(name), load_images(name, split="test")
    names, numbers = DEFAULTS[name]
    rows = [i for number in numbers for i in range(20) if labels[i] == number]
    assert train.classes == names
    assert train.source == f"{name} (torchvision archive under SREL_DATA)"
    assert train.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert np.array_equal(as_pixels(train.images), pixels[rows])
    assert np.array_equal(as_pixels(test.images), pixels[[i for i in rows if i < 10]])


def test_per_class_takes_the_first_in_file_order(cifar):
    name = cifar[0]
    every, some = load_images(name), load_images(name, per_class=3)
    assert some.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    for label in range(3):
        assert torch.equal(
            some.images[some.labels == label], every.images[every.labels == label][:3]
        )
    assert load_images(name, per_class=99).checksum == every.checksum


def test_a_folder_and_an_archive_of_the_same_pixels_have_one_checksum(cifar, root):
    name, _, pixels, labels = cifar
    archive = load_images(name)
    names, numbers = DEFAULTS[name]
    rows = [i for i in range(20) if labels[i] in numbers]
    own_labels = [numbers.index(labels[i]) for i in rows]
    write_image_folder(root / name / "train", pixels[rows], own_labels, names)
    folder = load_images(name)
    assert folder.source == f"{name} (image folder under SREL_DATA)"
    assert folder.checksum == archive.checksum
    assert torch.equal(folder.images, archive.images)


def test_cifar_damaged(cifar):
    name, folder, *_ = cifar
    next(folder.glob("test*")).unlink()
    refused(name, words=[folder.name, "incomplete or damaged", "SREL_DATA", "remove it"])


def test_class_without_images(cifar):
    name, *_ = cifar
    empty = "frog" if name == "cifar10" else "class07"
    refused(name, classes=[DEFAULTS[name][0][0], empty], words=[f"no image of class '{empty}'"])


def test_unknown_class_names_the_nearest(cifar):
    name, *_ = cifar
    known = DEFAULTS[name][0]
    typo = known[0][:-1]
    refused(name, classes=[typo, known[1]], words=[f"'{typo}'", f"nearest is '{known[0]}'"])


# SVHN as torchvision keeps it


def test_svhn_archive(root, monkeypatch):
    pixels, digits = random_pixels(8), [0, 2, 4, 0, 9, 2, 4, 0]
    write_svhn(monkeypatch, root, "train", pixels, digits)
    write_svhn(monkeypatch, root, "test", pixels[:3], digits[:3])
    train, test = load_images("svhn"), load_images("svhn", split="test")
    assert train.classes == ("0", "2", "4")
    assert train.source == "svhn (torchvision archive under SREL_DATA)"
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert np.array_equal(as_pixels(train.images), pixels[[0, 3, 7, 1, 5, 2, 6]])
    assert np.array_equal(as_pixels(test.images), pixels[:3])
    nine_first = load_images("svhn", classes=["9", "0"], per_class=2)
    assert np.array_equal(as_pixels(nine_first.images), pixels[[4, 0, 3]])


def test_svhn_damaged(root, monkeypatch):
    path = write_svhn(monkeypatch, root, "train", random_pixels(3), [0, 2, 4])
    path.write_bytes(path.read_bytes()[:-100])
    refused("svhn", words=[path.name, "incomplete or damaged", "remove it"])


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_archive_that_the_system_does_not_read_is_not_called_damaged(cifar, monkeypatch, what):
    """Nor is its removal advised."""
    name, folder, *_ = cifar
    locked = folder if what == "folder" else next(folder.glob("test*"))
    was = {"open": Path.open, "iterdir": Path.iterdir}

    def refusing(call):
        def refuse(path, *arguments, **options):
            if path == locked:
                raise PermissionError(13, "Permission denied", str(path))
            return was[call](path, *arguments, **options)

        return refuse

    def unreadable(*_, **__):  # to torchvision, which finds no file or is refused one
        raise RuntimeError("Dataset not found or corrupted.") if what == "folder" else OSError(13)

    monkeypatch.setattr("torchvision.datasets.utils.calculate_md5", unreadable)
    for call in was:
        monkeypatch.setattr(Path, call, refusing(call))
    refused(name, words=[folder.name, "cannot be read (Permission denied): check it"])


# Absent data, no network


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_absent_and_offline(name, monkeypatch):
    monkeypatch.chdir(Path(os.environ["SREL_DATA"]).parent)
    monkeypatch.setenv("SREL_DATA", "mine")
    words = [name, f"{name}/train", "SREL_DATA (mine)", "no network in the tests", "go online"]
    message = refused(name, words=words)
    assert str(Path.cwd()) not in message


def test_tilde_in_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SREL_DATA", "~/mine")
    write_svhn(monkeypatch, tmp_path / "mine", "train", random_pixels(3), [0, 2, 4])
    write_pets(tmp_path / "mine" / "cifar10", random_pixels(2))
    assert len(load_images("svhn").labels) == 3
    assert len(load_images("cifar10", classes=["cat", "dog"]).labels) == 2
    refused("cifar100", words=["SREL_DATA (~/mine)"])


def test_default_root(tmp_path, monkeypatch):
    monkeypatch.delenv("SREL_DATA")
    refused("svhn", words=["the default data root", "set SREL_DATA"])
    write_svhn(monkeypatch, tmp_path / "cache/srel_core/data", "train", random_pixels(3), [0, 2, 4])
    assert load_images("svhn").source == "svhn (torchvision archive under the default data root)"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    refused("svhn", words=["~/.cache/srel_core/data"])


# The images of the paper


@pytest.mark.real_data
@pytest.mark.skipif(
    not (REAL_ROOT and (Path(REAL_ROOT) / "cifar10/train").is_dir()),
    reason="SREL_DATA does not point to the CIFAR images",
)
@pytest.mark.parametrize(
    ("name", "split", "counts"),
    [
        ("cifar10", "train", [5000, 4999, 4095]),
        ("cifar10", "test", [1000, 1000, 812]),
        ("cifar100", "train", [500, 500, 500]),
        ("cifar100", "test", [100, 100, 100]),
    ],
)
def test_real_images(monkeypatch, name, split, counts):
    monkeypatch.setenv("SREL_DATA", REAL_ROOT)
    images = load_images(name, split=split)
    assert torch.bincount(images.labels).tolist() == counts
    assert images.classes == DEFAULTS[name][0]
