"""Finds a data set by its name; pixels are decoded on request."""

from __future__ import annotations

from pathlib import Path

from srel_core.choices import unknown
from srel_core.experiments.datasets.catalogue import DATA_SETS, DataSet
from srel_core.experiments.datasets.image_folder import folder_fingerprint, open_folder
from srel_core.experiments.datasets.store import DataError, Store, data_root

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
    root = data_root()[0].expanduser()
    record = find(name)
    return record is None or record.folder(root) is not None or not record.missing(root)


def fingerprint(name: str) -> str:
    """What makes this data set another one under the same name; for the names of results.

    A set that is known by name holds the same images everywhere: what may change is which classes
    are taken. A user's folder is known by its files.
    """
    record = find(name)
    return folder_fingerprint(name) if record is None else repr(record.classes)


def open_store(name: str, split: str) -> tuple[Store, str]:
    """One split of the data set `name`, and in words where it comes from.

    DataError if it is unknown, absent or damaged.
    """
    given, root_name = data_root()
    root = given.expanduser()
    record = find(name)
    if record is None:
        path = Path(name.removeprefix(_FOLDER)).expanduser()
        where = f"folder:{path.name}" if path.is_absolute() else f"folder:{path}"
        under = "" if path.is_absolute() else f" under {root_name}"
        source = f"{where} (image folder{under})"
        return open_folder(root / path, split, source), source
    folder = record.folder(root)
    if folder is not None:
        source = f"{name} (image folder under {root_name})"
        return open_folder(folder, split, source), source
    origin = f"torchvision archive under {root_name}" if record.files else "scikit-learn"
    return _open_archive(record, split, given, root_name), f"{name} ({origin})"


def _open_archive(record: DataSet, split: str, given: Path, root_name: str) -> Store:
    name, root = record.name, given.expanduser()
    missing = record.missing(root, [split])
    try:
        return record.read(root, split, bool(missing))
    except (OSError, RuntimeError) as error:  # no network, no permission; a wrong checksum
        place = f"{root_name} ({given})"
        if not missing:
            files = ", ".join(file.format(split=split) for file in record.files)
            raise DataError(
                f"{name}: {files} in {place} is incomplete or damaged: "
                "remove it, and it is downloaded again"
            ) from error
        raise DataError(
            f"{name}: neither {name}/train nor {', '.join(missing)} is in {place}, and the "
            f"download failed ({error}): set SREL_DATA to a folder that holds one of them, "
            "or go online"
        ) from error
