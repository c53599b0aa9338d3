"""Where the committed files are, and what is in them: read without what they were made with."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.committed.schema import check
from srel_core.book.published.figures import DATASETS
from srel_core.experiments import result_files

if TYPE_CHECKING:
    import xarray as xr


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


def refuse_changes(commits: Iterable[str]) -> None:
    """ResultError if one of these commits had changes beside it: nobody could get at that code."""
    changed = [commit for commit in commits if commit.endswith("+changes")]
    if changed:
        raise result_files.ResultError(
            f"a committed result must come from committed code, not from {changed[0]}: commit the "
            "changes, then compute and write it anew"
        )


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


def ladder_in(summary: "xr.Dataset", definition: str) -> "xr.Dataset":
    """The rungs of one ladder, and what the summary holds of each."""
    of_rungs = [name for name in summary.data_vars if "rung" in summary[name].dims]
    return summary[of_rungs].isel(rung=np.flatnonzero(summary.ladder.values == definition))
