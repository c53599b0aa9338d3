"""Images of 16 bits: scaled by 65535, whatever file they come in."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from srel_core.experiments.datasets import load_images
from tests.support.datasets import load_as_first, random_pixels, refused, write_pets
from tests.support.deep_images import KINDS_OF_16_BITS, deep_values, png, tiff


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("write", KINDS_OF_16_BITS.values(), ids=KINDS_OF_16_BITS.keys())
def test_16_bits_are_scaled_by_65535(root, write, channels):
    values = deep_values(channels)
    expected = np.rint(values.astype(float) * 255 / 65535).astype(np.uint8)
    assert np.array_equal(load_as_first(root, write(values)), expected.repeat(3 // channels, -1))


def test_16_bit_grey_whose_zero_is_white(root):
    values = deep_values(1)
    plain = load_as_first(root, tiff(65535 - values))
    assert np.array_equal(load_as_first(root, tiff(values, white_is_zero=True)), plain)


def test_12_bit_grey_has_a_scale_of_its_own(root):
    values = np.random.default_rng(0).integers(0, 4096, (32, 32, 1), dtype=np.uint16)
    pairs = values.reshape(-1, 2).astype(np.uint32)
    first, second = pairs.T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    whole = tiff(values, bits=12)
    whole = whole[: -values.nbytes] + packed.astype(np.uint8).tobytes()
    expected = values.astype(float) * 255 / 4095
    assert abs(load_as_first(root, whole) - expected).max() <= 0.51


def test_opaque_16_bit_rgba(root):
    values = deep_values(4)
    values[..., 3] = 65535
    assert np.array_equal(
        load_as_first(root, png(values)), load_as_first(root, png(values[..., :3]))
    )
    values[3, 4, 3] = 65534  # all but opaque
    write_pets(root / "pets", random_pixels(2))
    (root / "pets/train/cat/x.png").write_bytes(png(values))
    refused("folder:pets", words=["train/cat/x.png", "mode RGBA with transparency"])


def test_16_bits_of_which_pillow_has_but_one_byte_are_refused(root):
    write_pets(root / "pets", random_pixels(2))
    (root / "pets/train/cat/x.png").write_bytes(png(deep_values(2)))
    refused("folder:pets", words=["train/cat/x.png: expected 16 bits as grey", "LA;16B"])


def test_a_camera_of_10_bits_cannot_be_told_and_is_said(root):
    dark = np.random.default_rng(0).integers(0, 1024, (32, 32, 3), dtype=np.uint16)
    dark[0, 0] = 1023
    with pytest.warns(UserWarning, match="brightest value of its 16-bit images is 1023 of 65535"):
        pixels = load_as_first(root, png(dark))
    assert pixels.max() == 4  # of 255: 1023 / 65535


def test_a_dark_image_among_bright_ones_is_none_of_a_camera(root):
    write_pets(root / "pets", random_pixels(2))
    for name, values in (
        ("a", deep_values(3) // 100),
        ("b", deep_values(3)),
        ("c", 0 * deep_values(1)),
    ):
        (root / f"pets/train/cat/{name}.png").write_bytes(png(values))
    assert len(load_images("folder:pets").labels) == 5


def test_16_bit_colour_is_turned_too(root):
    values = deep_values(3)
    whole = png(values)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + content))
    pixels = load_as_first(root, whole[:33] + chunk + whole[33:])
    assert np.array_equal(pixels, np.rint(np.rot90(values, -1) / 257))


@pytest.mark.parametrize("write", [png, tiff, *KINDS_OF_16_BITS.values()])
def test_any_flipped_byte_loads_or_gets_one_line(root, write):
    whole = write(deep_values(3))
    write_pets(root / "pets", random_pixels(2))
    rng = np.random.default_rng(0)
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[rng.integers(0, min(200, len(whole)))] ^= 1 << rng.integers(0, 8)
        (root / "pets/train/cat/x.png").write_bytes(damaged)
        try:
            load_images("folder:pets")
        except ValueError as error:
            assert type(error).__name__ == "DataError" and "\n" not in str(error)
