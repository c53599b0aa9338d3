"""The committed results: for each data set one small file of class-level results over all seeds.

`VARIABLES` is the schema. Every variable is float32; one with an interval has, beside it,
NAME_interval (bound, …). The attributes are those of any result
(`srel_core.experiments.result_files`), with the attributes of each seed's own run in `runs`, as
JSON, and, once `srel verify` has recomputed a part of the file, `verified_code_digest`,
`verified_on` and `verified_commit`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from srel_core.book.published.ladder import LADDERS
from srel_core.experiments import result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.training import Schedule
from srel_core.statistics.by_class import Reduce

if TYPE_CHECKING:
    import xarray as xr

KIND = "class_srel_summary"
DATASETS = ("cifar10", "cifar100", "svhn")
"""The published data sets: each has a row in every table, with or without results."""

AGGREGATES: tuple[Reduce, ...] = ("mean", "ratio_of_means", "median")
_RUN_ATTRIBUTES = (
    "config", "code_digest", "created", "commit", "device", "threads", "wall_seconds",
    "data_source", "data_checksum", "test_checksum", "python", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """What the file holds under a name: its dimensions, in words what it is, and whether an
    interval stands beside it."""

    dims: tuple[str, ...]
    meaning: str
    interval: bool = False


_CELL = ("rule", "divergence", "step")
_EPOCH = ("rule", "divergence", "epoch")
_MATRIX = ("probe_class", "sample_class")
_SUMMARY = {
    "matrix": Variable(("aggregate", *_CELL, *_MATRIX), "class matrix S[c', c]", True),
    "preference": Variable(("aggregate", *_CELL), "same / other", True),
    "epoch_preference": Variable(
        ("aggregate", *_EPOCH), "same / other of the means over the checkpoints of an epoch", True
    ),
    "auc": Variable(_CELL, "same-class AUC", True),
    "epoch_auc": Variable(_EPOCH, "same-class AUC, mean over the checkpoints of an epoch", True),
    "auc_gain": Variable(_EPOCH, "epoch_auc less that of l2_logits, paired", True),
    "undefined": Variable(_CELL, "fraction of samples with own = 0"),
    "in_float64": Variable(("rule", "step"), "fraction of samples measured in float64"),
    "own_median": Variable(("seed", *_CELL), "median of own over samples"),
    "limit_distance": Variable(
        ("seed", "quantile", *_CELL),
        "quantiles over pairs of |log(S_rel / S_rel in the tangent limit)|",
    ),
}
_PUBLISHED = {
    "published_curve": Variable(
        ("definition", "step", *_MATRIX), "class curve as the notebooks compute it, mean over seeds"
    ),
    "published_same": Variable(("definition", "seed", "epoch"), "as the notebooks compute it"),
    "published_other": Variable(("definition", "seed", "epoch"), "as the notebooks compute it"),
    "still_same": Variable(("seed", "epoch"), "published class-based, of a step that does nothing"),
    "still_other": Variable(
        ("seed", "epoch"), "published class-based, of a step that does nothing"
    ),
    "rank_correlation": Variable(
        ("seed", "epoch"), "fresh Adam: published class-based quantity with KL, over probes"
    ),
    "step_part_same": Variable(("seed", "epoch"), "fresh Adam: what the step adds to the former"),
    "step_part_other": Variable(("seed", "epoch"), "fresh Adam: what the step adds to the former"),
    "kl_same": Variable(("seed", "epoch"), "fresh Adam: mean KL at probes of the sample's class"),
    "kl_other": Variable(("seed", "epoch"), "fresh Adam: mean KL at probes of other classes"),
    "published_gain": Variable(
        ("epoch",), "preference as published: class-based over original, paired", True
    ),
}
_LEARNING = {
    f"{split}_{quantity}": Variable(("seed", "epoch"), f"{split} {quantity}")
    for split in ("train", "test")
    for quantity in ("loss", "accuracy")
}
_SLICE = {
    "slice_own": Variable(
        ("rule", "divergence", "sample_class"),
        "first seed, first checkpoint: mean of own over the samples of a class",
    ),
    "slice_matrix": Variable(
        ("rule", "divergence", *_MATRIX), "first seed, first checkpoint: ratio of means"
    ),
    "slice_train_loss": Variable(("slice_train_step",), "first seed: training loss of each batch"),
}


def _ladder(definition: str) -> dict[str, Variable]:
    by = (rung_dim(definition),)
    found = {"undefined": Variable((*by, "step"), "fraction of samples with own = 0")}
    for prefix, along in (("", "step"), ("epoch_", "epoch")):
        found |= {
            f"{prefix}{name}": Variable(
                (*by, along), f"{name}, as srel_core.book.published.ladder", True
            )
            for name in ("same", "other", "preference")
        }
    return {ladder_name(definition, name): kept for name, kept in found.items()}


def ladder_name(definition: str, name: str) -> str:
    """A variable of a ladder goes by this name in the file."""
    return f"{definition.replace('-', '_')}_{name}"


def rung_dim(definition: str) -> str:
    return ladder_name(definition, "rung")


_ALL = _SUMMARY | _PUBLISHED | _LEARNING | _SLICE
for _definition in LADDERS:
    _ALL |= _ladder(_definition)
VARIABLES: Mapping[str, Variable] = MappingProxyType(_ALL)

_COORDINATES = (
    "aggregate", "rule", "divergence", "step", "epoch", "seed", "bound", "definition", "quantile",
    *_MATRIX, "slice_train_step", "epoch_of_step",
    *(ladder_name(d, name) for d in LADDERS for name in ("rung", "change", "after")),
)  # fmt: skip


def check(dataset: "xr.Dataset", name: str = "the summary") -> None:
    """ResultError, in one line, unless this is a summary that keeps to the schema."""
    expected = {n: v.dims for n, v in VARIABLES.items()}
    expected |= {f"{n}_interval": ("bound", *v.dims) for n, v in VARIABLES.items() if v.interval}
    fault = ""
    if dataset.attrs.get("kind") != KIND:
        fault = f"its kind is {dataset.attrs.get('kind')!r}, not {KIND!r}"
    elif names := sorted(set(map(str, dataset.data_vars)) ^ set(expected)):
        fault = f"{names[0]} is {'missing' if names[0] in expected else 'not in the schema'}"
    elif missing := [c for c in _COORDINATES if c not in dataset.coords]:
        fault = f"the coordinate {missing[0]} is missing"
    for variable, dims in expected.items():
        if not fault and dataset[variable].dims != dims:
            fault = f"{variable} has dimensions {dataset[variable].dims}, not {dims}"
        elif not fault and dataset[variable].dtype != np.float32:
            fault = f"{variable} is {dataset[variable].dtype}, not float32"
    if not fault:
        runs = json.loads(dataset.attrs.get("runs", "[]"))
        lacking = [a for run in runs for a in _RUN_ATTRIBUTES if a not in run]
        if lacking or len(runs) != dataset.sizes["seed"]:
            fault = f"`runs` must give {', '.join(_RUN_ATTRIBUTES)} of each seed"
    if fault:
        raise result_files.ResultError(f"{name} does not keep to the schema: {fault}")


def committed_dir(given: str | Path | None = None) -> Path:
    """`given`, else results/ in the book's folder, the nearest above that holds a `_toc.yml`."""
    if given:
        return Path(given).expanduser()
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "_toc.yml").is_file():
            return folder / "results"
    raise result_files.ResultError("no book here, so no results/: name the folder to use")


def file_name(dataset: str) -> str:
    return f"class_srel-{dataset}.nc"


def load_summary(path: Path) -> "xr.Dataset":
    """A summary, whole. ResultError if it is absent, damaged, or not to the schema."""
    dataset = result_files.load(path)
    check(dataset, path.name)
    return dataset


def load_all(folder: str | Path | None = None) -> dict[str, "xr.Dataset"]:
    """The summaries that are there, by data set, in the order of `DATASETS`."""
    place = committed_dir(folder)
    paths = {dataset: place / file_name(dataset) for dataset in DATASETS}
    return {dataset: load_summary(path) for dataset, path in paths.items() if path.is_file()}


def runs_of(summary: "xr.Dataset") -> list[dict[str, Any]]:
    """The attributes of each seed's run, its config parsed."""
    runs = json.loads(summary.attrs["runs"])
    return [{**run, "config": json.loads(run["config"])} for run in runs]


def experiment_of(config: dict[str, Any]) -> ClassExperiment:
    """The experiment that a run's parsed config describes."""
    fields = {f.name for f in dataclasses.fields(ClassExperiment)}
    if set(config) != fields:
        name = sorted(set(config) ^ fields)[0]
        raise result_files.ResultError(
            f"this config is of another version of srel_core: see {name!r}"
        )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
    }
    return ClassExperiment(**given | {"schedule": Schedule(**config["schedule"])})


def present_code(summary: "xr.Dataset") -> str:
    """The digest of the code that a summary's experiment would run on now; "" if there is no such
    experiment any more."""
    try:
        return experiment_of(runs_of(summary)[0]["config"]).code
    except (result_files.ResultError, ValueError):
        return ""


Standing = Literal["current", "verified", "stale"]


def standing(summary: "xr.Dataset") -> Standing:
    """ "current": made by the present code; "verified": that code has recomputed a part of it with
    the same outcome; "stale": neither."""
    attributes, code = summary.attrs, present_code(summary)
    if attributes["code_digest"] == code:
        return "current"
    return "verified" if attributes.get("verified_code_digest") == code else "stale"


def ladder_in(summary: "xr.Dataset", definition: str) -> "xr.Dataset":
    """One ladder out of a summary, under the names that `srel_core.book.published.ladder.ladder`
    gives it."""
    prefix = ladder_name(definition, "")
    names = [str(n) for n in summary.variables if str(n).startswith(prefix)]
    part = summary[[*names, "step", "epoch", "bound"]]
    return part.rename({name: name.removeprefix(prefix) for name in names})
