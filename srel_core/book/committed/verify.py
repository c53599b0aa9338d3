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

from srel_core.book.committed import files, standing
from srel_core.book.committed.first_epoch import largest_differences, slice_of
from srel_core.experiments import result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.provenance import commit
from srel_core.experiments.result_files import ResultError

if TYPE_CHECKING:
    import xarray as xr

TOLERANCE = (1e-3, 1e-1)
"""Largest relative difference: of own and the class matrix, and of a batch's loss."""


_DECIDES_ROUNDING = ("device", "threads", "torch")


def shortened(experiment: ClassExperiment, steps_per_epoch: int) -> ClassExperiment:
    """The experiment's first epoch, measured after its first step alone."""
    schedule = dataclasses.replace(experiment.schedule, epochs=1, measure_every=steps_per_epoch)
    return dataclasses.replace(experiment, schedule=schedule)


@dataclasses.dataclass(frozen=True)
class Recomputed:
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


def verify(path: Path, device: str = "auto", progress: bool = True) -> Recomputed:
    """Recompute the slice of a committed file with the present code; re-stamp it if it agrees.

    ResultError, the file left as it is, if the differences are larger than `TOLERANCE`, if the
    images at hand are not those of the file, or if the file is not to the schema. DataError for
    images that are not there.
    """
    summary = files.load_summary(path)
    first = files.runs_of(summary)[0]
    whole = standing.experiment_of(first["config"])
    experiment = shortened(whole, summary.sizes["slice_train_step"])
    with tempfile.TemporaryDirectory(prefix="srel-verify-") as folder:
        run = experiment.run(folder, device, progress)
    for name in ("data_checksum", "test_checksum"):
        if run.attrs[name] != first[name]:
            raise ResultError(
                f"{path.name}: the images at hand are not those it was made from ({name} "
                f"{run.attrs[name][:12]}, not {first[name][:12]}): it stays as it is"
            )
    found = Recomputed(*largest_differences(summary, slice_of(run)), _made_with(first, run))
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
