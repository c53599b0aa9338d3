"""What tells one folder of images from another: what is in its files, whatever they are called."""

import os
import shutil
import time

import pytest

from srel_core.experiments.datasets import DataError, regular_file
from srel_core.experiments.datasets.by_name import fingerprint, stored_name
from tests.support.datasets import random_pixels, write_image_folder


@pytest.fixture
def cat(pets):
    return pets / "train/cat/00000.png"


def change_one_byte(path):
    """Another image of the same size and time of change, in the same file."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (
        facts.st_size, facts.st_mtime_ns, facts.st_ino,
    )  # fmt: skip


@pytest.mark.parametrize("settled", [0, regular_file._SETTLED])
def test_other_pixels_behind_the_same_size_and_time(cat, monkeypatch, settled):
    monkeypatch.setattr(regular_file, "_SETTLED", settled)
    before = fingerprint("folder:pets")
    assert fingerprint("folder:pets") == before
    time.sleep(0.05)  # a tick of the file system, where nothing has settled
    change_one_byte(cat)
    assert fingerprint("folder:pets") != before


def test_a_change_right_after_the_reading_is_seen_whatever_the_times_say(cat, monkeypatch):
    """All times stand still, as on a system that counts them in steps."""
    facts = regular_file._identity

    def coarse(found):
        return (*facts(found)[:3], 0, 0)

    monkeypatch.setattr(regular_file, "_identity", coarse)
    before = fingerprint("folder:pets")
    change_one_byte(cat)
    assert fingerprint("folder:pets") != before


def test_other_images_behind_a_link(pets, root):
    (root / "pool").mkdir()
    for row, name in enumerate(("one", "other")):
        write_image_folder(root / "pool" / name, random_pixels(2, row), [0, 0], ["x"])
    (pets / "train/eel").symlink_to(root / "pool/one/x")
    before = fingerprint("folder:pets")
    (pets / "train/eel").unlink()
    (pets / "train/eel").symlink_to(root / "pool/other/x")
    assert fingerprint("folder:pets") != before


def test_what_changes_no_image_changes_nothing(pets, root):
    before = fingerprint("folder:pets")
    shutil.copytree(pets, root / "copy")
    for path in (root / "copy").rglob("*.png"):
        path.rename(path.with_suffix(".PNG"))
        os.utime(path.with_suffix(".PNG"), ns=(0, 0))
    (root / "copy" / "readme.txt").write_text("x")
    (root / "copy/train/.hidden.png").write_text("x")
    (root / "copy/train/cat/notes.txt").write_text("x")
    assert fingerprint("folder:copy") == fingerprint(f"folder:{root / 'copy'}") == before


CHANGES = {
    "one image fewer": lambda pets: (pets / "test/dog/00003.png").unlink(),
    "another order": lambda pets: (pets / "train/cat/00000.png").rename(pets / "train/cat/z.png"),
    "another class": lambda pets: (pets / "train/dog/00001.png").rename(pets / "train/cat/z.png"),
    "another name of a class": lambda pets: (pets / "train/dog").rename(pets / "train/fox"),
    "an empty class more": lambda pets: (pets / "train/eel").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_the_images_changes_it(pets, change):
    before = fingerprint("folder:pets")
    change(pets)
    assert fingerprint("folder:pets") != before


def test_a_file_that_is_not_changed_is_read_once(pets, monkeypatch):
    monkeypatch.setattr(regular_file, "_SETTLED", 0)
    time.sleep(0.05)
    fingerprint("folder:pets")
    before = fingerprint("folder:pets")
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("read again"))
    assert fingerprint("folder:pets") == before


def test_a_file_that_changes_while_it_is_read(cat, monkeypatch):
    digest = regular_file.hashlib.file_digest

    def meanwhile(file, kind):
        found = digest(file, kind)
        change_one_byte(cat)
        return found

    monkeypatch.setattr(regular_file.hashlib, "file_digest", meanwhile)
    with pytest.raises(DataError, match="train/cat/00000.png: cannot be read .changed while it"):
        fingerprint("folder:pets")


def test_a_folder_that_is_not_there(root):
    with pytest.raises(DataError, match="folder:nowhere .*found no such folder"):
        fingerprint("folder:nowhere")


def test_a_name_without_the_paths_of_this_machine(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (f"{root}/pets", "pets", "./a/../pets/", f"{root}/pets/x/..", "~/pets"):
        assert stored_name(f"folder:{path}") == "folder:pets"
    assert stored_name("folder:") == stored_name("folder:.") == f"folder:{root.name}"
    assert stored_name(b"folder:caf\xe9\n".decode(errors="surrogateescape")) == (
        "folder:caf\\xe9\\n"
    )
    assert stored_name("folder:cafe\u0301") == "folder:caf\u00e9"
    assert stored_name("digits") == "digits"
    with pytest.raises(DataError, match="unknown data set 'digit'"):
        stored_name("digit")


def test_nobody_knows_the_home_folder(monkeypatch):
    monkeypatch.delenv("SREL_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(DataError, match="expected a home folder .*set SREL_DATA"):
        fingerprint("folder:pets")
