"""Where the committed files are, and what is in them: read without what they were made with."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srel_core.book.committed.schema import check
from srel_core.book.published.numbers import with_published
from srel_core.experiments import result_files

if TYPE_CHECKING:
    import xarray as xr

# Kept runs name their seed, and end in their key.
_NAME = re.compile(r"class_srel-(?!.*-seed\d+-[0-9a-f]{12}\.nc)([\w-]+)\.nc")


def committed_dir(given: str | Path | None = None) -> Path:
    """`given`, else results/ in the book's folder, the nearest above that holds a `_toc.yml`."""
    if given:
        return Path(given).expanduser()
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "_toc.yml").is_file():
            return folder / "results"
    raise result_files.ResultError("no book here, so no results/: name the folder to use")


def file_name(name: str, checksum: str = "") -> str:
    """The name of the file of an experiment, `name` being that of `ClassExperiment`; of a folder of
    images with the checksum of its content, as others may be called the same."""
    return f"class_srel-{name}{'-' if checksum else ''}{checksum[:8]}.nc"


def refuse_changes(commits: Iterable[str]) -> None:
    """ResultError if one of these commits had changes beside it: nobody could get at that code."""
    changed = [commit for commit in commits if commit.endswith("+changes")]
    if changed:
        raise result_files.ResultError(
            f"a committed result must come from committed code, not from {changed[0]}: commit the "
            "changes, then compute and write it anew"
        )


def refuse_loss(
    path: Path, configs_in: "Callable[[xr.Dataset], list[Any]]", successor: "list[Any]"
) -> None:
    """ResultError if the file there has results of other configs, parsed, than those of its
    successor, as where that is of a smaller profile. A damaged file is no loss."""
    try:
        there = configs_in(result_files.load(path)) if path.is_file() else []
    except result_files.ResultError:
        return
    if lost := [config for config in there if config not in successor]:
        raise result_files.ResultError(
            f"{path} has results that its successor would lack ({len(lost)}): write to another "
            "folder (--committed-dir), or take that file away first"
        )


def load_summary(path: Path) -> "xr.Dataset":
    """A summary, whole. ResultError if it is absent, damaged, without a digest, or not to the
    schema."""
    dataset = result_files.load(path)
    check(dataset, path.name)
    return dataset


def load_all(folder: str | Path | None = None) -> dict[str, "xr.Dataset"]:
    """The summaries that are there, by data set: the published ones in their order, then others, by
    the names of their files."""
    found = (_NAME.fullmatch(path.name) for path in sorted(committed_dir(folder).glob("*.nc")))
    paths = {name[1]: committed_dir(folder) / name[0] for name in found if name}
    order = [name for name in with_published(paths) if name in paths]
    return {name: load_summary(paths[name]) for name in order}


def runs_of(summary: "xr.Dataset") -> list[dict[str, Any]]:
    """The attributes of each seed's run, its config parsed."""
    runs = json.loads(summary.attrs["runs"])
    return [{**run, "config": json.loads(run["config"])} for run in runs]


def configs_of(summary: "xr.Dataset") -> list[Any]:
    """The parsed config of each seed's run."""
    return [run["config"] for run in runs_of(summary)]


def ladder_in(summary: "xr.Dataset", definition: str) -> "xr.Dataset":
    """The rungs of one ladder, and what the summary holds of each."""
    of_rungs = [name for name in summary.data_vars if "rung" in summary[name].dims]
    return summary[of_rungs].isel(rung=np.flatnonzero(summary.ladder.values == definition))
