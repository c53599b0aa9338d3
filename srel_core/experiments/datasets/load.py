"""One split of a data set, class by class, as a validated `ImageSet`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from srel_core.choices import unknown
from srel_core.experiments.datasets.by_name import find, open_store
from srel_core.experiments.datasets.image_set import ImageSet, check_classes
from srel_core.experiments.datasets.store import SPLITS, DataError, Store


def load_images(
    name: str,
    classes: Sequence[str] | None = None,
    split: str = "train",
    per_class: int | None = None,
) -> ImageSet:
    """Load a data set as 32×32 RGB, class by class in the order of `classes`.

    Within a class the images keep their file order: the order in the archive, or the sorted
    paths of an image folder.

    Args:
        name: one of
            "digits": scikit-learn's 8×8 digits, enlarged bilinearly and rounded to 8 bits;
            80 % train and 20 % test, stratified over the ten digits, drawn with seed 0.
            the name of another record of `catalogue`: the image folder NAME/train, NAME/test under
            the data root if it is there, else torchvision's archive, downloaded (with its checksum)
            into the data root if it is not there.
            "folder:PATH": an image folder of your own, PATH/train/CLASS/IMAGE and
            PATH/test/CLASS/IMAGE; a relative PATH counts from the data root, links are followed,
            and what is hidden is passed over. Images are square, of any size (antialiased bilinear
            resize), opaque, grey, palette or RGB, of 8 bits or of 16, whose full scale is 65535;
            they are turned as their EXIF orientation says, and of several frames the first is
            taken. A warning names other files that are left out.
        classes: names, or the digits as strings for "digits" and "svhn". None: those that
            `catalogue` says, and for a folder all of them.
        split: "train" or "test".
        per_class: at most this many images per class, the first in file order. None: all.

    Raises:
        DataError: an unknown name, class or split, a class without images, data that are absent
            while the network is unreachable, damaged files, images that are not square or not
            opaque, a link to a folder that is found already, anything but a file.
    """
    if split not in SPLITS:
        raise DataError(unknown("split", split, SPLITS))
    if per_class is not None and per_class < 1:
        raise DataError(f"per_class is at least 1, or None for all: got {per_class}")
    record = find(name)
    requested = record.classes if classes is None and record else classes
    if requested is not None:
        check_classes(requested)  # here already: the next line may download
    store, source = open_store(name, split)
    wanted = store.classes if requested is None else requested
    chosen = tuple(unicodedata.normalize("NFC", name) for name in wanted)
    rows = _rows_by_class(store, f"{source}, {split}", chosen, per_class)
    pixels = torch.from_numpy(np.ascontiguousarray(store.pixels(np.concatenate(rows))))
    labels = torch.repeat_interleave(torch.tensor([len(r) for r in rows]))
    return ImageSet(pixels.float() / 255, labels, chosen, source)


def _rows_by_class(
    store: Store, source: str, chosen: Iterable[str], per_class: int | None
) -> list[NDArray[np.int64]]:
    """For each chosen class the rows of its first `per_class` images in file order."""
    rows = []
    for name in chosen:
        if name not in store.classes:
            raise DataError(f"{source}: {unknown('class', name, store.classes)}")
        found = np.flatnonzero(store.labels == store.classes.index(name))
        if len(found) == 0:
            raise DataError(f"{source}: no image of class {name!r}: leave it out or add some")
        rows.append(found[:per_class])
    return rows
