"""The time of a program by kinds of torch's operations, as torch's profiler sees it."""

import time
from collections.abc import Callable

import torch

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "einsum", "dot"),
    "convolutions": ("conv",),
    "moving and shaping": (
        "copy_", "clone", "cat", "stack", "fill_", "zero_", "pad", "im2col", "unfold", "empty",
        "contiguous", "zeros", "expand", "reshape", "view", "permute", "transpose", "select",
        "slice", "unbind", "as_strided", "detach", "_to_copy", "to", "flatten", "unflatten",
        "split", "narrow", "alias", "resize", "set_", "lift", "movedim", "squeeze", "unsqueeze",
        "t", "resolve", "result_type", "item", "_local_scalar", "arange", "index",
    ),
}  # fmt: skip


# What the profiler does not see as an operation of torch's.
UNSEEN = "compiled loops, Python and other"


def kind_of(operation: str) -> str:
    """Of one of torch's operations, such as aten::mm; what is in no list works element by element
    or reduces."""
    name = operation.removeprefix("aten::")
    if not operation.startswith("aten::"):
        return UNSEEN
    if "conv" in name:
        return "convolutions"
    for kind, names in KINDS.items():
        if any(name == n or (n in ("im2col", "pad", "empty", "view") and n in name) for n in names):
            return kind
    return "element by element and reductions"


def by_kind(work: Callable[[], None]) -> dict[str, float]:
    """Seconds of a call on one thread by kind of operation, as the profiler sees them."""
    started = time.thread_time()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
        seconds = time.thread_time() - started
    spent: dict[str, float] = {}
    for event in profile.key_averages():
        kind = kind_of(event.key)
        spent[kind] = spent.get(kind, 0) + event.self_cpu_time_total / 1e6
    known = sum(v for kind, v in spent.items() if kind != UNSEEN)
    spent[UNSEEN] = max(0.0, seconds - known)
    return spent


def shares(spent: dict[str, float]) -> dict[str, float]:
    """Of the whole, the largest first."""
    total = sum(spent.values())
    return {kind: v / total for kind, v in sorted(spent.items(), key=lambda item: -item[1])}
