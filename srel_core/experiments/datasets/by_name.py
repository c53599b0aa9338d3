"""Finds a data set by its name; pixels are decoded on request."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from srel_core.choices import unknown
from srel_core.experiments.datasets.catalogue import DATA_SETS, DataSet
from srel_core.experiments.datasets.image_folder import ImageFolder
from srel_core.experiments.datasets.root import data_root, expanded
from srel_core.experiments.datasets.store import DataError, Store, printable

_FOLDER = "folder:"


def find(name: str) -> DataSet | None:
    """The record of a data set, None for "folder:PATH"; DataError for an unknown name."""
    if name.startswith(_FOLDER):
        return None
    if name not in DATA_SETS:
        raise DataError(unknown("data set", name, [*DATA_SETS, f"{_FOLDER}PATH"]))
    return DATA_SETS[name]


def at_hand(name: str) -> bool:
    """Whether a data set known by name can be loaded without a download."""
    root = expanded(data_root()[0])
    record = find(name)
    return record is None or record.folder(root) is not None or not record.missing(root)


def stored_name(name: str) -> str:
    """The name of a data set as results keep it: of a path no more than its last folder.

    "folder:PATH" becomes "folder:LAST", which names the same images where that folder lies in the
    data root. DataError as for `find`.
    """
    if find(name) is not None:
        return name
    if "\0" in name:
        raise DataError(f"expected a path, got {name!r}: leave out the zero byte")
    path = expanded(data_root()[0]) / expanded(Path(name.removeprefix(_FOLDER)))
    last = path.resolve().name if path.name in ("", "..") else path.name
    return f"{_FOLDER}{printable(unicodedata.normalize('NFC', last))}"


def fingerprint(name: str) -> str:
    """What makes this data set another one under the same name; for the names of results.

    A set that is known by name holds the same images everywhere: what may change is which classes
    are taken. A user's folder is known by its files.
    """
    record = find(name)
    return _users_folder(name).fingerprint() if record is None else repr(record.classes)


def open_store(name: str, split: str) -> tuple[Store, str]:
    """One split of the data set `name`, and in words where it comes from.

    DataError if it is unknown, absent or damaged.
    """
    given, root_name = data_root()
    root = expanded(given)
    record = find(name)
    if record is None:
        own = _users_folder(name)
        return own.open(split), own.source
    folder = record.folder(root)
    if folder is not None:
        tree = ImageFolder(folder, f"{name} (image folder under {root_name})")
        return tree.open(split), tree.source
    origin = f"torchvision archive under {root_name}" if record.files else "scikit-learn"
    return _open_archive(record, split, given, root_name), f"{name} ({origin})"


def _users_folder(name: str) -> ImageFolder:
    """The image folder that "folder:PATH" names."""
    given, root_name = data_root()
    path = expanded(Path(name.removeprefix(_FOLDER)))
    under = "" if path.is_absolute() else f" under {root_name}"
    return ImageFolder(expanded(given) / path, f"{stored_name(name)} (image folder{under})")


def _open_archive(record: DataSet, split: str, given: Path, root_name: str) -> Store:
    name, root = record.name, expanded(given)
    missing = record.missing(root, [split])
    try:
        return record.read(root, split, bool(missing))
    except (OSError, RuntimeError) as error:  # no network, no permission; a wrong checksum
        place = f"{root_name} ({printable(str(given))})"
        if not missing:
            files = ", ".join(file.format(split=split) for file in record.files)
            if refused := _refusal([root / file.format(split=split) for file in record.files]):
                raise DataError(
                    f"{name}: {files} in {place} cannot be read ({refused}): check it"
                ) from error
            raise DataError(
                f"{name}: {files} in {place} is incomplete or damaged: "
                "remove it, and it is downloaded again"
            ) from error
        raise DataError(
            f"{name}: neither {name}/train nor {', '.join(missing)} is in {place}, and the "
            f"download failed ({printable(str(error))}): set SREL_DATA to a folder that holds one "
            "of them, or go online"
        ) from error


def _refusal(paths: Iterable[Path]) -> str:
    """Why the system does not read these files, and those in folders; "" if it does."""
    try:
        for path in paths:
            for file in path.iterdir() if path.is_dir() else [path]:
                with file.open("rb") as opened:
                    while opened.read(2**20):
                        pass
    except OSError as error:
        return str(error.strerror)
    return ""
