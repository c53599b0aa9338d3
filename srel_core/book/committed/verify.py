"""Whether the present code still gives what a committed file holds.

The file keeps a slice of its first seed's run: own and the class matrix at the first checkpoint,
under every rule and divergence, and the loss of each batch of the first epoch. `verify` computes
that slice anew, by the same public road as the run itself, and compares.

How close is close enough? On one machine, with as many threads, losses come out to the bit and the
checkpoint, kept in single precision, to 2e-7. With one thread for two, or a processor of another
maker, the checkpoint, which comes after one training step, differs by 1e-6 or less, but training
amplifies rounding: 1e-2 in the loss of a batch by the end of the epoch, and a quarter in S_rel,
which is why no later checkpoint is compared. Without vector instructions (mkldnn off, no AVX),
CIFAR-100 gives 5e-5 and 3e-2. A change of what is computed, another norm, seed or order of the
images, makes a difference of tens of per cent at once. `TOLERANCE` lies between.
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.committed import schema
from srel_core.experiments import result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.provenance import commit
from srel_core.experiments.result_files import ResultError
from srel_core.statistics import by_class

if TYPE_CHECKING:
    import xarray as xr

TOLERANCE = (1e-3, 1e-1)
"""Largest relative difference: of own and the class matrix, and of a batch's loss."""


_DECIDES_ROUNDING = ("device", "threads", "torch")


def slice_of(run: "xr.Dataset") -> "xr.Dataset":
    """The slice of a run of `ClassExperiment` that a committed file keeps: slice_own,
    slice_matrix and slice_train_loss, as described in `committed.VARIABLES`."""
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


def shortened(experiment: ClassExperiment, steps_per_epoch: int) -> ClassExperiment:
    """The experiment's first epoch, measured after its first step alone."""
    schedule = dataclasses.replace(experiment.schedule, epochs=1, measure_every=steps_per_epoch)
    return dataclasses.replace(experiment, schedule=schedule)


def largest_differences(kept: "xr.Dataset", anew: "xr.Dataset") -> tuple[float, float]:
    """Largest relative difference of the first checkpoint, and of the losses."""
    checkpoint = [_difference(kept, anew, name) for name in ("slice_own", "slice_matrix")]
    return max(checkpoint), _difference(kept, anew, "slice_train_loss")


def _difference(kept: "xr.Dataset", anew: "xr.Dataset", name: str) -> float:
    new = anew[name].values.astype(np.float32).astype(np.float64)
    old = kept[name].transpose(*anew[name].dims).values.astype(np.float64)
    if old.shape != new.shape:
        raise ResultError(f"{name} has shape {new.shape} now, not {old.shape}")
    equal = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(equal, 0, np.abs(new - old) / np.maximum(np.abs(old), np.abs(new)))
    return float(np.nan_to_num(relative, nan=np.inf).max())  # a number where there was none


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The differences, as `largest_differences`, and where a file was made on another processor,
    with other threads or another torch, what was there and what is here, by name."""

    checkpoint: float
    losses: float
    made_with: dict[str, tuple[str, str]]

    def __str__(self) -> str:
        other = "".join(
            f"; {name} {here}, not {there}" for name, (there, here) in self.made_with.items()
        )
        return f"S_rel and own to {self.checkpoint:.1e}, losses to {self.losses:.1e}{other}"


def verify(path: Path, device: str = "auto", progress: bool = True) -> Agreement:
    """Recompute the slice of a committed file with the present code; re-stamp it if it agrees.

    ResultError, the file left as it is, if the differences are larger than `TOLERANCE`, if the
    images at hand are not those of the file, or if the file is not to the schema. DataError for
    images that are not there.
    """
    summary = schema.load_summary(path)
    first = schema.runs_of(summary)[0]
    whole = schema.experiment_of(first["config"])
    experiment = shortened(whole, summary.sizes["slice_train_step"])
    with tempfile.TemporaryDirectory(prefix="srel-verify-") as folder:
        run = experiment.run(folder, device, progress)
    for name in ("data_checksum", "test_checksum"):
        if run.attrs[name] != first[name]:
            raise ResultError(
                f"{path.name}: the images at hand are not those it was made from ({name} "
                f"{run.attrs[name][:12]}, not {first[name][:12]}): it stays as it is"
            )
    found = Agreement(*largest_differences(summary, slice_of(run)), _made_with(first, run))
    if not (found.checkpoint <= TOLERANCE[0] and found.losses <= TOLERANCE[1]):
        raise ResultError(
            f"{path.name}: the present code gives other numbers ({found}), where {TOLERANCE[0]:g} "
            f"and {TOLERANCE[1]:g} are allowed: it stays as it is; compute it anew"
        )
    stamp = {
        "verified_code_digest": experiment.code,
        "verified_on": datetime.now(UTC).isoformat(timespec="seconds"),
        "verified_commit": commit(),
    }
    result_files.save(summary.assign_attrs(stamp), path)
    return found


def _made_with(first: Mapping[str, Any], run: "xr.Dataset") -> dict[str, tuple[str, str]]:
    pairs = {name: (str(first[name]), str(run.attrs[name])) for name in _DECIDES_ROUNDING}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
