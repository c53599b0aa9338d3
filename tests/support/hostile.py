"""Whole results whose every text was written to harm the page that shows it."""

import json
from pathlib import Path

import xarray as xr

from srel_core.book.committed import study_file
from srel_core.experiments import result_files
from srel_core.experiments.profiles import class_experiments
from tests.support.book import ROOT
from tests.support.class_experiments import EXPLORED, kept_for_the_pages

TEXTS = (
    "<svg onload=\"window.harmed='svg'\">",
    "<script>window.harmed='script'</script>",
    "</script><img src=x onerror=\"window.harmed='img'\">",
    "\"><iframe src='javascript:parent.harmed=1'></iframe>",
    "[a](javascript:window.harmed=1) ![b](https://harm.example/b.png)",
    "https://harm.example/c www.harm.example d@harm.example",
    "$$\\href{javascript:window.harmed=1}{e}$$ \\(\\frac\\) $f$",
    "\x1b[2J\x1b]0;harmed\x07 two\n\n# lines\n- and a list \u202e",
    "{doc}`intro` <!-- | `` ```{raw} html\n<b>",
)
"""Of each kind of markup. What runs sets `window.harmed`, what is fetched is at harm.example."""

NAMES = ("$\\frac$ " + TEXTS[0], "_$ " + TEXTS[1] + " \u732b", TEXTS[6] + TEXTS[7] + "$x$")
"""Of three classes, with formulas that are none."""
EVERYTHING = " ".join(TEXTS)
_OURS = (
    "schema", "kind", "config", "code_digest", "level", "runs", "wall_seconds", "data_checksum",
)  # fmt: skip


def attributes(of: dict) -> dict:
    """All that a result says of itself and nothing else follows from."""
    return {n: v if n in _OURS or not isinstance(v, str) else EVERYTHING for n, v in of.items()}


def kept_runs(folder: Path) -> Path:
    """A folder with the results that the smoke profile asks for, as they would be kept."""
    experiments = *class_experiments("smoke"), EXPLORED
    kept_for_the_pages(folder, experiments)
    for experiment in experiments:
        run = experiment.run(folder, "cpu", progress=False)
        harmful = run.assign_attrs(attributes(run.attrs)).assign_coords(
            class_name=("class", [*NAMES])
        )
        result_files.save(harmful, folder / experiment.file_name)
    return folder


def committed(folder: Path) -> Path:
    """A folder with files like the committed ones."""
    for path in (ROOT / "results").glob("*.nc"):
        whole = result_files.load(path)
        whole = whole.assign_attrs(attributes(whole.attrs))
        if whole.attrs["kind"] == study_file.KIND:
            whole = _with_hostile_rows(whole)
        elif "runs" in whole.attrs:
            whole = _with_hostile_runs(whole)
        result_files.save(whole, folder / path.name)
    return folder


def _with_hostile_rows(study: xr.Dataset) -> xr.Dataset:
    def hostile(names):
        return [f"{name}{EVERYTHING}" for name in names.values]

    runs = [attributes(run) for run in json.loads(study.attrs["runs"])]
    codes = study_file.joint_digest(run["code_digest"] for run in runs)
    return study.assign_attrs(runs=json.dumps(runs), code_digest=codes).assign_coords(
        row=hostile(study.row), row_of_run=("run", hostile(study.row_of_run))
    )


def _with_hostile_runs(summary: xr.Dataset) -> xr.Dataset:
    runs = [attributes(run) for run in json.loads(summary.attrs["runs"])]
    for run in runs:
        config = json.loads(run["config"]) | {"images_per_class": EVERYTHING}
        run["config"] = json.dumps(config | {"probes_per_class": EVERYTHING})
    return summary.assign_attrs(runs=json.dumps(runs)).assign_coords(
        probe_class=[*NAMES], sample_class=[*NAMES],
        change=("rung", [EVERYTHING] * len(summary.rung)),
        rule=[EVERYTHING if rule == "sgd:1e-2" else rule for rule in summary.rule.values],
    )  # fmt: skip
