"""The committed file of a study: what was found in each of its rows, and in each of its runs.

A row is an experiment, its runs differ in their seed alone. `VARIABLES` is the schema, all float32;
one with an interval has, beside it, NAME_interval (bound, …). Attributes are those of any committed
result, `code_digest` that of all its experiments together.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from srel_core.book.committed.files import committed_dir, runs_of
from srel_core.book.committed.schema import (
    Variable,
    fault_of_bounds,
    fault_of_names,
    fault_of_runs,
)
from srel_core.experiments import result_files
from srel_core.experiments.result_files import ResultError

if TYPE_CHECKING:
    import xarray as xr

KIND = "class_srel_study"
PAIRS = ("same", "other")

_CELL = ("rule", "divergence", "epoch")
_SHARE = (0, 1)
VARIABLES: Mapping[str, Variable] = MappingProxyType(
    {
        "auc": Variable(
            ("row", *_CELL), "same-class AUC, mean over the checkpoints of an epoch", True, _SHARE
        ),
        "preference": Variable(
            ("aggregate", "row", *_CELL),
            "same / other of the means over the checkpoints of an epoch", True,
        ),
        "run_auc": Variable(("run", *_CELL), "the same AUC of each run", within=_SHARE),
        "undefined": Variable(("run", *_CELL), "fraction of samples with own = 0", within=_SHARE),
        "own_median": Variable(("run", *_CELL), "median of own over samples"),
        "raises_loss": Variable(
            ("run", "rule", "pair", "epoch"),
            "share of pairs at which the step raises the loss of the probe", within=_SHARE,
        ),
        "train_accuracy": Variable(
            ("run", "epoch"), "mean over the batches of an epoch", within=_SHARE
        ),
        "test_accuracy": Variable(("run", "epoch"), "after the epoch", within=_SHARE),
        "slice_own": Variable(("run", "rule", "divergence"), "first checkpoint: mean of own"),
        "slice_auc": Variable(
            ("run", "rule", "divergence"), "first checkpoint: same-class AUC", within=_SHARE
        ),
        "slice_loss": Variable(("run",), "mean training loss of the first epoch"),
    }
)  # fmt: skip
_COORDINATES = (
    "row", "rule", "divergence", "epoch", "aggregate", "bound", "pair", "row_of_run", "seed",
)  # fmt: skip


def path_of(name: str, folder: str | Path | None = None) -> Path:
    """Where the committed file of a study is."""
    return committed_dir(folder) / f"study-{name}.nc"


def joint_digest(codes: Iterable[str]) -> str:
    """One digest for the code of several experiments."""
    return hashlib.sha256("\n".join(sorted(set(codes))).encode()).hexdigest()


def load(name: str, folder: str | Path | None = None) -> "xr.Dataset | None":
    """The committed file of a study, or None if there is none. ResultError if it is damaged,
    without a digest or not to the schema."""
    path = path_of(name, folder)
    return load_file(path) if path.is_file() else None


def load_all(folder: str | Path | None = None) -> "dict[str, xr.Dataset]":
    """The studies that are there, by name."""
    paths = sorted(committed_dir(folder).glob("study-*.nc"))
    return {path.stem.removeprefix("study-"): load_file(path) for path in paths}


def load_file(path: Path) -> "xr.Dataset":
    """The file at `path`; errors as for `load`."""
    dataset = result_files.load(path)
    check(dataset, path.name)
    return dataset


def check(dataset: "xr.Dataset", name: str) -> None:
    """ResultError, in one line, unless this is a study to the schema, whose rows are the means of
    their runs."""
    fault = _fault_of_form(dataset) or fault_of_bounds(dataset, VARIABLES)
    if fault := fault or _fault_of_rows(dataset):
        raise ResultError(f"{name} does not keep to the schema: {fault}")


def _fault_of_form(dataset: "xr.Dataset") -> str:
    if fault := fault_of_names(dataset, KIND, VARIABLES, _COORDINATES):
        return fault
    if {*dataset.row.values.tolist()} != {*dataset.row_of_run.values.tolist()}:
        return "its rows are not those of its runs"
    if dataset.bound.values.tolist() != ["low", "high"] or dataset.pair.values.tolist() != [*PAIRS]:
        return "its bounds or pairs have other names"
    return fault_of_runs(dataset, dataset.sizes["run"])


def _fault_of_rows(dataset: "xr.Dataset") -> str:
    if dataset.attrs["code_digest"] != joint_digest(r["code_digest"] for r in runs_of(dataset)):
        return "its code_digest is not that of its runs"
    for row in dataset.row.values:
        of_runs = dataset.run_auc.isel(run=np.flatnonzero(dataset.row_of_run.values == row))
        if not np.allclose(of_runs.mean("run"), dataset.auc.sel(row=row), 1e-5, 1e-6):
            return f"auc of {row} is not the mean of its runs"
    return ""
