"""Results on disk: NetCDF files written at once or not at all, and checked when read.

A result carries a digest of its content (`srel_core.experiments.digest`), which every load compares
with what it finds. What is damaged, or is not the result that is asked for, is set aside and
computed anew; what cannot be read is left as it is, since it may be whole.
"""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srel_core.experiments import digest, netcdf
from srel_core.experiments.files import (
    DamagedError,
    ResultError,
    alone,
    clear_away,
    exists,
    read,
    require_writable,
    set_aside,
    unreadable,
    write_atomically,
)
from srel_core.experiments.provenance import SCHEMA

if TYPE_CHECKING:
    import xarray as xr

    from srel_core.experiments.expected import Expected

__all__ = [
    "SCHEMA", "DamagedError", "NoDigestError", "ResultError", "alone", "attributes", "load",
    "load_kept", "require_writable", "results_dir", "save", "set_aside", "write_atomically",
]  # fmt: skip

_REQUIRED_ATTRIBUTES = ("schema", "kind", "config", "code_digest", "commit", "created")


class NoDigestError(DamagedError):
    """A result that nothing vouches for: it was written before results had digests."""


def results_dir(given: str | Path | None = None) -> Path:
    """Where results are kept: `given`, else SREL_RESULTS, else the book's `_build/results`.

    The book's folder is the nearest one above the working directory that holds a `_toc.yml`;
    outside any book it is `~/.cache/srel_core/results`. ResultError where there is no such place.
    """
    named = given or os.environ.get("SREL_RESULTS")
    try:
        if named:
            return Path(named).expanduser()
        for folder in (Path.cwd(), *Path.cwd().parents):
            if (folder / "_toc.yml").is_file():
                return folder / "_build" / "results"
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except (OSError, RuntimeError) as error:  # the working directory is gone; there is no home
        raise ResultError(
            f"no place for results ({error}): name a folder with --results-dir or SREL_RESULTS"
        ) from error
    return cache / "srel_core" / "results"


def save(dataset: "xr.Dataset", path: Path, expected: "Expected | None" = None) -> None:
    """Write a result as compressed NetCDF with the digest of its content, atomically.

    ResultError, and nothing written, for one that is not as `expected`: it would be set aside when
    it is asked for again.
    """
    if expected and (fault := expected.fault(dataset)):
        raise ResultError(f"{path.name} is not written, since no use could be made of it: {fault}")
    stamped = dataset.assign_attrs({digest.ATTRIBUTE: digest.of_dataset(dataset)})
    whole = netcdf.encode(stamped)
    write_atomically(path, lambda partial: partial.write_bytes(whole.getbuffer()))


def load(path: Path, needs_digest: bool = True) -> "xr.Dataset":
    """Read a result whole, without the digest that it carries.

    ResultError if it is absent or cannot be read, DamagedError if it is damaged, or not a result of
    srel_core. Files of earlier versions have no digest: NoDigestError where one is needed.
    """
    return _decoded(path, read(path), needs_digest)


def load_kept(path: Path, expected: "Expected", *state: Path) -> "xr.Dataset | None":
    """The result that is kept there, or None if it is still to be computed.

    A file that is damaged, has no digest, or is not as `expected` is set aside, with a warning at
    the caller's caller. What killed processes left of it is cleared away, and so is the `state` of
    the run that made it. ImportError, before any work, without a package that files need.
    """
    netcdf.require_packages()
    try:
        if not exists(path):
            return None
        dataset = load(path)
        if fault := expected.fault(dataset):
            raise DamagedError(f"{path} is not the result of this experiment ({fault})", "")
        return dataset
    except DamagedError as error:
        aside = set_aside(path)
        warnings.warn(f"{error.fault}: set aside as {aside.name}, computing anew", stacklevel=3)
        return None
    finally:
        clear_away(path, *state)


def _decoded(path: Path, raw: bytes, needs_digest: bool) -> "xr.Dataset":
    try:
        dataset = netcdf.decode(raw)
    except netcdf.Damaged as error:
        raise _damaged(path, error) from error
    except MemoryError as error:
        raise unreadable(path, error) from error
    _check_attributes(path, dataset.attrs)
    stored = dataset.attrs.pop(digest.ATTRIBUTE, None)
    if stored is None and needs_digest:
        raise NoDigestError(
            f"{path} has no digest, so that nothing vouches for its content",
            "it was made by an earlier version; compute it anew",
        )
    if stored is not None and str(stored) != digest.of_dataset(dataset):
        raise DamagedError(
            f"{path} is damaged: its content is not that of its digest", "remove it and run again"
        )
    return dataset


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"{path} is damaged or not NetCDF ({error})", "if it was a result, remove it and run again"
    )


def _check_attributes(path: Path, attributes: Mapping[Any, Any]) -> None:
    missing = [n for n in _REQUIRED_ATTRIBUTES if not isinstance(attributes.get(n), str)]
    if missing or attributes["schema"] != SCHEMA:
        found = f"no {missing[0]}" if missing else attributes["schema"]
        raise DamagedError(f"{path} is not a {SCHEMA!r} file ({found})", "made by something else?")


def attributes(path: Path) -> dict[str, Any]:
    """The attributes of a result, without reading anything else. ResultError as for `load`."""
    if not exists(path):
        raise ResultError(f"no result file {path}: run the experiment, or check the path")
    try:
        with path.open("rb") as file:
            found = netcdf.root_attributes(file)
    except netcdf.Damaged as error:
        raise _damaged(path, error) from error
    except (OSError, MemoryError) as error:
        raise unreadable(path, error) from error
    _check_attributes(path, found)
    return found
