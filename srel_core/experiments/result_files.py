"""Results on disk: NetCDF files written at once or not at all, and checked when read."""

import os
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srel_core.experiments.files import (
    ResultError,
    alone,
    one_line,
    require_writable,
    set_aside,
    write_atomically,
)
from srel_core.experiments.provenance import SCHEMA

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "SCHEMA", "ResultError", "alone", "attributes", "load", "load_kept", "require_writable",
    "results_dir", "save", "set_aside", "write_atomically",
]  # fmt: skip

_REQUIRED_ATTRIBUTES = ("schema", "kind", "config", "code_digest", "commit", "created")


def results_dir(given: str | Path | None = None) -> Path:
    """Where results are kept: `given`, else SREL_RESULTS, else the book's `_build/results`.

    The book's folder is the nearest one above the working directory that holds a `_toc.yml`;
    outside any book it is `~/.cache/srel_core/results`.
    """
    if given:
        return Path(given).expanduser()
    if os.environ.get("SREL_RESULTS"):
        return Path(os.environ["SREL_RESULTS"]).expanduser()
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "_toc.yml").is_file():
            return folder / "_build" / "results"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "srel_core" / "results"


def save(dataset: "xr.Dataset", path: Path) -> None:
    """Write a result as compressed NetCDF, atomically."""
    encoding = {name: {"zlib": True, "complevel": 4} for name in dataset.data_vars}
    # Made in memory: HDF5 crashes the process when a disk fills up under a file it has open.
    whole = BytesIO()
    dataset.to_netcdf(whole, engine="h5netcdf", encoding=encoding)
    write_atomically(path, lambda partial: partial.write_bytes(whole.getbuffer()))


def load(path: Path) -> "xr.Dataset":
    """Read a result whole. ResultError if it is absent, damaged, or not a result of srel_core."""
    import xarray as xr

    if not path.is_file():
        raise ResultError(f"no result file {path}: run the experiment, or check the path")
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf")
    except Exception as error:
        raise _damaged(path, error) from error
    _check_attributes(path, dataset.attrs)
    return dataset


def load_kept(path: Path) -> "xr.Dataset | None":
    """The result that is kept there, or None if it is still to be computed.

    A damaged file is set aside, with a warning at the caller's caller.
    """
    if not path.exists():
        return None
    try:
        return load(path)
    except ResultError as error:
        aside = set_aside(path)
        warnings.warn(f"{error}; set aside as {aside.name}, computing anew", stacklevel=3)
        return None


def _damaged(path: Path, error: Exception) -> ResultError:
    return ResultError(
        f"{path} is damaged or not NetCDF ({one_line(error)}): remove it and run again"
    )


def _check_attributes(path: Path, attributes: Mapping[Any, Any]) -> None:
    missing = [name for name in _REQUIRED_ATTRIBUTES if name not in attributes]
    if missing or attributes["schema"] != SCHEMA:
        found = attributes.get("schema", f"no {missing[0] if missing else 'schema'}")
        raise ResultError(f"{path} is not a {SCHEMA!r} file ({found}): made by something else?")


def attributes(path: Path) -> dict[str, Any]:
    """The attributes of a result, without reading its arrays. ResultError as for `load`."""
    import xarray as xr

    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            found = dict(dataset.attrs)
    except Exception as error:
        raise _damaged(path, error) from error
    _check_attributes(path, found)
    return found
