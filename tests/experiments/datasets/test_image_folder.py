"""Image folders: what is found in them, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from srel_core.experiments.datasets import load_images
from tests.support.datasets import (
    CIFAR10_NAMES,
    as_pixels,
    random_pixels,
    refused,
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


@pytest.mark.parametrize("size", [1, 8, 32, 77, 200])
def test_folder_images_of_any_square_size_are_resized_with_antialiasing(root, size):
    rng = np.random.default_rng(size)
    images = [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(2)]
    write_pets(root / "pets", images)
    found = load_images("folder:pets").images
    raw = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(raw, (32, 32), mode="bilinear", antialias=True)
    assert (found * 255 - expected).abs().max() <= 1.01  # Pillow rounds after each direction


def test_grey_bilevel_and_palette_become_rgb(root):
    grey = random_pixels(2)[..., 0]
    write_pets(root / "pets", grey)
    folder = root / "pets" / "train" / "cat"
    Image.fromarray(grey[0]).convert("1").save(folder / "1.png")
    palette = Image.fromarray(random_pixels(1)[0]).quantize(16)
    palette.save(folder / "2.png")
    found = as_pixels(load_images("folder:pets").images)
    assert np.array_equal(found[0], grey[0][..., None].repeat(3, -1))
    assert set(np.unique(found[1])) == {0, 255}
    assert np.array_equal(found[2], np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("RGB", (32, 31)), "32×31"),
        (Image.new("I;16", (32, 32)), "I;16"),
        (Image.new("RGBA", (32, 32)), "RGBA"),
        (Image.new("LA", (32, 32)), "LA"),
    ],
)
def test_unusable_image_is_named(root, image, words):
    write_pets(root / "pets", random_pixels(2))
    image.save(root / "pets" / "train" / "dog" / "odd.png")
    message = refused("folder:pets", words=["train/dog/odd.png", words])
    assert str(root) not in message


def test_transparent_palette_is_named(root):
    write_pets(root / "pets", random_pixels(2))
    image = Image.new("P", (32, 32))
    image.save(root / "pets" / "train" / "dog" / "odd.png", transparency=0)
    refused("folder:pets", words=["train/dog/odd.png", "transparency"])


@pytest.mark.parametrize("kept", [0, 20, 60, 1000])
def test_damaged_image_is_named(root, kept):
    write_pets(root / "pets", random_pixels(2))
    path = root / "pets" / "train" / "cat" / "00000.png"
    path.write_bytes(path.read_bytes()[:kept])
    refused("folder:pets", words=["train/cat/00000.png", "cannot read it"])


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
