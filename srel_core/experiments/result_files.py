"""Results on disk: NetCDF files written at once or not at all, and checked when read."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from srel_core.experiments.provenance import SCHEMA

if TYPE_CHECKING:
    import xarray as xr

_REQUIRED_ATTRIBUTES = ("schema", "kind", "config", "code_digest", "commit", "created")


class ResultError(RuntimeError):
    """A result file that cannot be read or written: one line, with what to do."""


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


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, and put it in place once it is whole.

    ResultError, and nothing left behind, if the folder cannot be written or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise ResultError(
            f"cannot write {path.name} in {path.parent}: {_one_line(error)}; nothing was written: "
            "make room, or choose another results directory"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """ResultError, before any work is done, if nothing can be written in this folder."""
    write_atomically(folder / ".writable", lambda partial: partial.write_bytes(b""))
    (folder / ".writable").unlink(missing_ok=True)


@contextmanager
def alone(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time compute the result at `path`: the next calls `wait`, and waits.

    The system lifts the lock of a process that dies. Where it has no such locks, nobody waits.
    ResultError if there is no result yet and none can be written.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if path.exists():
        yield
        return
    require_writable(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
            if not _is_at(file.fileno(), lock):
                continue  # removed by the process that was waited for
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


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
        f"{path} is damaged or not NetCDF ({_one_line(error)}): remove it and run again"
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


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is neither read again nor lost; its new path."""
    aside = path.with_name(f"{path.name}.damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged{number}")
    path.replace(aside)
    return aside


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
