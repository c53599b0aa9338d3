"""What the explorer shows, taken from a result: each pair's S_rel, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srel_core.book.figures.three_digits import pack
from srel_core.statistics.by_class import same_class_auc

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Explored:
    """Measurements on P images that are probes and samples alike, under each of several step rules
    and divergences.

    s_rel    (step, rule, divergence, probe, sample)   NaN where own is 0
    own      (step, rule, divergence, sample)
    auc      (step, rule, divergence, sample)   of the changes: P(same class farther)
    classes  (P,)   indices into `names`
    steps, epochs   of the training, at each step
    """

    s_rel: Array
    own: Array
    auc: Array
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    steps: tuple[int, ...]
    epochs: tuple[int, ...]

    @classmethod
    def of(
        cls, result: "xr.Dataset", rules: Sequence[str], divergences: Sequence[str]
    ) -> "Explored":
        """From a result of `ClassExperiment.run`; ValueError if its probes are not its samples."""
        same = result.same_input.values
        if not np.array_equal(same, np.eye(len(same), dtype=bool)):
            raise ValueError("expected a result whose probes are its samples, in the same order")
        part = result.sel(rule=list(rules), divergence=list(divergences))
        dims = ("step", "rule", "divergence")
        change = part.change.transpose(*dims, "probe", "sample").values
        own = part.own.transpose(*dims, "sample").values
        classes = result.probe_class.values
        with np.errstate(over="ignore"):
            s_rel = np.divide(
                change, own[..., None, :], out=np.full_like(change, np.nan),
                where=own[..., None, :] > 0,
            )  # fmt: skip
        auc = np.empty(own.shape)
        for cell in np.ndindex(own.shape[:3]):
            auc[cell] = same_class_auc(change[cell], classes, classes, exclude=same)
        return cls(
            s_rel, own, auc, classes, tuple(map(str, result.class_name.values)),
            tuple(result.step.values.tolist()), tuple(result.epoch_of_step.values.tolist()),
        )  # fmt: skip

    @property
    def start(self) -> tuple[int, int]:
        """(step, sample) that show best what a rule decides: the step at which the mean AUC of the
        rules differ most by the first divergence, and the sample whose difference is in the
        middle there. Zeros for a single rule."""
        spread = np.ptp(self.auc[:, :, 0], axis=1)  # (step, sample)
        step = int(spread.mean(1).argmax())
        return step, int(np.argsort(spread[step], kind="stable")[len(self.classes) // 2])

    def others(self, sample: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(P,) each: the other images of the class of `sample`, and those of other classes."""
        same = self.classes == self.classes[sample]
        other = ~same
        same[sample] = False
        return same, other

    @property
    def medians(self) -> Array:
        """Median S_rel (kind, step, rule, divergence, sample) over the images of `others`."""
        return np.stack([
            np.stack([np.median(self.s_rel[..., kind, i], axis=-1) for kind in self.others(i)])
            for i in range(len(self.classes))
        ], axis=-1)  # fmt: skip

    @property
    def reach(self) -> list[list[float]]:
        """By step and divergence, how many decades from 1 hold 98 % of all S_rel under all rules,
        in halves of a decade."""
        found = np.full((self.s_rel.shape[0], self.s_rel.shape[2]), 0.5)
        for step, i in np.ndindex(found.shape):
            s_rel = self.s_rel[step, :, i]
            decades = np.abs(np.log10(s_rel[s_rel > 0]))
            if decades.size:
                found[step, i] = max(0.5, np.ceil(2 * np.quantile(decades, 0.98)) / 2)
        return [list(row) for row in found.tolist()]

    def for_script(self) -> dict[str, Any]:
        """All of it, to three digits, as explorer.js reads it."""
        step, sample = self.start
        kinds = map(self.others, range(len(self.classes)))
        pairs = [same.sum() * other.sum() for same, other in kinds]
        return {
            "classes": self.classes.tolist(),
            "names": list(self.names),
            "steps": list(self.steps),
            "epochs": list(self.epochs),
            "sizes": list(self.s_rel.shape),
            "sRel": pack(self.s_rel),
            "own": pack(self.own),
            "medians": pack(self.medians),
            "wins": np.round(2 * self.auc * pairs).ravel().tolist(),
            "pairs": np.array(pairs).tolist(),
            "auc": self.auc.mean(-1).round(4).ravel().tolist(),
            "reach": self.reach,
            "start": [step, sample],
        }
