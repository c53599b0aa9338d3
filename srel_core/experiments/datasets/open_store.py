"""Finds one split of a data set by its name; pixels are decoded on request."""

from pathlib import Path

from srel_core.choices import unknown
from srel_core.experiments.datasets.archives import ARCHIVES, open_archive, open_digits
from srel_core.experiments.datasets.image_folder import open_folder
from srel_core.experiments.datasets.store import DataError, Store, data_root

NAMES = ("digits", "cifar10", "cifar100", "svhn", "folder:PATH")


def open_store(name: str, split: str) -> Store:
    """One split of the data set `name`; DataError if it is unknown, absent or damaged."""
    given, root_name = data_root()
    root = given.expanduser()
    if name == "digits":
        return open_digits(split)
    if name.startswith("folder:"):
        path = Path(name.removeprefix("folder:")).expanduser()
        where = f"folder:{path.name}" if path.is_absolute() else f"folder:{path}"
        under = "" if path.is_absolute() else f" under {root_name}"
        return open_folder(root / path, split, f"{where} (image folder{under})")
    if name not in ARCHIVES:
        raise DataError(unknown("data set", name, NAMES))
    if (root / name / "train").is_dir():
        return open_folder(root / name, split, f"{name} (image folder under {root_name})")
    return open_archive(name, split, given, root_name)
