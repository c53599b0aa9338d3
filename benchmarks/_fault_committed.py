"""Faults of the committed files: forged ones, with a digest of what they now hold."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from _fault_table import Outcome, Tally

from srel_core.book.committed import regression_file, schema
from srel_core.book.committed.consistency import contradiction
from srel_core.book.committed.standing import committed_at
from srel_core.experiments import netcdf, result_files
from srel_core.experiments.files import ResultError

RESULTS = Path(__file__).parents[1] / "results"
Change = Callable[[xr.Dataset], xr.Dataset]


def tallies(folder: Path) -> list[Tally]:
    """All forgeries, tried in a folder."""
    name = "class_srel-cifar10.nc"
    return [
        _tried(folder, "the committed class_srel-cifar10.nc: forged, with its digest", name, CLASS),
        _tried(folder, "the committed regression.nc: forged, with its digest", "regression.nc",
               REGRESSION),
        _undigested(folder),
    ]  # fmt: skip


def _tried(folder: Path, fault: str, name: str, changes: dict[str, Change]) -> Tally:
    whole, tally = result_files.load(RESULTS / name), Tally(fault)
    for words, change in changes.items():
        result_files.save(change(whole), folder / name)
        tally.add(_vouched_for(folder / name), words)
    return tally


def _undigested(folder: Path) -> Tally:
    tally = Tally("a committed file without its digest")
    for path in RESULTS.glob("*.nc"):
        (folder / path.name).write_bytes(netcdf.encode(result_files.load(path)).getvalue())
        tally.add(_vouched_for(folder / path.name), path.name)
    return tally


def _vouched_for(path: Path) -> Outcome:
    """As `srel verify` looks at the whole of a file, before it computes a part of it anew."""
    try:
        committed = committed_at(path)
        if committed.attrs["kind"] == schema.KIND and contradiction(committed):
            return "refused"
    except ResultError as error:
        return "refused" if path.name in str(error) else "silent"
    return "silent"


def _values(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def changed(whole: xr.Dataset) -> xr.Dataset:
        values = change(whole[name].values.copy())
        return whole.assign({name: (whole[name].dims, values.astype(whole[name].dtype))})

    return changed


def _run(**attributes: object) -> Change:
    def changed(whole: xr.Dataset) -> xr.Dataset:
        runs = json.loads(whole.attrs["runs"])
        runs[0] |= attributes
        return whole.assign_attrs(runs=json.dumps(runs))

    return changed


def _last(values: np.ndarray, value: float) -> np.ndarray:
    values[..., -1] = value
    return values


CLASS: dict[str, Change] = {
    f"{name} all 42": _values(name, lambda v: np.full_like(v, 42))
    for name in ("preference", "epoch_preference", "matrix", "rung_same", "rung_epoch_same",
                 "rung_preference", "rung_epoch_preference", "published_same", "published_curve",
                 "published_gain", "auc", "epoch_auc", "auc_gain")
} | {
    f"{name}_interval upside down": _values(f"{name}_interval", lambda v: v[::-1])
    for name in ("preference", "auc", "epoch_auc", "auc_gain", "rung_preference", "matrix")
} | {
    "a NaN interval": _values("epoch_auc_interval", lambda v: _last(v, np.nan)),
    "one value": _values("epoch_auc", lambda v: _last(v, 0.99)),
    "infinite": _values("own_median", lambda v: _last(v, np.inf)),
    "below 0": _values("train_loss", lambda v: -v),
    "another kind": lambda d: d.assign_attrs(kind=regression_file.KIND),
    "no runs": lambda d: d.assign_attrs(runs="[]"),
    "runs that are no JSON": lambda d: d.assign_attrs(runs="[" * 9999),
    "a run without a device": _run(device=None),
    "a run without a config": _run(config="{}"),
    "a run of no length": _run(wall_seconds=float("nan")),
    "a variable less": lambda d: d.drop_vars("auc"),
    "a variable more": lambda d: d.assign(more=1),
    "other rules": lambda d: d.assign_coords(rule=[f"{rule}!" for rule in d.rule.values]),
    "other rungs": lambda d: d.assign_coords(rung=[f"{rung}!" for rung in d.rung.values]),
    "another type": lambda d: d.astype("float64"),
    "a step less": lambda d: d.isel(step=slice(1, None)),
}  # fmt: skip
REGRESSION: dict[str, Change] = {
    "all passed": _values("passed", np.ones_like),
    "all verdicts alike": _values("verdict", lambda v: np.full_like(v, v[0])),
    "p-values of 0": _values("p_adjusted", np.zeros_like),
    "a p-value of 2": _values("p_value", lambda v: _last(v, 2)),
    "NaN": _values("moved", lambda v: _last(v, np.nan)),
    "intervals upside down": _values("break_interval", lambda v: v[::-1]),
    "estimates upside down": _values("to_linear", lambda v: v[::-1]),
    "no breaks": _values("break_step", lambda v: np.full_like(v, np.nan)),
    "another kind": lambda d: d.assign_attrs(kind="class_srel_summary"),
    "a variable less": lambda d: d.drop_vars("slopes"),
    "no names": lambda d: d.drop_vars("row"),
    "other checks": lambda d: d.assign_coords(check=[f"{c}!" for c in d.check.values]),
    "text for numbers": lambda d: d.assign(moved=d.family),
}
