"""Files of a user's folder, opened without waiting for a pipe, and told apart by content."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

# Windows has no such pipes, but text files; other systems are the other way round.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
# A file that was changed less than this before it is read may be changed again without its times
# showing it: some systems count them in steps of two seconds.
_SETTLED = 3_000_000_000  # ns
_digests: dict[tuple[int, ...], bytes] = {}


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """The file, to be read; OSError if it is a folder, a pipe, a socket or a device."""
    with os.fdopen(os.open(path, _FLAGS), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield file


def content_digest(path: Path) -> bytes:
    """SHA-256 of a file's content, remembered as long as nothing shows a change of the file.

    OSError if it cannot be read, or is changed meanwhile.
    """
    known = _digests.get(_identity(path.stat()))
    if known:
        return known
    now = time.time_ns()
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").digest()
        if _identity(os.fstat(file.fileno())) != _identity(before):
            raise OSError(errno.EBUSY, "changed while it was read")
    if now - max(before.st_mtime_ns, before.st_ctime_ns) > _SETTLED:
        _digests[_identity(before)] = digest
    return digest


def _identity(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_ino, facts.st_dev, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
