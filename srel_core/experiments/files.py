"""Files that several processes share, any of which may be killed at any moment.

A file is written at once or not at all; one process at a time computes it; what is damaged is set
aside, never removed; and what a killed process left behind is cleared away by the next.
"""

import errno
import glob
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from srel_core.experiments.netcdf import one_line
from srel_core.experiments.terminal import lacks_memory, plain

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ResultError(RuntimeError):
    """A result file that cannot be read or written: one line, with what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(message))


class DamagedError(ResultError):
    """A file that can be read, but is not what it should be: `fault` says why."""

    def __init__(self, fault: str, advice: str) -> None:
        super().__init__(f"{fault}: {advice}")
        self.fault = plain(fault)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, and put it in place once it is whole.

    ResultError, and nothing left behind, if the folder cannot be written or the disk is full. What
    processes left that were killed at the same work is removed.
    """
    doing = "the folder cannot be made"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_partials(path)
        doing = "the file cannot be filled"
        with _own(path.with_name(f".{path.name}.{os.getpid()}.partial")) as partial:
            write(partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            doing = "it cannot be put in place"
            partial.replace(path)
    except OSError as error:
        room = "make room, or " if error.errno in _NO_ROOM else ""
        raise ResultError(
            f"cannot write {path.name} in {path.parent}: {doing} ({one_line(error)}); nothing was "
            f"written: {room}choose another results directory"
        ) from error


@contextmanager
def _own(partial: Path) -> Iterator[Path]:
    """A new file, locked for as long as this process lives and needs it, and then removed."""
    while True:
        with partial.open("wb") as file:
            locked = _lock(file)
            if locked is None:
                file.close()  # Windows renames no open file
            elif not _is_at(file.fileno(), partial):
                continue  # another process has cleared it away before it was locked
            try:
                yield partial
            finally:
                with suppress(OSError):
                    partial.unlink(missing_ok=True)
            return


def require_writable(folder: Path) -> None:
    """ResultError, before any work is done, if nothing can be written in this folder."""
    write_atomically(folder / ".writable", lambda partial: partial.write_bytes(b""))
    (folder / ".writable").unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """All that is in a file. ResultError, naming it, if it is absent or cannot be read."""
    if not exists(path):
        raise ResultError(f"no result file {path}: run the experiment, or check the path")
    try:
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        raise unreadable(path, error) from error


def exists(path: Path) -> bool:
    """Whether there is a file. ResultError if there is something else, or no way to tell."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not path.is_file():  # one that is read without end, perhaps
        raise ResultError(f"{path} is not a file: it stays as it is; move it out of the way")
    return True


def unreadable(path: Path, error: BaseException) -> ResultError:
    """For a file that may be whole."""
    reason = "not enough memory" if lacks_memory(error) else one_line(error)
    return ResultError(f"cannot read {path} ({reason}): it stays as it is; mend that and run again")


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is neither read again nor lost; its new path."""
    aside = path.with_name(f"{path.name}.damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged{number}")
    try:
        return path.replace(aside)
    except FileNotFoundError:  # another process has found the same
        return aside
    except OSError as error:
        raise ResultError(
            f"{path} is damaged, and cannot be renamed to {aside.name} ({one_line(error)}): "
            "move it out of the way, or choose another results directory"
        ) from error


@contextmanager
def alone(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time compute the result at `path`: the next calls `wait`, and waits.

    The system lifts the lock of a process that dies. Where it has no such locks, nobody waits.
    ResultError if there is no result yet and none can be written.
    """
    if exists(path):
        yield
        return
    require_writable(path.parent)
    lock = _lock_of(path)
    while True:
        with _opened(lock) as file:
            locked = _lock(file, wait=False)
            if locked is False:
                wait()
                _lock(file)
            if locked is None:
                file.close()  # Windows removes no open file
            elif not _is_at(file.fileno(), lock):
                continue  # removed by the process that was waited for
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _opened(lock: Path) -> IO[str]:
    """ResultError if it is no file, or another user's."""
    exists(lock)  # a pipe would be opened for ever
    try:
        return lock.open("w")
    except OSError as error:
        raise ResultError(
            f"cannot lock {lock} ({one_line(error)}): remove it, or choose another results "
            "directory"
        ) from error


def clear_away(path: Path, *state: Path) -> None:
    """Remove what killed processes have left of the file at `path`, and of its state; of a file
    that is there, the state too. What a living process has locked stays, and so does what cannot
    be looked at."""
    with suppress(OSError):
        _clear_away(path, *state)


def _clear_away(path: Path, *state: Path) -> None:
    for file in (path.with_name(".writable"), path, *state):
        _remove_partials(file)
    if path.exists():
        for file in (*state, _lock_of(path)):
            _remove_if_free(file, _lock_of(path))


def _remove_partials(path: Path) -> None:
    for partial in path.parent.glob(f".{glob.escape(path.name)}.[0-9]*.partial"):
        _remove_if_free(partial, partial)


def _remove_if_free(file: Path, lock: Path) -> None:
    """Remove a file unless a living process holds its lock, or there is no telling."""
    if not file.exists():
        return
    with suppress(OSError), lock.open("a") as held:
        if _lock(held, wait=False) and _is_at(held.fileno(), lock):
            file.unlink()


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _lock(file: IO[Any], wait: bool = True) -> bool | None:
    """Lock an open file until it is closed; False if another process holds it, and nobody waits;
    None where files have no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
