"""One image file as 32×32 RGB of 8 bits."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.datasets.regular_file import open_regular
from srel_core.experiments.datasets.store import SIDE, DataError, printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Nothing else is tried, whatever a file begins with: Pillow starts programs for some formats.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
EXTENSIONS = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
_DIM = 4096  # of 65535: what is darker in all images comes from a camera of 12 bits or fewer
_Arguments = tuple[object, ...] | str | None  # of a decoder
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def read_images(folder: Path, names: Sequence[str], source: str) -> NDArray[np.uint8]:
    """The image files `names` under a folder, (n, 3, 32, 32).

    Square images of any size (antialiased bilinear resize), turned as their EXIF orientation says:
    bilevel, grey, palette or RGB, of 8 bits or of 16, whose full scale is 65535. Of several frames
    the first. A warning if the 16-bit images of a folder (`source`, in words) are all but black,
    since nothing in a file tells of a camera of 10 bits. DataError for anything else.
    """
    pixels = np.empty((len(names), SIDE, SIDE, 3), dtype=np.uint8)
    brightest = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about what is refused or does not matter here
        for row, name in enumerate(names):
            pixels[row], peak = _read(folder, name)
            brightest = max(brightest, peak)
    if 0 < brightest < _DIM:
        warnings.warn(
            f"{source}: the brightest value of its 16-bit images is {brightest} of 65535: if they "
            "come from a camera of fewer bits, scale them up",
            stacklevel=4,
        )
    return pixels.transpose(0, 3, 1, 2)


def _read(folder: Path, name: str) -> tuple[NDArray[np.uint8], int]:
    """(32, 32, 3), and the largest value of a 16-bit image, else 0."""
    from PIL import Image

    shown = printable(name)
    try:
        with open_regular(folder / name) as file:
            return _decode(file, shown)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # where Pillow stops
        raise DataError(
            f"{shown}: expected at most {most} pixels, got more: make it smaller"
        ) from error
    except MemoryError as error:
        raise DataError(f"{shown}: no memory to read it: make it smaller") from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        system = isinstance(error, OSError) and error.strerror
        why = f"cannot be read ({system}): check it" if system else "cannot read it: replace it"
        raise DataError(f"{shown}: expected an image, {why}") from error


def _decode(file: BinaryIO, shown: str) -> tuple[NDArray[np.uint8], int]:
    from PIL import Image

    image = Image.open(file, formats=_FORMATS)
    if image.width != image.height:
        raise DataError(
            f"{shown}: expected a square image, got {image.width}×{image.height} pixels: crop it"
        )
    raw_mode = _raw_mode(image.tile[0].args) if image.tile else ""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        deep = _deep_grey(image)
    elif image.mode in ("RGB", "RGBA") and raw_mode.startswith(f"{image.mode};16"):
        deep = _deep_colour(image, file)
    elif raw_mode.endswith((";16B", ";16L", ";16N")):  # of which Pillow has but one byte
        raise DataError(
            f"{shown}: expected 16 bits as grey, RGB or RGBA, got {raw_mode}: convert it"
        )
    else:
        return _scaled(_eight_bits(image, shown)), 0
    if "transparency" in image.info or (deep.shape[-1] == 4 and deep[..., 3].min() < 65535):
        raise _not_opaque(shown, image.mode)
    values = deep[..., :3].astype(np.uint32)
    rounded = ((values * 510 + 65535) // (2 * 65535)).astype(np.uint8)
    return _scaled(Image.fromarray(rounded.repeat(3 // rounded.shape[-1], -1))), int(values.max())


def _eight_bits(image: ImageFile, shown: str) -> Image:
    turned = _turned(image)
    if turned.mode not in ("1", "L", "P", "RGB", "LA", "PA", "RGBA"):
        raise DataError(
            f"{shown}: expected grey, palette or RGB of 8 or 16 bits, got mode {image.mode}: "
            "convert it"
        )
    if turned.mode in ("LA", "PA", "RGBA") or "transparency" in turned.info:
        turned = turned.convert("RGBA")
        if turned.getchannel("A").getextrema() != (255, 255):
            raise _not_opaque(shown, image.mode)
    return turned.convert("RGB")


def _deep_grey(image: ImageFile) -> NDArray[np.uint16]:
    """(H, W, 1) on the scale of 65535."""
    tags = getattr(image, "tag_v2", {})  # of TIFF
    full = 2 ** int(tags.get(258, (16,))[0]) - 1
    values = np.asarray(_turned(image)).astype(np.int64)[..., None]
    if tags.get(262) == 0:  # white is 0
        values = full - values
    return (values * 65535 // full).astype(np.uint16)


def _deep_colour(image: ImageFile, file: BinaryIO) -> NDArray[np.uint16]:
    """(H, W, 3 or 4), of which Pillow reads one byte at a time."""
    from PIL import Image

    high = np.asarray(_turned(image)).astype(np.uint16)
    file.seek(0)
    again = Image.open(file, formats=_FORMATS)
    again.tile = [tile._replace(args=_of_other_byte(tile.args)) for tile in again.tile]
    return high * np.uint16(256) + np.asarray(_turned(again))


def _turned(image: ImageFile) -> Image:
    """The image, loaded, as its EXIF orientation says; TIFF is turned when it is loaded."""
    from PIL import ImageOps

    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _scaled(image: Image) -> NDArray[np.uint8]:
    from PIL.Image import Resampling

    return np.asarray(image.resize((SIDE, SIDE), Resampling.BILINEAR))


def _raw_mode(arguments: _Arguments) -> str:
    """How a decoder lays out the bytes of a pixel, such as "RGB;16B"."""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _of_other_byte(arguments: _Arguments) -> _Arguments:
    """The same decoder, reading the other of a value's two bytes."""
    raw_mode = _raw_mode(arguments)
    other = raw_mode[:-1] + _OTHER_BYTE[raw_mode[-1]]
    return (other, *arguments[1:]) if isinstance(arguments, tuple) else other


def _not_opaque(shown: str, mode: str) -> DataError:
    return DataError(
        f"{shown}: expected opaque pixels, got mode {mode} with transparency: choose what is "
        "behind them, and convert it"
    )
