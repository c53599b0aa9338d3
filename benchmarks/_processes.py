"""Work in a process of its own, which has done nothing else."""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def in_fresh_process(work: Callable[..., Result], *arguments: object, start: str) -> Result:
    """work(*arguments), in a process that is started by "spawn" or "forkserver", with nothing of
    this one, or by "fork", with what this one has. One line and exit code 1 if it is killed."""
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(start)) as pool:
            return pool.submit(work, *arguments).result()
    except BrokenProcessPool:
        name = Path(sys.argv[0]).stem
        sys.exit(f"{name}: error: its process for measuring was killed; nothing is written")
