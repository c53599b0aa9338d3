"""The part of a run that a committed file of a data set keeps, to be verified by: own and the class
matrix at the first checkpoint, under every rule and divergence, and the loss of each batch of the
first epoch, all of the first seed.

How close is close enough? On one machine, with as many threads, losses come out to the bit and the
checkpoint, kept in single precision, to 2e-7. With one thread for two, or a processor of another
maker, the checkpoint, which comes after one training step, differs by 1e-6 or less, but training
amplifies rounding: 1e-2 in the loss of a batch by the end of the epoch, and a quarter in S_rel,
which is why no later checkpoint is compared. Without vector instructions (mkldnn off, no AVX),
CIFAR-100 gives 5e-5 and 3e-2. A change of what is computed, another norm, seed or order of the
images, makes a difference of tens of per cent at once. `TOLERANCE` lies between.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.statistics import by_class

if TYPE_CHECKING:
    import xarray as xr


_NEVER_AGAIN = 10**9  # steps
TOLERANCE = (1e-3, 1e-1)
"""Largest relative difference: of own and the class matrix, and of a batch's loss."""


def shortened(experiment: ClassExperiment) -> ClassExperiment:
    """The experiment's first epoch, measured after its first step alone."""
    schedule = dataclasses.replace(experiment.schedule, epochs=1, measure_every=_NEVER_AGAIN)
    return dataclasses.replace(experiment, schedule=schedule)


def slice_of(run: "xr.Dataset") -> "xr.Dataset":
    """The slice of a run of `ClassExperiment` that a committed file keeps: slice_own,
    slice_matrix and slice_train_loss, as described in `schema.VARIABLES`."""
    import xarray as xr

    labels = run.probe_class.values, run.sample_class.values
    cell, names = ("rule", "divergence"), run.class_name.values
    first = run.isel(step=0)
    change = first.change.transpose(*cell, "probe", "sample").values
    own = first.own.transpose(*cell, "sample").values
    matrix = np.empty((*own.shape[:2], len(names), len(names)))
    for at in np.ndindex(own.shape[:2]):
        matrix[at] = by_class.class_matrix(
            change[at], own[at], *labels, exclude=first.same_input.values
        )
    of_class = [own[..., labels[1] == c].mean(-1) for c in range(len(names))]
    per_epoch = run.sizes["train_step"] // run.sizes["epoch"]
    return xr.Dataset(
        {
            "slice_own": ((*cell, "sample_class"), np.stack(of_class, -1)),
            "slice_matrix": ((*cell, "probe_class", "sample_class"), matrix),
            "slice_train_loss": ("slice_train_step", run.train_loss.values[:per_epoch]),
        },
        {
            **{d: run[d].values for d in cell}, "probe_class": names, "sample_class": names,
            "slice_train_step": np.arange(1, per_epoch + 1),
        },
    )  # fmt: skip


def largest_differences(kept: "xr.Dataset", anew: "xr.Dataset") -> tuple[float, float]:
    """Largest relative difference of the first checkpoint, and of the losses. ValueError for
    slices of different shapes."""
    checkpoint = [_difference(kept, anew, name) for name in ("slice_own", "slice_matrix")]
    return max(checkpoint), _difference(kept, anew, "slice_train_loss")


def _difference(kept: "xr.Dataset", anew: "xr.Dataset", name: str) -> float:
    new = anew[name].values.astype(np.float32).astype(np.float64)
    old = kept[name].transpose(*anew[name].dims).values.astype(np.float64)
    if old.shape != new.shape:
        raise ValueError(f"{name} has shape {new.shape} now, not {old.shape}")
    equal = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(equal, 0, np.abs(new - old) / np.maximum(np.abs(old), np.abs(new)))
    return float(np.nan_to_num(relative, nan=np.inf).max())  # a number where there was none
