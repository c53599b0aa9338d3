"""The data sets that are known by name: to add one, add a record to `DATA_SETS`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from srel_core.experiments.datasets.archives import Reader, cifar_reader, read_digits, read_svhn
from srel_core.experiments.datasets.store import SPLITS


@dataclass(frozen=True)
class DataSet:
    """All that is known of one data set; published figures, where there are some, are the book's.

    Attributes:
        name: lower-case letters, digits and "_".
        classes: those taken where no others are asked for.
        read: its reader; see `archives`.
        files: what `read` needs under the data root and can fetch, with "{split}" for the split;
            none for a data set that is installed with a package.
        augment: whether to train on crops and mirror images of it.
        images_per_class: of the paper profile; None for all there are.
        batch_size: of the paper profile.
        swept: the profiles whose sweep runs it.

    Raises:
        ValueError: a name that would not come back from the name of a result's file.
    """

    name: str
    classes: tuple[str, ...]
    read: Reader
    files: tuple[str, ...] = ()
    augment: bool = True
    images_per_class: int | None = None
    batch_size: int = 256
    swept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9_]+", self.name):
            raise ValueError(f"expected a name of a-z, 0-9 and _, got {self.name!r}: rename it")

    def folder(self, root: Path) -> Path | None:
        """The image folder NAME/train, NAME/test that takes the place of its files, if it is
        there."""
        return root / self.name if self.files and (root / self.name / "train").is_dir() else None

    def missing(self, root: Path, splits: Iterable[str] = SPLITS) -> list[str]:
        """The files that `read` would have to fetch."""
        wanted = {file.format(split=split) for split in splits for file in self.files}
        return sorted(file for file in wanted if not (root / file).exists())


RECORDS = (
    # A mirrored digit is another sign or none: they are taken as they are.
    DataSet("digits", ("0", "2", "4"), read_digits, augment=False, swept=("smoke", "laptop")),
    DataSet(
        "cifar10", ("airplane", "automobile", "ship"), cifar_reader("CIFAR10"),
        files=("cifar-10-batches-py",), images_per_class=5000, swept=("paper",),
    ),
    DataSet(
        "cifar100", ("motorcycle", "orange", "wardrobe"), cifar_reader("CIFAR100"),
        files=("cifar-100-python",), images_per_class=500, batch_size=25, swept=("paper",),
    ),
    DataSet(
        "svhn", ("0", "2", "4"), read_svhn,
        files=("{split}_32x32.mat",), images_per_class=4000, swept=("paper",),
    ),
)  # fmt: skip
DATA_SETS = {record.name: record for record in RECORDS}
