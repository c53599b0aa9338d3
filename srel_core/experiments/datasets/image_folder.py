"""Image folders: SPLIT/CLASS/IMAGE, in folders of folders and through links too."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
import warnings
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srel_core.experiments.datasets.image_file import EXTENSIONS, read_images
from srel_core.experiments.datasets.regular_file import content_digest
from srel_core.experiments.datasets.store import SPLITS, DataError, Store, printable

# Beside the names that begin with a dot: what macOS, Windows and Synology leave behind.
_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir")


@dataclass(frozen=True)
class ImageFolder:
    """The folder at `path`; `source` says in words what it is, without its path."""

    path: Path
    source: str

    def open(self, split: str) -> Store:
        """One split, its images in the order of their paths.

        A warning names files that are no images. DataError if there is no such split, or something
        in it cannot be used.
        """
        files, left_out = self._list(split)
        if left_out:
            warnings.warn(
                f"{self.source}: left out {len(left_out)} that are no images in a class folder, "
                f"such as {printable(left_out[0])}: move them, or convert them to PNG",
                stacklevel=4,
            )
        names = [name for of_class in files.values() for name in of_class]

        def pixels(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            return read_images(self.path, [names[row] for row in rows], self.source)

        labels = np.repeat(np.arange(len(files)), [len(found) for found in files.values()])
        return Store(tuple(files), labels.astype(np.int64), pixels)

    def fingerprint(self) -> str:
        """A hash of the content of all images and of their classes, in order: the same for the same
        images on every machine. DataError as for `open`."""
        digest = hashlib.sha256()
        for split in SPLITS:
            for name, files in self._list(split)[0].items():
                digest.update(json.dumps([split, name, len(files)]).encode())
                for file in files:
                    digest.update(self._content(file))
        return digest.hexdigest()

    def _content(self, file: str) -> bytes:
        try:
            return content_digest(self.path / file)
        except OSError as error:
            raise self._unreadable(file, error) from error

    def _list(self, split: str) -> tuple[dict[str, list[str]], list[str]]:
        """The image files of each class, classes and files in order, and the names of others."""
        try:
            top = self._entries(split)
        except (FileNotFoundError, NotADirectoryError):
            top = []
        except OSError as error:
            raise self._unreadable(split, error) from error
        classes = sorted((e for e in top if _is_folder(e)), key=lambda e: _in_order(e.name))
        if not classes:
            raise DataError(
                f"{self.source}: expected images in {split}/CLASS/, found no such folder: "
                "check the path and SREL_DATA"
            )
        real = Path(os.path.realpath(self.path / split))
        seen = {str(folder): split for folder in (real, *real.parents)}
        files: dict[str, list[str]] = {}
        left_out = [f"{split}/{e.name}" for e in top if not _is_folder(e)]
        for entry in classes:
            name = self._class_name(f"{split}/{entry.name}", entry.name, files)
            found, others = self._list_class(f"{split}/{entry.name}", seen)
            files[name] = found
            left_out += others
        return files, left_out

    def _list_class(self, top: str, seen: dict[str, str]) -> tuple[list[str], list[str]]:
        """All image files below a folder, and the names of others.

        `seen`: by their real paths, the folders that others may not lead to. A folder that is
        reached twice would give its images twice, or under two labels, or for ever.
        """
        images: list[tuple[str, str]] = []
        left_out: list[str] = []
        waiting = [top]
        while waiting:
            place = waiting.pop()
            real = os.path.realpath(self.path / place)
            if real in seen:
                raise self._error(place, f"leads to {printable(seen[real])} again: remove the link")
            seen[real] = place
            for entry in self._readable_entries(place):
                if _is_folder(entry):
                    waiting.append(f"{place}/{entry.name}")
                elif not entry.name.lower().endswith(EXTENSIONS):
                    left_out.append(f"{place}/{entry.name}")
                elif _is_file(entry):
                    images.append((place, entry.name))
                else:
                    raise self._error(
                        f"{place}/{entry.name}",
                        "expected an image file, got a pipe, a socket, a device or a link that "
                        "leads nowhere: remove it",
                    )
        images.sort(key=lambda image: [_in_order(part) for part in image])
        return [f"{place}/{name}" for place, name in images], sorted(left_out)

    def _class_name(self, place: str, name: str, others: Container[str]) -> str:
        """The name of a class for a folder, the same on systems that spell é in other ways."""
        composed = unicodedata.normalize("NFC", name)
        if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in composed):
            raise self._error(place, "expected a class name of characters in UTF-8: rename it")
        if composed in others:
            raise self._error(place, "another class has this name, spelt otherwise: rename one")
        return composed

    def _readable_entries(self, place: str) -> list[os.DirEntry[str]]:
        try:
            return self._entries(place)
        except OSError as error:
            raise self._unreadable(place, error) from error

    def _entries(self, place: str) -> list[os.DirEntry[str]]:
        """What is in a folder and not hidden."""
        with os.scandir(self.path / place) as found:
            return [e for e in found if not e.name.startswith(".") and e.name not in _CLUTTER]

    def _unreadable(self, place: str, error: OSError) -> DataError:
        return self._error(place, f"cannot be read ({error.strerror}): check it")

    def _error(self, place: str, what: str) -> DataError:
        return DataError(f"{self.source}: {printable(place)}: {what}")


def _in_order(name: str) -> tuple[str, str]:
    """A sorting key that is the same on systems that spell é in other ways."""
    return unicodedata.normalize("NFC", name), name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
