"""Our values beside the published ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from srel_core.book.committed.files import ladder_in
from srel_core.book.published.numbers import PUBLISHED

if TYPE_CHECKING:
    import xarray as xr


OTHER_MEAN = float(np.sqrt(2))
"""The spread of the difference of two means of as many runs, over the spread of one of them."""


@dataclass(frozen=True)
class BesidePublished:
    """A value of ours with its interval beside a published one."""

    ours: float
    low: float
    high: float
    published: float

    @property
    def difference(self) -> float:
        """Relative to the published value."""
        return self.ours / self.published - 1

    @property
    def within(self) -> bool:
        return self.low <= self.published <= self.high

    @property
    def within_other_mean(self) -> bool:
        """Within the interval stretched about our value by √2, on the log scale: the published
        value is a mean of other runs, with a spread of its own, which is taken to be ours."""
        low, ours, high, there = np.log([self.low, self.ours, self.high, self.published])
        stretched = ours + OTHER_MEAN * (low - ours), ours + OTHER_MEAN * (high - ours)
        return bool(stretched[0] <= there <= stretched[1])


def beside_published(
    ours: ArrayLike, interval: ArrayLike, published: Sequence[float]
) -> list[BesidePublished]:
    """A row for each published epoch that was measured too: ours (epoch,), interval (2, epoch)."""
    return [
        BesidePublished(float(value), float(low), float(high), there)
        for value, low, high, there in zip(
            np.asarray(ours), *np.asarray(interval), published, strict=False
        )
    ]


def accuracy_rows(summary: "xr.Dataset", dataset: str) -> "list[BesidePublished]":
    """Our training accuracy in each epoch, with the range over the seeds for an interval; no row if
    none was published."""
    if dataset not in PUBLISHED:
        return []
    ours = summary.train_accuracy
    bounds = [ours.min("seed"), ours.max("seed")]
    return beside_published(ours.mean("seed"), bounds, PUBLISHED[dataset].train_accuracy)


def curve_rows(
    summary: "xr.Dataset", dataset: str, definition: str, name: str
) -> "list[BesidePublished]":
    """Our `same` or `other` curve as published, in each epoch; no row if none was published."""
    if dataset not in PUBLISHED:
        return []
    first = ladder_in(summary, definition).sel(rung="as published")
    published = getattr(PUBLISHED[dataset], name)[definition]
    return beside_published(
        first[f"rung_epoch_{name}"], first[f"rung_epoch_{name}_interval"], published
    )
