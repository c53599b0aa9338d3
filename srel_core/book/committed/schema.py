"""The committed results: for each data set one small file of class-level results over all seeds.

`VARIABLES` is the schema. Every variable is float32; one with an interval has, beside it,
NAME_interval (bound, …). The attributes are those of any result
(`srel_core.experiments.result_files`), with the attributes of each seed's own run in `runs`, as
JSON, and, once `srel verify` has recomputed a part of the file, `verified_code_digest`,
`verified_on` and `verified_commit`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.published.numbers import DEFINITIONS
from srel_core.experiments import result_files
from srel_core.statistics.by_class import Reduce

if TYPE_CHECKING:
    import xarray as xr

KIND = "class_srel_summary"

AGGREGATES: tuple[Reduce, ...] = ("mean", "ratio_of_means", "median")
_RUN_ATTRIBUTES = (
    "config", "code_digest", "created", "commit", "device", "threads",
    "data_source", "data_checksum", "test_checksum", "python", "torch",
)  # fmt: skip
# What the tables of the book tell of a config.
_SETTINGS = ("dataset", "seed", "images_per_class", "probes_per_class")
_OF_THE_SCHEDULE = ("epochs", "batch_size")


@dataclass(frozen=True)
class Variable:
    """What the file holds under a name: its dimensions, in words what it is, whether an interval
    stands beside it, and between what bounds its values lie, all finite."""

    dims: tuple[str, ...]
    meaning: str
    interval: bool = False
    within: tuple[float, float] = (0, np.inf)


def as_kept(dataset: "xr.Dataset", name: str, variables: Mapping[str, Variable]) -> "xr.DataArray":
    """A variable as a schema has it, or its interval, whose first dimension is `bound`. A bound
    beyond single precision, as few runs can give it, is the largest number there is."""
    kept = variables[name.removesuffix("_interval")]
    bound, of = (("bound",), "interval: ") if name.endswith("_interval") else ((), "")
    largest = float(np.finfo(np.float32).max)
    values = dataset[name].transpose(*bound, *kept.dims).clip(-largest, largest)
    return values.astype(np.float32).assign_attrs(long_name=of + kept.meaning)


_SHARE = (0, 1)
_SIGNED = (-1, 1)


_CELL = ("rule", "divergence", "step")
_EPOCH = ("rule", "divergence", "epoch")
CLASS_DIMS = _MATRIX = ("probe_class", "sample_class")
_SUMMARY = {
    "matrix": Variable(("aggregate", *_CELL, *_MATRIX), "class matrix S[c', c]", True),
    "preference": Variable(("aggregate", *_CELL), "same / other", True),
    "epoch_preference": Variable(
        ("aggregate", *_EPOCH), "same / other of the means over the checkpoints of an epoch", True
    ),
    "auc": Variable(_CELL, "same-class AUC", True, _SHARE),
    "epoch_auc": Variable(
        _EPOCH, "same-class AUC, mean over the checkpoints of an epoch", True, _SHARE
    ),
    "auc_gain": Variable(_EPOCH, "epoch_auc less that of l2_logits, paired", True, _SIGNED),
    "undefined": Variable(_CELL, "fraction of samples with own = 0", within=_SHARE),
    "in_float64": Variable(
        ("rule", "step"), "fraction of samples measured in float64", within=_SHARE
    ),
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
        ("seed", "epoch"),
        "fresh Adam: published class-based quantity with KL, over probes",
        within=_SIGNED,
    ),
    "step_part_same": Variable(
        ("seed", "epoch"), "fresh Adam: what the step adds to the former", within=_SIGNED
    ),
    "step_part_other": Variable(
        ("seed", "epoch"), "fresh Adam: what the step adds to the former", within=_SIGNED
    ),
    "kl_same": Variable(("seed", "epoch"), "fresh Adam: mean KL at probes of the sample's class"),
    "kl_other": Variable(("seed", "epoch"), "fresh Adam: mean KL at probes of other classes"),
    "published_gain": Variable(
        ("epoch",), "preference as published: class-based over original, paired", True
    ),
}
_LEARNING = {
    f"{split}_{quantity}": Variable(("seed", "epoch"), f"{split} {quantity}", within=within)
    for split in ("train", "test")
    for quantity, within in (("loss", (0, np.inf)), ("accuracy", _SHARE))
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


_RUNGS = {
    "rung_undefined": Variable(("rung", "step"), "fraction of samples with own = 0", within=_SHARE)
}
for _prefix, _along in (("", "step"), ("epoch_", "epoch")):
    _RUNGS |= {
        f"rung_{_prefix}{_name}": Variable(
            ("rung", _along), f"{_name}, as srel_core.book.published.ladder", True
        )
        for _name in ("same", "other", "preference")
    }
VARIABLES: Mapping[str, Variable] = MappingProxyType(
    _SUMMARY | _PUBLISHED | _LEARNING | _SLICE | _RUNGS
)

_COORDINATES = (
    "aggregate", "rule", "divergence", "step", "epoch", "seed", "bound", "definition", "quantile",
    *_MATRIX, "slice_train_step", "epoch_of_step",
    "rung", "ladder", "change", "after",
)  # fmt: skip


# What is looked up by name.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "aggregate": AGGREGATES, "rule": ("adam:1e-4", "sgd:1e-4", "tangent"), "bound": ("low", "high"),
    "divergence": ("kl", "l2_logits"), "definition": DEFINITIONS,
}  # fmt: skip


def check(dataset: "xr.Dataset", name: str = "the summary") -> None:
    """ResultError, in one line, unless this is a summary that keeps to the schema, with numbers
    that can be what they are said to be."""
    fault = _fault_of_form(dataset) or fault_of_bounds(dataset, VARIABLES)
    if fault:
        raise result_files.ResultError(f"{name} does not keep to the schema: {fault}")


def fault_of_names(
    dataset: "xr.Dataset", kind: str, variables: Mapping[str, Variable], coordinates: Iterable[str]
) -> str:
    """Which kind, variable or coordinate is not as a schema has it, in words; "" if all are."""
    if dataset.attrs.get("kind") != kind:
        return f"its kind is {dataset.attrs.get('kind')!r}, not {kind!r}"
    expected = {n: v.dims for n, v in variables.items()}
    expected |= {f"{n}_interval": ("bound", *v.dims) for n, v in variables.items() if v.interval}
    if names := sorted(set(map(str, dataset.data_vars)) ^ set(expected)):
        return f"{names[0]} is {'missing' if names[0] in expected else 'not in the schema'}"
    if missing := [c for c in coordinates if c not in dataset.coords]:
        return f"the coordinate {missing[0]} is missing"
    for variable, dims in expected.items():
        if dataset[variable].dims != dims:
            return f"{variable} has dimensions {dataset[variable].dims}, not {dims}"
        if dataset[variable].dtype != np.float32:
            return f"{variable} is {dataset[variable].dtype}, not float32"
    return ""


def _fault_of_form(dataset: "xr.Dataset") -> str:
    if fault := fault_of_names(dataset, KIND, VARIABLES, _COORDINATES):
        return fault
    for coordinate, wanted in _NAMES.items():
        if lacking := [n for n in wanted if n not in dataset[coordinate].values.tolist()]:
            return f"the coordinate {coordinate} has no {lacking[0]!r}"
    lowest = dataset.ladder.values[dataset.rung.values == "as published"].tolist()
    if {*lowest} != {*DEFINITIONS}:
        return f"a rung 'as published' is expected in the ladder of {' and '.join(DEFINITIONS)}"
    return fault_of_runs(dataset, dataset.sizes["seed"])


def fault_of_runs(dataset: "xr.Dataset", number: int) -> str:
    """In what the attribute `runs` is not that of so many runs; "" if it is."""
    runs = parsed(dataset.attrs.get("runs"))
    if not isinstance(runs, list) or len(runs) != number:
        return f"`runs` must give {', '.join(_RUN_ATTRIBUTES)} and wall_seconds of each run"
    return next(filter(None, map(_fault_of_run, runs)), "")


def _fault_of_run(run: Any) -> str:
    if not isinstance(run, dict):
        return "`runs` must give the attributes of each seed's run by name"
    if lacking := [name for name in _RUN_ATTRIBUTES if not isinstance(run.get(name), str)]:
        return f"`runs` must give the {lacking[0]} of each run as text"
    seconds = run.get("wall_seconds")
    if not isinstance(seconds, int | float) or not 0 <= seconds < np.inf:
        return "`runs` must give the wall_seconds of each run as a number"
    config = parsed(run["config"])
    schedule = config.get("schedule") if isinstance(config, dict) else None
    if not isinstance(schedule, dict) or not {*_OF_THE_SCHEDULE} <= {*schedule}:
        return f"the config of each run must have a schedule with {', '.join(_OF_THE_SCHEDULE)}"
    if lacking := [name for name in _SETTINGS if name not in config]:
        return f"the config of each run must have {lacking[0]}"
    return ""


def parsed(text: object) -> Any:
    """What a JSON text says; None for what is none."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def fault_of_bounds(dataset: "xr.Dataset", variables: Mapping[str, Variable]) -> str:
    """Which number is none that it can be, in words; "" if there is no such.

    An interval need not hold its estimate: that of a bootstrap with few runs may not.
    """
    for name, variable in variables.items():
        low, high = variable.within
        for held in (name, f"{name}_interval")[: 1 + variable.interval]:
            values = dataset[held].values
            if not np.isfinite(values).all():
                return f"{held} is not finite everywhere"
            if not ((low <= values) & (values <= high)).all():
                return f"{held} does not lie within [{low:g}, {high:g}] everywhere"
        if variable.interval:
            below, above = dataset[f"{name}_interval"].sel(bound=["low", "high"]).values
            if not (below <= above).all():
                return f"the lower bound of {name}_interval lies above the upper one"
    return ""
