"""Data in a root of the test's own, and no network."""

import urllib.error
import urllib.request

import pytest

from tests.support.datasets import random_pixels, write_image_folder


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A data root of the test's own, and no network."""

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network in the tests")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("SREL_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "root"


@pytest.fixture
def pets(root):
    """The folder of three cats and two dogs, a split each for training and test."""
    for split in ("train", "test"):
        write_image_folder(root / "pets" / split, random_pixels(5), [0, 1, 0, 1, 0], ["cat", "dog"])
    return root / "pets"
