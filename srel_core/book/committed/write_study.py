"""From the kept runs of a study to its committed file, and one of them again to verify it."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.committed import study_file
from srel_core.book.committed.files import refuse_changes, runs_of
from srel_core.book.committed.first_epoch import shortened
from srel_core.book.committed.schema import AGGREGATES, CLASS_DIMS, as_kept
from srel_core.book.committed.standing import experiment_of, present_code, standing
from srel_core.book.committed.study_file import KIND, PAIRS, VARIABLES
from srel_core.book.committed.write import attributes_of, check_alike, kept_runs, run_at
from srel_core.experiments import provenance, result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.loss_changes import share_that_rises
from srel_core.experiments.result_files import ResultError
from srel_core.experiments.studies import study
from srel_core.statistics.by_class import Array, same_class_auc
from srel_core.statistics.class_summary import class_summary, learning_curves
from srel_core.statistics.intervals import mean_over_epochs

if TYPE_CHECKING:
    import xarray as xr

LEVEL = 0.95


def study_of(
    name: str, rows: "Mapping[str, Sequence[xr.Dataset]]", n_resamples: int = 500
) -> "xr.Dataset":
    """All that the file of a study holds, from the results of its runs, by row.

    ValueError for runs of a row that differ in more than their seed, or rows that do not have the
    same rules, divergences and epochs.
    """
    import xarray as xr

    of_rows = []
    for row, runs in rows.items():
        check_alike(runs)
        found = class_summary(runs, reduce=AGGREGATES, n_resamples=n_resamples, level=LEVEL)
        kept = {f"{n}{i}": found[f"epoch_{n}{i}"] for n in ("auc", "preference")
                for i in ("", "_interval")}  # fmt: skip
        of_rows.append(xr.Dataset(kept).expand_dims(row=[row]))
    runs = [run for of_row in rows.values() for run in of_row]
    whole = xr.merge(
        [
            xr.concat(of_rows, "row", join="exact").drop_attrs(),
            xr.concat([_of_run(run) for run in runs], "run", join="exact"),
        ],
        join="exact",
        compat="equals",
    )
    dataset = xr.Dataset(
        {n: as_kept(whole, n, VARIABLES) for n in map(str, whole.data_vars)},
        whole.drop_vars(CLASS_DIMS, errors="ignore").coords,
        _attributes(name, [run.attrs for run in runs]),
    ).assign_coords(
        row_of_run=("run", [row for row, of_row in rows.items() for _ in of_row]),
        seed=("run", [int(json.loads(run.attrs["config"])["seed"]) for run in runs]),
    )
    study_file.check(dataset, name)
    return dataset


def _of_run(run: "xr.Dataset") -> "xr.Dataset":
    """What the file holds of one run, without the dimension of the runs."""
    import xarray as xr

    own = run.own.transpose("rule", "divergence", "step", "sample").values
    by_step = {
        "run_auc": _aucs(run), "undefined": (own == 0).mean(-1), "own_median": np.median(own, -1)
    }  # fmt: skip
    cell = ("rule", "divergence", "epoch")
    rises = np.stack([share_that_rises(run, str(rule)) for rule in run.rule.values])
    curves = learning_curves([run]).isel(seed=0)
    first_epoch = run.train_loss.values[: run.sizes["train_step"] // run.sizes["epoch"]]
    return xr.Dataset(
        {
            **{n: (cell, mean_over_epochs(run, values, 2)) for n, values in by_step.items()},
            "raises_loss": (("rule", "pair", "epoch"), mean_over_epochs(run, rises, 2)),
            "train_accuracy": curves.train_accuracy, "test_accuracy": curves.test_accuracy,
            "slice_own": (cell[:2], own[:, :, 0].mean(-1)),
            "slice_auc": (cell[:2], by_step["run_auc"][:, :, 0]),
            "slice_loss": first_epoch.mean(),
        },
        {"rule": run.rule.values, "divergence": run.divergence.values, "epoch": run.epoch.values,
         "pair": list(PAIRS)},
    )  # fmt: skip


def _aucs(run: "xr.Dataset") -> Array:
    """(rule, divergence, step)."""
    labels = run.probe_class.values, run.sample_class.values
    change = run.change.transpose("rule", "divergence", "step", "probe", "sample").values
    found = np.empty(change.shape[:3])
    for cell in np.ndindex(found.shape):
        auc = same_class_auc(change[cell], *labels, exclude=run.same_input.values)
        found[cell] = np.nanmean(auc)
    return found


def _attributes(name: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    joint = study_file.joint_digest(run["code_digest"] for run in runs)
    config = json.dumps({"study": name})
    return attributes_of(runs, LEVEL) | {"kind": KIND, "config": config, "code_digest": joint}


def require_room(
    name: str,
    wanted: Sequence[str],
    results_dir: str | Path | None = None,
    folder: str | Path | None = None,
) -> None:
    """ResultError if `write` will not add these rows of a study to those that its file has, as
    other code has made it; to be asked before hours are spent on the rows."""
    there = study_file.load(name, folder)
    if there is not None:
        others = {row: of for row, of in study(name).rows.items() if row not in wanted}
        _, missing = _kept(others, results_dir)
        _require_present_code(there, missing)


def _require_present_code(there: "xr.Dataset", missing: Mapping[str, str]) -> list[str]:
    """The rows of a file that stay in it, as they lack their runs. ResultError if other code has
    made them."""
    stay = [row for row in there.row.values.tolist() if row in missing]
    if stay and standing(there) == "stale":
        raise ResultError(
            f"the rows {'; '.join(stay)} stand in a file that other code has made: srel verify "
            "it first, or compute them anew"
        )
    return stay


def _kept(
    rows: Mapping[str, Sequence[ClassExperiment]], results_dir: str | Path | None
) -> "tuple[dict[str, list[xr.Dataset]], dict[str, str]]":
    """The runs of each row of which all are kept whole; the others, and what each lacks."""
    kept, missing = {}, {}
    for row, experiments in rows.items():
        try:
            kept[row] = [run_at(path) for path in kept_runs(experiments, results_dir)]
        except ResultError as error:
            missing[row] = f"{row} ({error})"
    return kept, missing


def write(
    name: str,
    results_dir: str | Path | None = None,
    folder: str | Path | None = None,
    commit: str | None = None,
) -> tuple[Path, list[str]]:
    """Write the committed file of a study from its kept runs: its path, and which rows it lacks
    because some of their runs are not kept, each with its seeds. A row that is in the file already
    and lacks its runs here stays as it is there.

    commit: as for `srel_core.book.committed.write.write_summary`. ResultError if no row is
    whole, or if rows cannot be added to those that are there.
    """
    of_study = study(name).rows
    rows, missing = _kept(of_study, results_dir)
    if not rows:
        raise ResultError(f"no row of the study {name!r} has all its runs: srel study {name}")
    commits = [run.attrs["commit"] for runs in rows.values() for run in runs]
    refuse_changes([commit or provenance.commit(), *commits])
    found, path = study_of(name, rows), study_file.path_of(name, folder)
    there = study_file.load(name, folder)
    stay = [] if there is None else _require_present_code(there, missing)
    if there is not None and stay:
        place = {row: there if row in stay else found for row in of_study if row in {*stay, *rows}}
        found = _joined(name, place, there, found)
    result_files.save(found, path)
    return path, [said for row, said in missing.items() if row not in stay]


def _joined(
    name: str, place: "Mapping[str, xr.Dataset]", there: "xr.Dataset", found: "xr.Dataset"
) -> "xr.Dataset":
    """One file of these rows, each out of its `place`: the file that is there, or what is found."""
    import xarray as xr

    of_rows, of_runs, runs = [], [], []
    for row, file in place.items():
        at = np.flatnonzero(file.row_of_run.values == row)
        of_rows.append(file.sel(row=[row]).drop_dims("run"))
        of_runs.append(file.isel(run=at).drop_dims("row"))
        runs += [run for i, run in enumerate(json.loads(file.attrs["runs"])) if i in at]
    try:
        parts = xr.concat(of_rows, "row", join="exact"), xr.concat(of_runs, "run", join="exact")
    except ValueError as error:
        stay = [row for row, file in place.items() if file is there]
        raise ResultError(
            f"the rows {'; '.join(stay)} have other rules, divergences or epochs than "
            "those added to them: compute them anew"
        ) from error
    # Read from a file, names keep the length that they had there, which others may exceed.
    whole = xr.merge(parts, join="exact").drop_encoding()
    whole.attrs = _attributes(name, runs)
    stamp = {n: v for n, v in there.attrs.items() if n.startswith("verified_")}
    if stamp and standing(found) == "current":
        # Of what it has verified, and of what it has made: for both the present code vouches.
        whole.attrs |= stamp | {"verified_code_digest": present_code(whole)}
    study_file.check(whole, name)
    return whole


# Largest difference of own and of the loss, relative, and of the AUC: see `first_epoch`.
TOLERANCES = {"slice_own": 1e-3, "slice_auc": 1e-2, "slice_loss": 1e-1}


def first_epoch_again(
    committed: "xr.Dataset", code: str, device: str, progress: bool
) -> tuple[int, dict[str, float], dict[str, Any]]:
    """The first epoch of one run again, which the digest of the present code chooses: which one it
    is, the largest differences from the file, and the attributes of the new run.

    Of those trained by Adam: another's learning rate depends on how long it trains.
    """
    candidates = [
        (hashlib.sha256((code + e.config).encode()).digest(), index, e)
        for index, e in enumerate(experiment_of(run["config"]) for run in runs_of(committed))
        if e.schedule.optimizer == "adam"
    ]
    if not candidates:
        raise ResultError("it has no run that was trained by Adam, and only such can be verified")
    _, index, experiment = min(candidates)
    with tempfile.TemporaryDirectory(prefix="srel-verify-") as folder:
        run = shortened(experiment).run(folder, device, progress)
    again, kept = _of_run(run), committed.isel(run=index)
    apart = {}
    for name in TOLERANCES:
        new, old = (np.asarray(of[name].values, dtype=np.float64) for of in (again, kept))
        size = 1.0 if name == "slice_auc" else np.maximum(np.abs(old), np.abs(new))
        apart[name] = float(np.max(np.abs(new - old) / np.where(size > 0, size, 1)))
    return index, apart, run.attrs
