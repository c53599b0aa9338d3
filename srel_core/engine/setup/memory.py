"""How much memory a measurement takes, and so how much of it to do at once.

`max_bytes` bounds what grows with the number of samples and inputs that are worked on together, on
all threads: activations, output gradients, stacked weights. It cannot bound the result, nor the
copies of the weights that every measurement of a float32 model makes: about 6, and one for each
thread.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from srel_core.engine.setup.problem import Problem
from srel_core.engine.setup.task import ForwardCost, Task

# Bytes of the largest change to push through a network at a time, about what a core's cache holds.
CACHE = 8 * 2**20


class TooLittleMemoryError(ValueError):
    """The bound is too low for one sample and one input at a time."""


# Samples whose gradients to have at once on a thread, at most: more gain nothing.
_SAMPLES = 64

# Rows whose gradients are taken in one pass: a few share the reading of the weights. A pass over
# few bytes of activations is mostly Python, which threads cannot share.
_PART, _LITTLE = 16, 2**20

# Bytes, in units of the activations of one input, as measured (benchmarks/scaling.py): what a
# gradient pass holds for a sample; what change propagation keeps of an input, and has on its way;
# the patches of 3×3 kernels.
_GRADIENT, _KEPT, _ON_THE_WAY, _PATCHES = 5, 5, 2, 9

# Copies of stacked weights: gradients, a part of the step, and as Toeplitz matrices.
_STACKED = 3

# Of the largest that an operation gives, how much is there at a time while predictions are made.
_ALIVE = 4

# Bytes to work on at a time that are enough for any way to be at its fastest on a CPU.
_GAINS_NOTHING_ABOVE = 2 * 2**30


def memory_bound(max_bytes: int | None, device: torch.device) -> int:
    """`max_bytes`; for None what is free, but for a part that others may want: on a GPU four fifths
    of it, with what torch keeps of earlier work, on a CPU a half, and at most what gains anything.
    """
    if max_bytes is not None:
        return max_bytes
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (free + kept) * 4 // 5
    return min(_GAINS_NOTHING_ABOVE, free_memory() // 2)


def free_memory() -> int:
    """Bytes that this process can still have: what the system has, within the limits of its control
    group. Where neither tells, as much as gains anything."""
    found = [_available(), *(_left_in_group(*files) for files in _GROUPS)]
    return min((n for n in found if n is not None), default=2 * _GAINS_NOTHING_ABOVE)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(sizes[0][1]) if sizes else None


# A group's limit, what it uses, and what of that is cache which the system takes back; as versions
# 2 and 1 of control groups have it.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def _left_in_group(limit: str, used: str, stat: str) -> int | None:
    try:
        most, now = int(Path(limit).read_text()), int(Path(used).read_text())
        counts = dict(line.split() for line in Path(stat).read_text().splitlines())
    except (OSError, ValueError):
        return None
    cache = int(counts.get("inactive_file", counts.get("total_inactive_file", 0)))
    return max(0, most - now + cache)


def rows_within(cost: ForwardCost, max_bytes: int) -> int:
    """How many inputs to predict at a time by the model as it is: at least one."""
    return max(1, max_bytes // max(1, _ALIVE * cost.largest))


def require_one_at_a_time(cost: ForwardCost, max_bytes: int) -> None:
    """TooLittleMemoryError, with what is needed, unless the bound allows for the gradient of one
    sample by the model as it is."""
    least = max(_ALIVE * cost.largest, 2 * cost.activations)
    if max_bytes < least:
        raise TooLittleMemoryError(
            f"max_bytes={max_bytes} is too low: one sample and one input at a time need about "
            f"{least} bytes"
        )


def gains_from_stacking(task: Task, chunk_size: int | None, max_bytes: int) -> bool:
    """Whether samples at once, with stacked weights, beat one at a time.

    On a GPU, whenever several fit. On a CPU only for small dense networks: the columns of a
    convolution for many samples leave the cache, and its taps are read again from memory.
    """
    weights = sum(p.nbytes for p in task.weights.values())
    activations = (_GRADIENT + len(task.inputs)) * task.cost.activations
    if (chunk_size or max_bytes // (_STACKED * weights + activations)) < 2:
        return False
    if task.device.type != "cpu":
        return True
    convolves = any(p.ndim > 2 for p in task.weights.values())
    return not convolves and weights < 4 * 2**20


def gradient_parts(n: int, at_most: int, problem: Problem) -> list[slice]:
    """n rows in parts of nearly equal size, at most so large.

    On a CPU the parts are the same for any number of threads, since the last bit of a gradient may
    depend on those beside it; four of them, or a multiple, share out well among two or four. On a
    GPU there are as few as may be.
    """
    little = _LITTLE // problem.activation_bytes
    size = min(at_most, max(_PART, little))
    if problem.before.device.type != "cpu":
        n_parts = -(-n // at_most)
    else:
        n_parts = 1 if n <= min(at_most, little) else min(n, 4 * -(-n // (4 * size)))
    ends = [n * k // n_parts for k in range(n_parts + 1)]
    return [slice(*pair) for pair in pairwise(ends)]


@dataclass(frozen=True)
class Footprint:
    """Bytes of the trainable weights, of the largest kernel of a convolution among them, and of all
    activations of one input."""

    weights: int
    kernel: int
    activations: int

    @classmethod
    def of(cls, problem: Problem) -> "Footprint":
        weights = problem.weights.values()
        kernel = max((w.nbytes for w in weights if w.ndim > 2), default=0)
        return cls(sum(w.nbytes for w in weights), kernel, problem.activation_bytes)

    def inputs_within(self, max_bytes: int, n_inputs: int) -> int:
        """How many inputs to predict at a time, within half of the bound.

        Change propagation takes most: it keeps what each operation gives at every input, the
        constants of its formula and, while it is at it, the same in float64. Each thread has the
        activations, or changes of them, on its way. ValueError, with what is needed, if the bound
        is too low for one sample and one input at a time.
        """
        threads = torch.get_num_threads()
        each = (_KEPT + _ON_THE_WAY * threads) * self.activations
        least = 2 * max(each, _GRADIENT * threads * self.activations)
        if max_bytes < least:
            raise TooLittleMemoryError(
                f"max_bytes={max_bytes} is too low: one sample and one input at a time need about "
                f"{least} bytes with {threads} threads"
            )
        return min(n_inputs, max_bytes // 2 // each)

    def samples_within(self, max_bytes: int) -> int:
        """How many samples' gradients to have at once on each thread, within half of the bound.

        A pass holds each layer's input and output gradient in float64 and in float32, and what lies
        between, and then the patches that the layers read. Of several samples change propagation
        has on its way what fills the cache.
        """
        on_thread = max_bytes // 2 // torch.get_num_threads() - _ON_THE_WAY * CACHE
        return max(1, min(_SAMPLES, on_thread // ((_GRADIENT + _PATCHES) * self.activations)))

    def rows_within(self, max_bytes: int, n_samples: int, n_outputs: int, n_rows: int) -> int:
        """At how many inputs, at most n_rows, to have the gradients that are brought together with
        those of all samples, which are there throughout.

        An input has output gradients for each prediction; for the layer that a thread is at,
        patches and gradients of kernels: those of dense layers are never formed. ValueError, with
        what is needed, if the bound is too low for one.
        """
        threads, held = torch.get_num_threads(), 2 * n_samples * self.activations
        gradients = (_GRADIENT + 4 * n_outputs) * self.activations
        at_hand = _PATCHES * self.activations + (1 + n_outputs) * self.kernel
        each = gradients + threads * at_hand
        if max_bytes < held + each:
            raise TooLittleMemoryError(
                f"max_bytes={max_bytes} is too low: the gradients of {n_samples} samples and the "
                f"gradients at one input need about {held + each} bytes with {threads} threads; "
                "raise it, or measure fewer samples at a time"
            )
        return min(n_rows, (max_bytes - held) // each)

    def stacked_within(self, max_bytes: int) -> int:
        """How many samples' gradients, steps and weights to stack, within half of the bound."""
        of_sample = _STACKED * self.weights + (_GRADIENT + _PATCHES) * self.activations
        return max(1, max_bytes // 2 // of_sample)
