"""One image file: every kind that is read, and every kind that is refused."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from srel_core.experiments.datasets import load_images
from tests.support.datasets import as_pixels, load_as_first, random_pixels, refused, write_pets
from tests.support.deep_images import deep_values, png, tiff


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
        (Image.new("I", (32, 32)), "mode I"),
        (Image.new("F", (32, 32)), "mode F"),
        (Image.new("CMYK", (32, 32)), "CMYK"),
        (Image.new("RGBA", (32, 32)), "RGBA"),
        (Image.new("LA", (32, 32)), "LA with transparency"),
    ],
)
def test_unusable_image_is_named(root, image, words):
    write_pets(root / "pets", random_pixels(2))
    suffix = "png" if image.mode in ("RGB", "RGBA", "LA") else "tif"
    image.save(root / "pets" / "train" / "dog" / f"odd.{suffix}")
    message = refused("folder:pets", words=[f"train/dog/odd.{suffix}", words])
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


# Orientation, frames, transparency


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg RGB", "jpg L", "png RGB", "tif RGB", "tif I;16", "webp RGB"])
def test_images_are_turned_as_they_are_shown(root, kind, orientation):
    suffix, mode = kind.split()
    exif = Image.Exif()
    exif[0x0112] = orientation
    if mode == "I;16":
        image = Image.fromarray(deep_values(1)[..., 0])
    else:
        image = Image.fromarray(random_pixels(1)[0]).convert(mode)
    options = {"lossless": True} if suffix == "webp" else {}
    pixels = load_as_first(root, image, f"x.{suffix}", exif=exif, **options)
    with Image.open(root / f"pets/train/cat/x.{suffix}") as saved:
        saved.load()
        shown = np.asarray(ImageOps.exif_transpose(saved))
    shown = np.rint(shown / 257) if mode == "I;16" else shown
    assert np.array_equal(pixels, shown if shown.ndim == 3 else shown[..., None].repeat(3, -1))


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first(root, suffix):
    frames = [Image.fromarray(p).quantize(64).convert("RGB") for p in random_pixels(3)]
    options = {"lossless": True} if suffix == "webp" else {}
    pixels = load_as_first(
        root, frames[0], f"x.{suffix}", save_all=True, append_images=frames[1:], **options
    )
    assert np.array_equal(pixels, np.asarray(frames[0]))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_opaque_pixels_need_no_background(root, mode):
    image = Image.fromarray(random_pixels(1)[0]).convert("L" if mode == "LA" else "RGB")
    expected = np.asarray(image.convert("RGB"))
    if mode == "P":
        image = image.quantize(64)
        expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(load_as_first(root, image, transparency=b"\xff" * 64), expected)
    else:
        assert np.array_equal(load_as_first(root, image.convert(mode)), expected)


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (Image.new("L", (32, 32)), {"transparency": 0}, "mode L with transparency"),
        (Image.new("RGB", (32, 32)), {"transparency": (0, 0, 0)}, "mode RGB with transparency"),
        (Image.new("I;16", (32, 32)), {"transparency": 0}, "mode I;16 with transparency"),
    ],
)
def test_a_colour_that_stands_for_nothing_is_refused(root, image, options, words):
    write_pets(root / "pets", random_pixels(2))
    image.save(root / "pets/train/dog/odd.png", **options)
    refused("folder:pets", words=["train/dog/odd.png", words, "choose what is behind"])


# Hostile files


def test_too_many_pixels(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    write_pets(root / "pets", random_pixels(2))
    assert len(load_images("folder:pets").labels) == 2  # 1024: Pillow would only warn
    Image.new("L", (40, 40)).save(root / "pets/train/cat/x.png")
    refused("folder:pets", words=["train/cat/x.png", "at most 1400 pixels", "make it smaller"])


def chunk_bomb():
    """A PNG whose text unpacks to more than Pillow takes."""
    content = b"a\0\0" + zlib.compress(bytes(2**21))
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + content))
    whole = png(deep_values(3))
    return whole[:33] + chunk + whole[33:]


HOSTILE = {
    "text bomb": chunk_bomb(),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nquit\n",
    "text": b"an image\n",
    "nothing": b"",
    "a page": b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>",
    "cut TIFF": tiff(deep_values(3))[:200],
    "cut GIF": b"GIF89a\x20\x00\x20\x00\x80\x00\x00",
}


@pytest.mark.parametrize("name", ["x.png", "x.JPG", "x.gif"])
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_image_gets_one_line(root, content, name):
    write_pets(root / "pets", random_pixels(2))
    (root / "pets/train/cat" / name).write_bytes(content)
    refused("folder:pets", words=[f"train/cat/{name}: expected an image, cannot read it"])


@pytest.mark.parametrize("kind", ["PCX", "TGA", "ICO"])
def test_formats_that_are_not_meant_are_not_tried(root, kind):
    write_pets(root / "pets", random_pixels(2))
    Image.fromarray(random_pixels(1)[0]).save(root / "pets/train/cat/x.png", kind)
    refused("folder:pets", words=["train/cat/x.png: expected an image, cannot read it"])


def test_no_memory_is_said_as_such(root, monkeypatch):
    def no_memory(*args, **options):
        raise MemoryError

    write_pets(root / "pets", random_pixels(2))
    monkeypatch.setattr(Image, "open", no_memory)
    refused("folder:pets", words=["train/cat/00000.png", "no memory to read it"])
