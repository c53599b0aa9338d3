"""From the regression experiments of a profile to their committed file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srel_core.book.committed import regression_file
from srel_core.book.committed.files import committed_dir, refuse_changes, refuse_loss
from srel_core.book.committed.regression_file import FILE, KIND, VARIABLES
from srel_core.book.regression.rows import SettingRow, judged_rows
from srel_core.book.regression.two_phase_rule import CHECKS
from srel_core.experiments import provenance, result_files
from srel_core.experiments.regression.settings import regression_settings
from srel_core.experiments.regression.side_by_side import run_all

if TYPE_CHECKING:
    import xarray as xr

PROFILE = "laptop"
_AS_THEY_ARE = (
    "p_value", "p_adjusted", "moved", "start", "plateau", "to_tangent", "break_at", "slopes",
    "drift", "half_break", "resolved",
)  # fmt: skip


def table(rows: "Sequence[SettingRow]") -> "xr.Dataset":
    """The rows as a dataset, with the settings' names as the coordinate `row`."""
    import xarray as xr

    judged = [row.judgement for row in rows]
    fits = [(j.fit.break_step, *j.fit.interval) if j.fit else (np.nan,) * 3 for j in judged]
    breaks, low, high = zip(*fits, strict=True)
    values = {name: [getattr(j, name) for j in judged] for name in _AS_THEY_ARE} | {
        "family": [row.setting.family for row in rows],
        "pairs": [row.kind for row in rows],
        "next_step": [row.next_step for row in rows],
        "verdict": [j.words for j in judged],
        "passed": [[j.checks[check] for check in CHECKS] for j in judged],
        "to_linear": np.array([j.to_linear for j in judged]).T,
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
    results_dir: str | Path | None = None,
    folder: str | Path | None = None,
    profile: str = PROFILE,
    commit: str | None = None,
    device: str = "cpu",
) -> Path:
    """Run a profile's experiments, or find their results, and write the file; its path.

    device: as for `run_all`. commit: that of the code which writes; None asks git. ResultError,
    before any work, if it has changes that are not committed or the file there has settings that
    this profile lacks, and likewise for a run that was computed with changes.
    """
    here = commit or provenance.commit()
    refuse_changes([here])
    settings, path = regression_settings(profile), committed_dir(folder) / FILE
    of_settings = [json.loads(setting.config) for setting in settings]
    refuse_loss(path, lambda there: json.loads(there.attrs["config"])["settings"], of_settings)
    found = run_all(settings, results_dir, device)
    runs = [result.attrs for result in found.values()]
    refuse_changes([run["commit"] for run in runs])
    digests = {run["code_digest"] for run in runs}
    assert len(digests) == 1  # the key of a kept result covers the code
    config = json.dumps({"profile": profile, "settings": of_settings})
    seconds = sum(run["wall_seconds"] for run in runs)
    attributes = provenance.provenance(KIND, config, digests.pop(), seconds) | {"commit": here}
    dataset = table(judged_rows(found)).assign_attrs(attributes)
    regression_file.check(dataset, path.name)
    result_files.save(dataset, path)
    return path
