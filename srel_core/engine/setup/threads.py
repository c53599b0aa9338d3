"""Several samples side by side on a CPU, one thread each.

A one-sample step is made of many small operations, which two threads share badly; two samples on
a thread each take half the time. The result does not depend on how many threads there are.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

import torch

from srel_core.engine.setup.problem import Problem, own_modules

Own = TypeVar("Own")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Generic[Own]):
    """As many threads as torch would use within an operation, each with a model of its own.

    (`functional_call` puts its weights into the module for the time of the call, so two threads
    cannot share one.) On a GPU there is one thread, which is this one. `prepare` makes of such a
    problem what a thread works with; the model is its to change, the weights are not.
    """

    def __init__(self, problem: Problem, prepare: Callable[[Problem], Own]) -> None:
        self.problem, self.prepare = problem, prepare
        self.threads = torch.get_num_threads()
        self.alone = problem.before.device.type != "cpu" or self.threads == 1
        self._waiting: SimpleQueue[Problem] = SimpleQueue()
        self._local = threading.local()

    def __enter__(self) -> "Workers[Own]":
        if self.alone:
            self._start(_with_own_modules(self.problem))
            return self
        for _ in range(self.threads):
            self._waiting.put(_with_own_modules(self.problem))
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(
            self.threads, initializer=lambda: self._start(self._waiting.get())
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.alone:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self.threads)

    def _start(self, problem: Problem) -> None:
        if not self.alone:
            torch.set_num_threads(1)
        self._local.own = self.prepare(problem)

    def map(self, function: Callable[[Own, Item], Result], items: Iterable[Item]) -> list[Result]:
        """[function(own, item) for each item], in order, `own` what the thread works with."""
        if self.alone:
            return [function(self._local.own, item) for item in items]
        return list(self._pool.map(lambda item: function(self._local.own, item), items))


def _with_own_modules(problem: Problem) -> Problem:
    """The same problem with modules of its own around the same weights."""
    precise = problem.precise and _with_own_modules(problem.precise)
    return dataclasses.replace(problem, model=own_modules(problem.model), precise=precise)
