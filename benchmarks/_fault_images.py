"""Faults of image folders: files that are no images, or harm, and links that lead astray."""

import contextlib
import os
import random
import shutil
import signal
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _fault_table import Outcome, Tally
from PIL import Image

from srel_core.experiments.datasets import DataError, ImageSet, load_images
from tests.support.datasets import random_pixels, write_pets
from tests.support.deep_images import png

CUTS, SECONDS = 20, 20
IMAGE = "train/cat/00000.png"


def tallies(folder: Path) -> list[Tally]:
    """All faults of image folders, tried in a folder."""
    write_pets(folder / "pets", random_pixels(6))
    whole = load_images(f"folder:{folder / 'pets'}")
    found = []
    for name, faults in (
        ("an image folder: no images, hostile images", HOSTILE),
        ("an image folder: an image cut short", CUT),
        ("an image folder: links and other things that are no files", THINGS),
        ("an image folder: hidden files, and the same image in other forms", SAME),
    ):
        tally = Tally(name)
        for number, (fault, harm) in enumerate(faults.items()):
            place = shutil.copytree(folder / "pets", folder / f"{len(found)}-{number}")
            harm(place)
            tally.add(_loaded(place, whole), fault)
        found.append(tally)
    return found


def _loaded(place: Path, whole: ImageSet) -> Outcome:
    """A folder that is waited for without end counts as silent."""
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = load_images(f"folder:{place}")
    except DataError as error:
        return "refused" if str(error).isprintable() else "silent"
    except Exception:
        return "silent"
    finally:
        signal.alarm(0)
    same = torch.equal(found.images, whole.images) and torch.equal(found.labels, whole.labels)
    if not same or found.classes != whole.classes:
        return "silent"
    return "refused" if any("left out" in str(w.message) for w in said) else "harmless"


Harm = Callable[[Path], object]


def _cut(length: int) -> Harm:
    return lambda pets: (pets / IMAGE).write_bytes((pets / IMAGE).read_bytes()[:length])


def _file(name: str, content: bytes) -> Harm:
    return lambda pets: (pets / "train/cat" / name).write_bytes(content)


def _link(name: str, target: str) -> Harm:
    return lambda pets: (pets / "train" / name).symlink_to(target)


def _socket(pets: Path) -> None:
    # In the folder, since the paths of sockets are short.
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(pets / "train/cat"):
        bound.bind("x.png")


def _again(**options: object) -> Harm:
    """The first image saved in another way under its name."""

    def save(pets: Path) -> None:
        with Image.open(pets / IMAGE) as image:
            pixels = image.copy()
        pixels.save(pets / IMAGE, **options)  # type: ignore[arg-type]

    return save


def _turned(pets: Path) -> None:
    with Image.open(pets / IMAGE) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned back
    turned.save(pets / IMAGE, exif=exif)


def _deep(pets: Path) -> None:
    with Image.open(pets / IMAGE) as image:
        values = np.asarray(image).astype(np.uint16) * 257
    (pets / IMAGE).write_bytes(png(values))


def _hidden_folder(pets: Path) -> None:
    shutil.copytree(pets / "train/cat", pets / "train/.ipynb_checkpoints")
    shutil.copytree(pets / "train/dog", pets / "train/cat/.thumbnails")


_HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
HOSTILE: dict[str, Harm] = {
    "text": _file("x.png", b"an image\n"),
    "nothing": _file("x.png", b""),
    "a page": _file("x.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>"),
    "PostScript": _file("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nquit\n"),
    "a bomb": _file("x.png", _HEADER + b"\0\0\xff\xff" * 2 + b"\x08\x02\0\0\0" + b"\0" * 99),
    "not square": lambda pets: Image.new("RGB", (32, 31)).save(pets / IMAGE),
    "transparent": lambda pets: Image.new("RGBA", (32, 32)).save(pets / IMAGE),
    "CMYK": lambda pets: Image.new("CMYK", (32, 32)).save(pets / IMAGE, format="TIFF"),
    "a class of control characters": lambda pets: (pets / "train/a\x1b[2J").mkdir(),
    "a class that is no UTF-8": lambda pets: (pets / "train/\udcff").mkdir(),
    "a class without images": lambda pets: (pets / "train/fish").mkdir(),
    "no split": lambda pets: shutil.rmtree(pets / "train"),
    "text that is called text": _file("notes.txt", b"an image\n"),
}
CUT: dict[str, Harm] = {str(length): _cut(length) for length in random.Random(0).sample(
    range(3000), CUTS)}  # fmt: skip
THINGS: dict[str, Harm] = {
    "a pipe": lambda pets: os.mkfifo(pets / "train/cat/x.png"),
    "a socket": _socket,
    "a folder called .png": lambda pets: (pets / "train/cat/x.png").mkdir(),
    "a link into itself": _link("cat/x.png", "x.png"),
    "a link that leads nowhere": _link("cat/x.png", "/nowhere"),
    "a link to a device": _link("cat/x.png", "/dev/zero"),
    "a link to the folder around it": _link("cat/more", "."),
    "a link to the folder above": _link("cat/more", ".."),
    "a link to another class": _link("cat/more", "../dog"),
    "another name of a class": _link("tiger", "cat"),
    "a link to everything": _link("all", "/"),
}
SAME: dict[str, Harm] = {
    "hidden files of macOS": _file("._00000.png", b"\0\x05\x16\x07"),
    "hidden folders": _hidden_folder,
    "a file of Windows": _file("Thumbs.db", b"\xd0\xcf"),
    "turned by EXIF": _turned,
    "16 bits": _deep,
    "BMP": _again(format="BMP"),
    "TIFF": _again(format="TIFF"),
    "PPM": _again(format="PPM"),
    "WebP": _again(format="WEBP", lossless=True),
}
