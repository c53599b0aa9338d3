"""Names of folders and files as people have them, from other systems too."""

import os
import shutil
import unicodedata

import pytest

from srel_core.experiments.datasets import load_images
from tests.support.datasets import (
    loaded,
    random_pixels,
    refused,
    same,
    write_image_folder,
)


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a\nb\x1b[31m.png", b"\xff\xfe.png"])
def test_images_with_names_from_elsewhere(pets, name):
    """Another encoding, a newline, an escape of a terminal: read, and escaped in messages."""
    path = pets / "train/cat" / os.fsdecode(name)
    before = loaded()
    (pets / "train/cat/00004.png").rename(path)
    assert same(loaded(), before)
    path.write_bytes(b"")
    message = refused("folder:pets", words=["cannot read it"])
    assert message.isprintable() and ("caf\\xe9.png" in message or b"caf" not in name)
    message.encode()


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\nb", b"\x1b[31m", "a\u2028b".encode()])
def test_a_class_has_a_name_that_a_result_can_hold(pets, name):
    (pets / "train/cat").rename(pets / "train" / os.fsdecode(name))
    message = refused("folder:pets", words=["expected a class name", "rename it"])
    assert message.isprintable()


def test_an_accent_is_the_same_however_a_system_spells_it(root):
    """macOS lists é as e and an accent: same classes, same order, same checksum."""
    names, files = ["caf\u00e9", "cafz"], ["\u00e9.png", "f.png", "z.png"]
    checksums = set()
    for form in ("NFC", "NFD"):
        folder = root / form
        write_image_folder(folder / "train", random_pixels(6), [0, 0, 0, 1, 1, 1], names)
        for place, name in enumerate(names):
            for row, file in enumerate(files):
                old = folder / "train" / name / f"{3 * place + row:05}.png"
                old.rename(old.with_name(unicodedata.normalize(form, file)))
        for name in names:
            old = folder / "train" / name
            old.rename(old.with_name(unicodedata.normalize(form, name)))
        found = load_images(
            f"folder:{form}", classes=[unicodedata.normalize(form, n) for n in names]
        )
        assert found.classes == tuple(names)
        assert load_images(f"folder:{form}").classes == ("cafz", names[0])
        checksums.add(found.checksum)
    assert len(checksums) == 1


def test_two_spellings_of_one_class(pets):
    for name in ("caf\u00e9", "cafe\u0301"):
        shutil.copytree(pets / "train/cat", pets / "train" / name)
    refused("folder:pets", words=["another class has this name"])


def test_classes_that_differ_in_case_are_two(root):
    write_image_folder(root / "letters" / "train", random_pixels(2), [0, 1], ["a", "A"])
    assert load_images("folder:letters").classes == ("A", "a")


@pytest.mark.parametrize(
    ("path", "words"),
    [("a\0b", "zero byte"), ("~nobody-of-this-name/x", "home folder"), ("x" * 300, "no such")],
)
def test_paths_that_mean_nothing(path, words):
    assert refused(f"folder:{path}", words=[words]).isprintable()


def test_a_path_that_is_not_utf8(root, tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    write_image_folder(root / "pets" / "train", random_pixels(2), [0, 1], ["cat", "dog"])
    shutil.copytree(root / "pets", odd)
    assert load_images(f"folder:{odd}").source == "folder:caf\\xe9 (image folder)"


@pytest.mark.parametrize("path", ["a/pets", "a/../a/pets", "./a/pets/", "a/pets/deep/.."])
def test_only_the_last_folder_is_in_the_source(root, path):
    write_image_folder(root / "a/pets/train", random_pixels(2), [0, 1], ["cat", "dog"])
    (root / "a/pets/deep").mkdir()
    for prefix in ("", f"{root}/"):
        source = load_images(f"folder:{prefix}{path}").source
        assert source.startswith("folder:pets (image folder")
