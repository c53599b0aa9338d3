"""Run a command of which one at a time may work in a folder: one_at_a_time.py LOCK COMMAND …

A second one waits for the first. The system lifts the lock when the command and the programs that
it starts with its open files have ended, however they end: nothing is left to be unlocked by hand
after a kill or a power cut. Where files have no locks, nobody waits.
"""

import os
import sys
from pathlib import Path


def main(lock: Path, command: list[str]) -> None:
    """Become the command once the lock is free."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    take(descriptor, f"waiting for another process at work in {lock.parent}")
    os.set_inheritable(descriptor, True)
    os.execvp(command[0], command)


def take(descriptor: int, waiting: str) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(waiting, file=sys.stderr, flush=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        return


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__.partition("\n")[0])
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        sys.exit(f"one_at_a_time: error: {error.filename or sys.argv[2]}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit(130)
