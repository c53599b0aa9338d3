"""Files that several processes share, any of which may be killed at any moment.

A file is written at once or not at all; one process at a time computes it; what is damaged is set
aside, never removed.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError


class ResultError(RuntimeError):
    """A result file that cannot be read or written: one line, with what to do."""


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
            f"cannot write {path.name} in {path.parent}: {one_line(error)}; nothing was written: "
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


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is neither read again nor lost; its new path."""
    aside = path.with_name(f"{path.name}.damaged")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged{number}")
    path.replace(aside)
    return aside


def one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
