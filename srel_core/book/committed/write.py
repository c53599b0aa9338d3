"""From the kept runs of an experiment, one for each seed, to its committed file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.committed import schema
from srel_core.book.committed.files import (
    committed_dir,
    configs_of,
    file_name,
    refuse_changes,
    refuse_loss,
)
from srel_core.book.committed.first_epoch import slice_of
from srel_core.book.committed.schema import AGGREGATES, VARIABLES, as_kept
from srel_core.book.committed.standing import experiment_of
from srel_core.book.published.definitions import (
    QUANTITIES,
    published_class_curves,
    published_without_change,
)
from srel_core.book.published.ladder import ladders
from srel_core.book.published.numbers import DATASETS
from srel_core.book.published.reading import published_reading
from srel_core.experiments import provenance, result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.datasets import DataError
from srel_core.experiments.expected import class_result
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.result_files import ResultError
from srel_core.statistics import by_class
from srel_core.statistics.class_summary import class_summary, learning_curves

if TYPE_CHECKING:
    import xarray as xr

_QUANTILES = (0.5, 0.9)


def summary_of(runs: "Sequence[xr.Dataset]", n_resamples: int = 500) -> "xr.Dataset":
    """All that a committed file holds (`schema.VARIABLES`), from results of `ClassExperiment.run`
    that differ in their seed alone and hold the rules of the paper profile.

    ValueError for runs that do not belong together or lack what is needed.
    """
    import xarray as xr

    check_alike(runs)
    runs = sorted(runs, key=_seed)
    parts = [
        class_summary(runs, reduce=AGGREGATES, n_resamples=n_resamples),
        ladders(runs, n_resamples=n_resamples),
        learning_curves(runs), _as_published(runs), _of_each_run(runs), slice_of(runs[0]),
    ]  # fmt: skip
    merged = xr.merge([part.drop_attrs() for part in parts], join="exact", compat="equals")
    merged = merged.assign_coords(seed=[_seed(run) for run in runs])
    whole = xr.Dataset(
        {name: as_kept(merged, name, VARIABLES) for name in map(str, merged.data_vars)},
        merged.coords,
        attributes_of([run.attrs for run in runs]),
    )
    schema.check(whole)
    return whole


def _as_published(runs: "Sequence[xr.Dataset]") -> "xr.Dataset":
    """The published curves of each run, and those of a step that changes nothing."""
    import xarray as xr

    curves = xr.concat(
        [
            xr.concat([published_class_curves(run, d) for run in runs], "seed").drop_attrs()
            for d in QUANTITIES
        ],
        xr.Variable("definition", list(QUANTITIES)),
    )
    still = xr.concat([published_without_change(run) for run in runs], "seed")
    reading = xr.concat([published_reading(run) for run in runs], "seed")
    return reading.assign(
        published_curve=curves.curve.mean("seed"),
        published_same=curves.same, published_other=curves.other,
        still_same=still.same, still_other=still.other,
    )  # fmt: skip


def _of_each_run(runs: "Sequence[xr.Dataset]") -> "xr.Dataset":
    import xarray as xr

    cell = ("rule", "divergence", "step")
    own = [run.own.transpose(*cell, "sample").values for run in runs]
    data = {
        "in_float64": (
            ("rule", "step"),
            np.mean([run.in_float64.transpose("rule", "step", "sample") for run in runs], (0, 3)),
        ),
        "own_median": (("seed", *cell), np.median(own, -1)),
        "limit_distance": (
            ("seed", "quantile", *cell), np.stack([distance_to_limit(run) for run in runs])
        ),
    }  # fmt: skip
    coords = {d: runs[0][d].values for d in cell} | {"quantile": list(_QUANTILES)}
    return xr.Dataset(data, coords)


def distance_to_limit(run: "xr.Dataset") -> by_class.Array:
    """How far S_rel under each rule is from its tangent limit: (quantile, rule, divergence, step).

    The median and the 90 % quantile, over the pairs with x' ≠ x and a change under both, of
    |log(S_rel / S_rel in the limit)|: 0.1 is a difference of about 10 %, log 2 a factor of 2.
    """
    cell = ("rule", "divergence", "step")
    change = run.change.transpose(*cell, "probe", "sample").values
    own = run.own.transpose(*cell, "sample").values[..., None, :]
    pair = ~run.same_input.values
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = (np.log(change) - np.log(own))[..., pair]
        limit = log_ratio[[str(rule) for rule in run.rule.values].index("tangent")]
        distance = np.abs(log_ratio - limit)
    distance[~np.isfinite(distance)] = np.nan
    if np.isnan(distance).all(-1).any():
        raise ValueError("at some step no pair has a change under this rule and in the limit")
    return np.nanquantile(distance, _QUANTILES, axis=-1)


def _seed(run: "xr.Dataset") -> int:
    return int(json.loads(run.attrs["config"])["seed"])


def _without_seed(config: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(config).items() if name != "seed"}


def check_alike(runs: "Sequence[xr.Dataset]") -> None:
    """ValueError for runs that differ in more than their seed, or not in that."""
    seeds = [_seed(run) for run in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"two of these runs have the same seed: {sorted(seeds)}")
    first = runs[0].attrs
    for run in runs[1:]:
        if _without_seed(run.attrs["config"]) != _without_seed(first["config"]):
            raise ValueError("these runs differ in more than their seed: see their configs")
        for name in ("code_digest", "data_checksum"):
            if run.attrs[name] != first[name]:
                raise ValueError(f"these runs differ in their {name}: compute them anew, together")


def attributes_of(runs: Sequence[Mapping[str, Any]], level: float = 0.95) -> dict[str, Any]:
    """Of a committed file that is made from runs with these attributes."""
    first = runs[0]
    of_each = [{n: getattr(v, "item", lambda v=v: v)() for n, v in run.items()} for run in runs]
    return {
        "schema": result_files.SCHEMA,
        "kind": schema.KIND,
        "config": json.dumps(_without_seed(first["config"]), sort_keys=True),
        "code_digest": first["code_digest"],
        "commit": first["commit"],
        "created": max(run["created"] for run in runs),
        "level": level,
        "intervals": "runs, samples and probes",
        "runs": json.dumps(of_each, sort_keys=True),
    }


def kept_runs(
    experiments: Sequence[ClassExperiment], results_dir: str | Path | None = None
) -> list[Path]:
    """The kept results of these experiments, all computed by the same code: the present one if it
    has them all, else that of the newest.

    ResultError, naming the seeds and the command that computes them, if some are not there.
    """
    folder = result_files.results_dir(results_dir)
    by_code: dict[str, dict[int, tuple[str, Path]]] = {}
    for experiment in experiments:
        stem = experiment.file_name.rpartition("-")[0]
        for path in sorted(folder.glob(f"{stem}-*.nc")):
            attributes = result_files.attributes(path)
            if attributes["config"] == experiment.config:
                found = (str(attributes["created"]), path)
                by_code.setdefault(attributes["code_digest"], {})[experiment.seed] = found
    seeds = [experiment.seed for experiment in experiments]
    complete = {code: found for code, found in by_code.items() if set(found) == set(seeds)}
    if not complete:
        fullest = max(by_code.values(), key=len, default={})
        raise ResultError(
            f"{experiments[0].dataset}: not run for seeds "
            f"{', '.join(str(seed) for seed in seeds if seed not in fullest)}"
            f"{' (by one and the same code)' if len(by_code) > 1 else ''}"
        )
    present = complete.get(experiments[0].code)
    chosen = present or max(complete.values(), key=lambda found: max(found.values()))
    return [chosen[seed][1] for seed in seeds]


def write_summary(
    paths: Iterable[Path], folder: str | Path | None = None, commit: str | None = None
) -> Path:
    """Write the committed file of a data set from these kept runs; its path.

    commit: that of the code which writes; None asks git. ResultError if it has changes that are
    not committed, or a run was computed with some, or a file is no such run, or the file there has
    runs that are not among these; ValueError for runs that do not belong together.
    """
    paths = list(paths)
    runs = [run_at(path) for path in paths]
    refuse_changes([commit or provenance.commit(), *(run.attrs["commit"] for run in runs)])
    try:
        summary = summary_of(runs)
    except ValueError as error:
        raise ValueError(f"{', '.join(path.name for path in paths)}: {error}") from error
    configs = configs_of(summary)
    experiment = experiment_of(configs[0])
    images = runs[0].attrs["data_checksum"] if experiment.dataset.startswith("folder:") else ""
    path = committed_dir(folder) / file_name(experiment.name, images)
    refuse_loss(path, configs_of, configs)
    result_files.save(summary, path)
    return path


def run_at(path: Path) -> "xr.Dataset":
    """A kept run. ResultError for any other result."""
    run = result_files.load(path)
    try:
        e = experiment_of(schema.parsed(run.attrs["config"]))
    except ValueError as error:
        raise ResultError(f"{path} is no run to summarise: {error}") from error
    code = run.attrs["code_digest"]
    fault = class_result(e.config, code, e.schedule, e.rules, e.divergences).fault(run)
    if fault:
        raise ResultError(f"{path} is no run to summarise: {fault}")
    return run


def paper_summaries(
    results_dir: str | Path | None = None, device: str = "auto"
) -> "dict[str, xr.Dataset]":
    """The summaries of the paper profile from runs that are loaded or, in hours, computed; without
    the data sets whose images cannot be had."""
    found = {}
    for dataset in DATASETS:
        try:
            runs = [e.run(results_dir, device) for e in class_experiments("paper", dataset)]
        except DataError:
            continue
        found[dataset] = summary_of(runs)
    return found
