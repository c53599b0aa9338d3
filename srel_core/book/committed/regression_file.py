"""The committed results on regression: one small file with the verdict on every setting.

`make results` writes it from the laptop profile's experiments; each row is one setting and kind of
pairs, judged by `srel_core.book.regression.two_phase_rule` together with all others.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srel_core.book.committed.files import committed_dir
from srel_core.book.regression.rows import SettingRow, judged_rows
from srel_core.book.regression.two_phase_rule import CHECKS
from srel_core.experiments import result_files
from srel_core.experiments.provenance import provenance
from srel_core.experiments.regression.settings import regression_settings

if TYPE_CHECKING:
    import xarray as xr

KIND = "regression_summary"
FILE = "regression.nc"
PROFILE = "laptop"
_ROW = ("row",)
VARIABLES: dict[str, tuple[str, ...]] = {
    "family": _ROW, "pairs": _ROW, "verdict": _ROW, "p_adjusted": _ROW, "moved": _ROW,
    "start": _ROW, "plateau": _ROW, "to_tangent": _ROW, "break_step": _ROW,
    "passed": ("row", "check"), "break_interval": ("bound", "row"),
    "to_linear": ("estimate", "row"),
}  # fmt: skip
"""The schema: `passed` has the answers of `CHECKS` in their order; `to_linear` the ratio of the
plateau to a linear model's S_rel, and its interval; break_* are NaN without a fit."""


def table(rows: "Sequence[SettingRow]") -> "xr.Dataset":
    """The rows as a dataset, with the settings' names as the coordinate `row`."""
    import xarray as xr

    verdicts = [row.judgement for row in rows]
    fits = [(v.fit.break_step, *v.fit.interval) if v.fit else (np.nan,) * 3 for v in verdicts]
    breaks, low, high = zip(*fits, strict=True)
    values = {
        "family": [row.setting.family for row in rows],
        "pairs": [row.kind for row in rows],
        "verdict": [v.words for v in verdicts],
        "passed": [[v.checks[check] for check in CHECKS] for v in verdicts],
        "p_adjusted": [v.p_adjusted for v in verdicts],
        "moved": [v.moved for v in verdicts],
        "start": [v.start for v in verdicts],
        "plateau": [v.plateau for v in verdicts],
        "to_tangent": [v.to_tangent for v in verdicts],
        "to_linear": np.array([v.to_linear for v in verdicts]).T,
        "break_step": breaks,
        "break_interval": [low, high],
    }
    return xr.Dataset(
        {name: (VARIABLES[name], np.array(given)) for name, given in values.items()},
        {
            "row": [row.name for row in rows],
            "check": list(CHECKS),
            "bound": ["low", "high"],
            "estimate": ["mean", "low", "high"],
        },
    )


def write(
    results_dir: str | Path | None = None, folder: str | Path | None = None, profile: str = PROFILE
) -> Path:
    """Run a profile's experiments, or find their results, and write the file; its path."""
    settings = regression_settings(profile)
    found = {setting: setting.run(results_dir) for setting in settings}
    runs = [result.attrs for result in found.values()]
    digests = {run["code_digest"] for run in runs}
    assert len(digests) == 1  # the key of a kept result covers the code
    config = json.dumps({"profile": profile, "settings": [json.loads(s.config) for s in settings]})
    seconds = sum(run["wall_seconds"] for run in runs)
    attributes = provenance(KIND, config, digests.pop(), seconds)
    path = committed_dir(folder) / FILE
    result_files.save(table(judged_rows(found)).assign_attrs(attributes), path)
    return path


def load(folder: str | Path | None = None) -> "xr.Dataset | None":
    """The committed file, or None if there is none. ResultError if it is not to the schema."""
    path = committed_dir(folder) / FILE
    if not path.is_file():
        return None
    dataset = result_files.load(path)
    for name, dims in VARIABLES.items():
        if name not in dataset or dataset[name].dims != dims:
            raise result_files.ResultError(
                f"{path.name} does not keep to the schema: expected {name} {dims}: `make results` "
                "writes it anew"
            )
    return dataset
