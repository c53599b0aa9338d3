"""Work on one thread, and independent pieces of it in a process for each core."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from joblib import Parallel, cpu_count, delayed

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_a_core(
    work: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result]]:
    """Each item with what the work gives for it, as they are finished: as many at a time as there
    are cores, each on one thread."""
    jobs = min(cpu_count(), len(items))
    run = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs)
    yield from run(delayed(_on_one_thread)(work, item) for item in items)


def _on_one_thread(work: Callable[[Item], Result], item: Item) -> tuple[Item, Result]:
    with one_thread():
        return item, work(item)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it torch computes by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
