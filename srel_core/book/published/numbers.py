"""The published data sets, and the figures that the published notebooks print for them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

T = TypeVar("T")


DEFINITIONS = ("class-based", "original")
"""The two definitions of S_rel that the notebooks compute."""

NOT_RUN = "not run: data not available"


@dataclass(frozen=True)
class Figures:
    """What is published of one data set, and its title: means over 3 runs, for each of the epochs 1
    to 7.

    `same` and `other` by definition, as `published_class_curves` gives them; `train_accuracy`
    of the epoch's batches; `test_accuracy` after the last epoch, of images drawn from the
    training set. `wall_seconds` by definition: a notebook's 3 runs on a GPU, where it is printed.
    """

    title: str
    same: Mapping[str, tuple[float, ...]]
    other: Mapping[str, tuple[float, ...]]
    train_accuracy: tuple[float, ...]
    test_accuracy: float
    wall_seconds: Mapping[str, int]


def _by_definition(class_based: T, original: T) -> Mapping[str, T]:
    return MappingProxyType({"class-based": class_based, "original": original})


PUBLISHED: Mapping[str, Figures] = MappingProxyType(
    {
        "cifar10": Figures(
            title="CIFAR-10",
            same=_by_definition(
                (1.01, 1.03, 1.04, 1.05, 1.06, 1.06, 1.05),
                (0.771, 1.27, 2.12, 3.84, 5.36, 12.2, 23.4),
            ),
            other=_by_definition(
                (0.956, 0.899, 0.864, 0.835, 0.841, 0.813, 0.779),
                (0.913, 1.88, 3.69, 7.99, 11.6, 30.3, 69.5),
            ),
            train_accuracy=(0.564, 0.679, 0.735, 0.773, 0.799, 0.829, 0.855),
            test_accuracy=0.771,
            wall_seconds=_by_definition(5712, 5743),
        ),
        "cifar100": Figures(
            title="CIFAR-100",
            same=_by_definition(
                (1.02, 1.04, 1.05, 1.04, 1.04, 1.02, 1.03),
                (1.23, 4.05, 11.6, 22.6, 132, 244, 242),
            ),
            other=_by_definition(
                (0.927, 0.892, 0.913, 0.897, 0.923, 0.887, 0.911),
                (2.12, 20.9, 34.3, 116, 475, 4500, 2920),
            ),
            train_accuracy=(0.708, 0.866, 0.914, 0.934, 0.954, 0.967, 0.979),
            test_accuracy=0.936,
            wall_seconds=MappingProxyType({}),
        ),
        "svhn": Figures(
            title="SVHN",
            same=_by_definition(
                (1.00, 1.02, 1.03, 1.07, 1.05, 1.03, 1.02),
                (0.658, 1.47, 7.16, 62.4, 95.9, 198, 761),
            ),
            other=_by_definition(
                (0.993, 0.907, 0.823, 0.798, 0.777, 0.748, 0.704),
                (0.666, 2.67, 20.5, 301, 444, 1230, 6660),
            ),
            train_accuracy=(0.423, 0.636, 0.745, 0.810, 0.846, 0.873, 0.898),
            test_accuracy=0.860,
            wall_seconds=MappingProxyType({}),
        ),
    }
)

DATASETS = tuple(PUBLISHED)
"""The published data sets: each has a row in every table, with or without results."""


def title_of(name: str) -> str:
    """The title of a data set in tables and figures: of one without published figures, its name."""
    return PUBLISHED[name].title if name in PUBLISHED else name


def with_published(names: Iterable[str]) -> list[str]:
    """The published data sets, and after them the others among `names`."""
    return list(dict.fromkeys([*DATASETS, *names]))
