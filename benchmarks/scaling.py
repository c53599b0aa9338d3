"""Time and memory of a measurement as it grows, and the bound on memory.

A small convolutional network is measured by each method while one of the number of samples,
probes, channels or classes grows. Memory is the peak above what was in use before the measurement,
in a fresh process. Then larger images, whose activations weigh more than the weights, are measured
within bounds of several sizes: the peak is to stay below the bound, the copies of the weights, the
result and ALLOWANCE together. Run as `python benchmarks/scaling.py`: prints a table and writes it
to benchmarks/results/scaling.json. Takes about three minutes.
"""

import gc
import importlib
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import _results
import torch
from _processes import in_fresh_process
from torch import nn

import srel_core as sc
from srel_core.engine.layers import compiled
from srel_core.experiments.provenance import environment

BASE = {"samples": 32, "probes": 64, "channels": 32, "classes": 3, "size": 16}
BOUNDED = {"samples": 16, "probes": 96, "channels": 64, "classes": 3, "size": 32}
VARIED = {
    "samples": (16, 32, 64, 128),
    "probes": (16, 64, 256, 1024),
    "channels": (16, 32, 64, 128),
    "classes": (3, 10, 30, 100),
}
BOUNDS = (2**26, 2**27, 2**28, 2**31)
METHODS = ("shared", "stacked", "low_rank", "tangent")
# What libraries allocate by themselves when they are first used, and what malloc keeps.
ALLOWANCE = 2**26
SMALLEST = {"samples": 2, "probes": 2, "channels": 2, "classes": 2, "size": 8, "max_bytes": 2**31}
_NETWORK = ("channels", "classes", "size")
Row = dict[str, Any]


def network(channels: int, classes: int, size: int) -> nn.Module:
    """Two convolutions and two linear layers on 3×size×size images."""
    flat = (size // 4) ** 2 * channels
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(flat, 4 * channels), nn.ReLU(), nn.Linear(4 * channels, classes),
    )  # fmt: skip


def in_use() -> int:
    """Bytes of memory that this process holds."""
    return 1024 * _status("VmRSS")


def _status(field: str) -> int:
    """A field of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_above(work: Callable[[], object]) -> int:
    """The most bytes that this process has held during a call, less those before it."""
    if not Path("/proc/self/clear_refs").exists():  # not Linux: the highest peak so far
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    before = in_use()
    Path("/proc/self/clear_refs").write_text("5")  # forget earlier peaks
    work()
    return 1024 * _status("VmHWM") - before


def work(
    *, samples: int, probes: int, channels: int, classes: int, size: int, method: str,
    max_bytes: int, **_: object,
) -> Callable[[], sc.Influence]:  # fmt: skip
    """One measurement, to be called."""
    model = network(channels, classes, size).eval()
    torch.manual_seed(0)
    x, at = (torch.randn(n, 3, size, size) for n in (samples, probes))
    arguments = (model, x, torch.arange(samples) % classes, at)
    given: Row = {"divergences": ["kl"], "max_bytes": max_bytes}
    if method == "tangent":
        return lambda: sc.tangent_influence(*arguments, **given)
    rule = sc.SGD(1e-4) if method == "low_rank" else sc.Adam(1e-4)
    return lambda: sc.influence(*arguments, rule=rule, method=method, **given)


def one(task: Row) -> Row:
    """Peak and time of one measurement, in the process that it is called in."""
    torch.set_num_threads(task["threads"])
    # What torch loads when it is first used, and loops compiled, some 200 MiB.
    with mock.patch.object(compiled, "WORTH_COMPILING", 0):
        work(**{**task, **SMALLEST})()
    measurement = work(**task)
    peak, seconds = peak_above(measurement), []
    gc.collect()  # what compiling has left, which would count for whichever comes next
    for _ in range(task["repeats"]):
        started = time.perf_counter()
        measurement()
        seconds.append(time.perf_counter() - started)
    weights = sum(p.nbytes for p in network(*(task[k] for k in _NETWORK)).parameters())
    copies = 6 + task["threads"] + (4 if task["method"] == "stacked" else 0)
    inputs = task["samples"] + task["probes"]
    result = 8 * task["samples"] * inputs * task["classes"]
    return {
        **task,
        "peak_bytes": peak,
        "beside_bound_bytes": copies * weights + 4 * result,
        "seconds": statistics.median(seconds) if seconds else None,
    }


def tasks(threads: int, repeats: int) -> list[Row]:
    growing = [
        {**BASE, "max_bytes": 2**31, "method": method, "varied": name, name: value}
        for method in METHODS
        for name, values in VARIED.items()
        for value in values
    ]
    bounded = [
        {**BOUNDED, "method": method, "varied": "max_bytes", "max_bytes": bound}
        for method in METHODS
        for bound in BOUNDS
    ]
    return [{"repeats": repeats, "threads": threads, **task} for task in growing + bounded]


def main() -> None:
    parser = _results.parser(__doc__)
    parser.add_argument("--repeats", type=_results.positive, default=2)
    parser.add_argument("--threads", type=_results.positive, default=torch.get_num_threads())
    options = parser.parse_args()
    importlib.import_module("torch._dynamo")  # torch.func does, with seconds for each process
    rows = []
    for task in tasks(options.threads, options.repeats):
        row = in_fresh_process(one, task, start="fork")
        rows.append(row)
        print(
            f"{row['method']:9s} {row['varied']} = {row[row['varied']]}: "
            f"{row['seconds']:.3f} s, peak {row['peak_bytes'] / 2**20:.1f} MiB"
        )
    result = {
        "rows": rows,
        "allowance_bytes": ALLOWANCE,
        "environment": environment(),
    }
    _results.save(options.write_to, "scaling", result)
    over = [
        row
        for row in rows
        if row["varied"] == "max_bytes"
        and row["peak_bytes"] > row["max_bytes"] + row["beside_bound_bytes"] + ALLOWANCE
    ]
    if over:
        raise SystemExit(f"{len(over)} measurements took more memory than their bound")


if __name__ == "__main__":
    main()
