"""Image folders: what is found in them, and what is refused."""

import os
import shutil
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from srel_core.experiments.datasets import load_images
from tests.support.datasets import (
    CIFAR10_NAMES,
    as_pixels,
    loaded,
    random_pixels,
    refused,
    same,
    write_image_folder,
    write_pets,
)


@pytest.mark.parametrize("absolute", [False, True])
def test_own_folder(root, absolute):
    pixels = random_pixels(5)
    write_pets(root / "pets", pixels)
    found = load_images(f"folder:{root / 'pets' if absolute else 'pets'}")
    assert found.classes == ("cat", "dog")
    assert np.array_equal(as_pixels(found.images), pixels[[0, 2, 4, 1, 3]])
    assert found.source == (
        "folder:pets (image folder)" if absolute else "folder:pets (image folder under SREL_DATA)"
    )


def test_own_folder_with_classes_chosen(root):
    write_image_folder(root / "pets" / "test", random_pixels(3), [0, 1, 2], ["ant", "cat", "dog"])
    (root / "pets" / "test" / "eel").mkdir()
    found = load_images("folder:pets", classes=["dog", "ant"], split="test")
    assert found.classes == ("dog", "ant")
    assert np.array_equal(as_pixels(found.images), random_pixels(3)[[2, 0]])
    refused("folder:pets", split="test", words=["no image of class 'eel'"])


def test_missing_folder(root):
    refused("folder:pets", words=["folder:pets", "train/CLASS/", "SREL_DATA"])
    (root / "pets" / "train").mkdir(parents=True)
    refused("folder:pets", words=["train/CLASS/"])
    write_pets(root / "pets", random_pixels(2))
    refused("folder:pets", split="test", words=["test/CLASS/"])


def test_folder_with_one_class(root):
    write_image_folder(root / "pets" / "train", random_pixels(2), [0, 0], ["cat"])
    refused("folder:pets", words=["at least two", "cat"])


def test_partial_tree_lists_what_is_there(root):
    write_image_folder(root / "cifar10" / "train", random_pixels(2), [0, 8], CIFAR10_NAMES)
    assert load_images("cifar10", classes=["ship", "airplane"]).classes == ("ship", "airplane")
    refused("cifar10", words=["'automobile'", "out of airplane, ship", "image folder"])


# What is found


@pytest.mark.parametrize("name", [".hidden", "._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"])
def test_hidden_files_and_what_systems_leave_behind_are_passed_over(pets, name):
    before = loaded()
    for place in ("train", "train/cat", "train/dog"):
        (pets / place / name).write_bytes(b"\0\5\26\7")
    assert same(loaded(), before)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git"])
@pytest.mark.parametrize("place", ["train", "train/cat"])
def test_hidden_folders_are_no_classes(pets, name, place):
    before = loaded()
    (pets / place / name).mkdir()
    shutil.copy(pets / "train/dog/00001.png", pets / place / name / "0-checkpoint.png")
    assert same(loaded(), before)
    assert load_images("folder:pets").classes == ("cat", "dog")


def test_folders_in_a_class_come_in_the_order_of_torchvision(root):
    places = ["cat/b", "cat/a-2/z", "cat/a/z", "cat", "dog/Z", "dog/a", "dog/a"]
    pixels = random_pixels(len(places))
    write_image_folder(root / "pets" / "train", pixels, range(len(places)), places)
    order = [int(Path(path).stem) for path, _ in ImageFolder(root / "pets" / "train").samples]
    assert np.array_equal(as_pixels(load_images("folder:pets").images), pixels[order])


@pytest.mark.parametrize("suffix", [".PNG", ".Png", ".jpg", ".tiff"])
def test_a_file_is_what_its_content_says(pets, suffix):
    before = loaded()
    (pets / "train/cat/00000.png").rename(pets / f"train/cat/00000{suffix}")
    assert same(loaded(), before)


@pytest.mark.parametrize(
    "name", ["cat/notes.txt", "cat/00009", "cat/scan.heic", "dog/a/labels.csv", "00007.png"]
)
def test_files_that_are_no_images_are_named_in_one_line(pets, name):
    before = loaded()
    (pets / "train" / name).parent.mkdir(exist_ok=True)
    (pets / "train" / name).write_text("x")
    with pytest.warns(UserWarning) as caught:
        assert same(loaded(), before)
    (line,) = (str(warning.message) for warning in caught)
    assert "\n" not in line and "left out 1 that are no images in a class folder" in line
    assert f"such as train/{name}" in line and caught[0].filename == loaded.__code__.co_filename


def test_the_test_images_lack_a_class(pets):
    shutil.rmtree(pets / "test" / "dog")
    refused("folder:pets", ["cat", "dog"], "test", words=["test: unknown class 'dog'"])
    (pets / "test" / "dog").mkdir()
    refused("folder:pets", ["cat", "dog"], "test", words=["test: no image of class 'dog'"])


# Links


def test_links_to_images_folders_and_splits_are_followed(root, pets):
    before = loaded()
    pool = root / "pool"
    (pets / "train").rename(pool)
    (root / "elsewhere").mkdir()
    for name in ("cat", "dog"):
        (root / "elsewhere" / name).mkdir()
        for image in (pool / name).iterdir():
            (root / "elsewhere" / name / image.name).symlink_to(image)
    (pets / "train").mkdir()
    (pets / "train" / "cat").symlink_to(root / "elsewhere" / "cat")
    (pets / "train" / "dog").symlink_to(root / "elsewhere" / "dog")
    assert same(loaded(), before)
    shutil.rmtree(pets / "train")
    (pets / "train").symlink_to(pool)
    assert same(loaded(), before)


LINKS = {
    "its own folder": ("train/cat/again", "train/cat"),
    "the split": ("train/cat/again", "train"),
    "the folder of all": ("train/cat/again", "."),
    "the folder above": ("train/cat/again", ".."),
    "another class": ("train/cat/again", "train/dog"),
    "a class, as one more": ("train/eel", "train/dog"),
    "the split, as a class": ("train/eel", "train"),
    "a folder beside": ("train/cat/b", "train/cat/a"),
}


@pytest.mark.parametrize(("link", "target"), LINKS.values(), ids=LINKS.keys())
def test_a_folder_that_is_reached_twice_is_refused(pets, link, target):
    (pets / "train/cat/a").mkdir()
    (pets / link).symlink_to(pets / target)
    message = refused("folder:pets", words=["folder:pets", "train/", "again: remove the link"])
    assert str(pets) not in message


@pytest.mark.parametrize("target", ["/", "..", "../.."])
def test_a_link_upwards_is_not_walked(pets, monkeypatch, target):
    (pets / "train/cat/again").symlink_to(pets / "train" / target)
    scandir = os.scandir

    def within(path):
        assert path != pets / "train/cat/again"
        return scandir(path)

    monkeypatch.setattr(os, "scandir", within)
    refused("folder:pets", words=["train/cat/again: leads to train again"])


def test_a_link_into_itself_and_one_that_leads_nowhere(pets):
    link = pets / "train/cat/x.png"
    for target in (link, pets / "gone.png"):
        link.symlink_to(target)
        refused("folder:pets", words=["train/cat/x.png", "leads nowhere"])
        link.unlink()


# Files that are not read


@pytest.fixture
def odd_file(pets, monkeypatch):
    """A function that puts a pipe, a socket or a device in the place of a cat."""
    monkeypatch.chdir(pets / "train/cat")  # the path of a socket is short
    path = pets / "train/cat/x.png"
    with socket.socket(socket.AF_UNIX) as listening:
        make = {
            "pipe": lambda: os.mkfifo(path),
            "socket": lambda: listening.bind("x.png"),
            "device": lambda: path.symlink_to("/dev/zero"),
        }
        yield lambda kind: make[kind]()


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_pipes_sockets_and_devices_are_refused_unopened(odd_file, monkeypatch, kind):
    odd_file(kind)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))
    refused("folder:pets", words=["train/cat/x.png: expected an image file, got a pipe"])


def test_a_pipe_in_the_place_of_a_file_that_was_listed_does_not_wait(pets, monkeypatch):
    monkeypatch.setattr("srel_core.experiments.datasets.image_folder._is_file", lambda _: True)
    os.mkfifo(pets / "train/cat/x.png")
    refused("folder:pets", words=["train/cat/x.png", "not a regular file"])


@pytest.mark.parametrize("place", ["train", "train/cat", "train/cat/a"])
def test_a_folder_that_may_not_be_read(pets, monkeypatch, place):
    (pets / "train/cat/a").mkdir()
    scandir = os.scandir

    def forbidden(path):
        if path == pets / place:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    message = refused("folder:pets", words=[f"{place}: cannot be read (Permission denied)"])
    assert str(pets) not in message


def test_a_file_that_may_not_be_read(pets, monkeypatch):
    def forbidden(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", forbidden)
    message = refused("folder:pets", words=["cat/00000.png", "cannot be read (Permission denied)"])
    assert str(pets) not in message


def test_nothing_is_said_of_a_plain_folder(pets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded()
