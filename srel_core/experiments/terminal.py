"""What a command says on a terminal: text of others made safe, errors of the system in words."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

# As Python, torch and the loader of libraries put it.
_NO_MEMORY = ("llocate memory", "failed to map", "start new thread")


def on_interruption(handler: Callable[..., object]) -> None:
    """Let signals that ask for the end call this handler, but for those that are ignored, as some
    shells have it for what runs in the background."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the latter is a scheduler's way
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def plain(text: object) -> str:
    r"""One line without anything that a terminal obeys: newlines, escapes, marks that turn the
    direction of text, and halves of broken characters come out as \n, \x1b, \u202e, \udcff."""
    line = str(text)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def lacks_memory(error: BaseException) -> bool:
    """Whether this machine has no memory left, whoever says so."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def system_error(error: Exception) -> str:
    """What this machine refuses, and what to do. An error that is not the system's is raised."""
    text = str(error)
    if lacks_memory(error):
        return f"not enough memory ({text or 'none left'}): free some, or raise its limit"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        return f"the output cannot be written: {error.strerror}"
    if isinstance(error, ImportError):
        return f"a library cannot be loaded ({text}): install srel-core anew"
    if isinstance(error, OSError):
        return text
    if "home directory" in text:
        return f"{text} Set HOME, or name the folders with SREL_RESULTS and SREL_DATA"
    raise error


def drop_output() -> None:
    """After the output could not be written, which Python would fail on again when it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
