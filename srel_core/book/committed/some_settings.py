"""The part of the regression experiments that is run again to verify their committed file: some
whole settings, which the digest of the present code chooses, so that other code looks elsewhere.

Trainings are in double precision: one thread in place of two changed no number of the laptop
profile by more than 5e-13 of it. `TOLERANCE` is far above that, and far below the effect of another
seed, rate or initialisation.
"""

import hashlib
import tempfile
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.committed.regression_file import MEASURED
from srel_core.book.committed.schema import parsed
from srel_core.book.committed.write_regression import table
from srel_core.book.regression.rows import judged_rows, setting_in
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.regression.settings import describe

if TYPE_CHECKING:
    import xarray as xr

TOLERANCE = 1e-3
"""Largest relative difference of a measured number; of a p-value, largest difference."""

_SETTINGS = 3


def settings_of(dataset: "xr.Dataset") -> list[RegressionExperiment]:
    """The settings whose rows a committed file holds. ValueError for those of another version."""
    config = parsed(dataset.attrs["config"])
    settings = config.get("settings") if isinstance(config, dict) else None
    if not isinstance(settings, list) or not all(isinstance(s, dict) for s in settings):
        raise ValueError("its config gives no settings")
    known = {field.name for field in fields(RegressionExperiment)}
    for setting in settings:
        if set(setting) != known:
            name = sorted(set(setting) ^ known)[0]
            raise ValueError(f"its config is of another version of srel_core: see {name!r}")
    return [RegressionExperiment(**_with_tuples(setting)) for setting in settings]


def _with_tuples(setting: dict[str, Any]) -> dict[str, Any]:
    return {n: tuple(value) if isinstance(value, list) else value for n, value in setting.items()}


def chosen(settings: list[RegressionExperiment], code: str) -> list[RegressionExperiment]:
    """The settings to run again: those whose config comes first when hashed with `code`."""
    by_hash = sorted(settings, key=lambda s: hashlib.sha256((code + s.config).encode()).digest())
    return by_hash[:_SETTINGS]


def largest_difference(kept: "xr.Dataset", settings: list[RegressionExperiment]) -> float:
    """Run these settings again, and compare with the rows of a committed file what was measured.

    ValueError if a setting has other rows there.
    """
    with tempfile.TemporaryDirectory(prefix="srel-verify-") as folder:
        anew = table(judged_rows({setting: setting.run(folder) for setting in settings}))
    names = {describe(setting) for setting in settings}
    rows = [row for row in map(str, kept.row.values) if setting_in(row) in names]
    if sorted(rows) != sorted(map(str, anew.row.values)):
        raise ValueError(f"its rows are not those of its settings: see {', '.join(sorted(names))}")
    old = kept.sel(row=anew.row)
    if any((old[name] != anew[name]).any() for name in ("family", "pairs", "resolved")):
        return np.inf
    return max(_difference(old[name].values, anew[name].values, name) for name in MEASURED)


def _difference(old: np.ndarray, new: np.ndarray, name: str) -> float:
    old, new = np.asarray(old, float), np.asarray(new, float)
    scale = 1 if name == "p_value" else np.maximum(np.abs(old), np.abs(new))
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(new - old) / scale
    apart[(old == new) | (np.isnan(old) & np.isnan(new))] = 0
    return float(np.nan_to_num(apart, nan=np.inf).max())
