"""Cost model of the published measurement, against the machine: python benchmarks/cost_model.py

ResNet-18 without normalisation, 32×32 images, 60 samples that are the probes, on this machine's
threads, each of which steps samples of its own. Three ways: "shared" (Adam), "low_rank" (SGD) and
the tangent limit. Operations are those of `srel_core.engine.layers.operation_counts`; bytes are
those of the weights, read and written (activations stay in the cache). The machine's rates are
measured on the same threads and between the measurements: products of square matrices of size 1024
and, in single precision, a convolution of large maps, of which the quicker counts, and the copying
of an array as large as the weights that move, and of one that no cache holds.

The floor takes for each layer and phase the larger of the time to compute and the time to move:
a core computes while it waits for memory, so their sum would not be a bound; it is given beside.
It is a bound at these rates, for these operations.
Times are medians of repeats by the clock. On a machine that does other work too the CPU time of one
thread alone, against the floor of one thread, says more; there the time is also taken apart, by
phases, by kinds of operation (torch's profiler) and by layers; the least that a kind took in any
repeat is what those kernels need. Takes about three minutes.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Barrier
from typing import Any
from unittest import mock

import _results
import published_measurement as published
import torch
from _kinds import by_kind, shares
from torch import Tensor, nn
from torch.nn import functional as F

import srel_core as sc
from srel_core.engine import fast, tangent_kernel
from srel_core.engine.layers import sgd_steps
from srel_core.engine.layers.compaction import compact
from srel_core.engine.layers.kinds.fixed_size_conv import FixedSizeConv2d
from srel_core.engine.layers.operation_counts import (
    LayerCost,
    layer_costs,
    multiply_adds,
    phases_of,
)
from srel_core.engine.layers.per_sample_gradients import PerSampleGradients
from srel_core.engine.propagation import propagate
from srel_core.engine.setup.problem import Problem
from srel_core.engine.setup.task import Task, measuring
from srel_core.experiments.provenance import environment

LR = published.LR
PRODUCT_SIZE, BEYOND_CACHE = 1024, 2**28
N_MAPS, MAP_SIZE, CHANNELS = 16, 32, 64  # of the convolution
PUBLISHED_PAIRS = 6  # of its 180 combinations of a sample and a class of probes
Row = dict[str, Any]


def shared(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    sc.influence(model, images, labels, images, rule=sc.Adam(LR), method="shared")


def low_rank(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    sc.influence(model, images, labels, images, rule=sc.SGD(LR), method="low_rank")


def limit(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    sc.tangent_influence(model, images, labels, images)


WAYS: dict[str, Callable[[nn.Module, Tensor, Tensor], None]] = {
    "shared": shared,
    "low_rank": low_rank,
    "tangent": limit,
}


def on_threads(
    prepare: Callable[[], Callable[[], object]], n: int, repeats: int = 5
) -> tuple[float, float]:
    """Seconds of one call by the clock and by CPU time, when n threads make it at once.

    `prepare` gives each thread what it calls.
    """
    start, torch_threads = Barrier(n), torch.get_num_threads()

    def one(_: int) -> list[tuple[float, float]]:
        torch.set_num_threads(1)
        work = prepare()
        work()
        taken = []
        for _ in range(repeats):
            start.wait()
            clock, cpu = time.perf_counter(), time.thread_time()
            work()
            taken.append((time.perf_counter() - clock, time.thread_time() - cpu))
        return taken

    with ThreadPoolExecutor(n) as pool:
        taken = [pair for of_one in pool.map(one, range(n)) for pair in of_one]
    torch.set_num_threads(torch_threads)
    clock, cpu = zip(*taken, strict=True)
    return statistics.median(clock), statistics.median(cpu)


def convolution() -> Callable[[], object]:
    """By 3×3 kernels, of maps with their padding: the work is that of the multiply-adds alone."""
    maps, kernels = (
        torch.randn(*shape).contiguous(memory_format=torch.channels_last)
        for shape in ((N_MAPS, CHANNELS, MAP_SIZE + 2, MAP_SIZE + 2), (CHANNELS, CHANNELS, 3, 3))
    )
    return lambda: F.conv2d(maps, kernels)


def machine_rates(n_threads: int, moved_bytes: int) -> dict[str, tuple[float, float]]:
    """Rates of all threads together, (by the clock, by CPU time): flop/s and bytes/s."""
    rates = {}
    for name, dtype in (("products", torch.float32), ("float64", torch.float64)):
        a = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, dtype=dtype)
        seconds = on_threads(lambda a=a: lambda: a @ a, n_threads)
        rates[name] = tuple(2 * PRODUCT_SIZE**3 * n_threads / s for s in seconds)
    seconds = on_threads(convolution, n_threads)
    operations = 2 * N_MAPS * MAP_SIZE**2 * 9 * CHANNELS**2
    rates["convolutions"] = tuple(operations * n_threads / s for s in seconds)
    rates["float32"] = tuple(map(max, rates["products"], rates["convolutions"]))
    for name, size in (("weights", moved_bytes), ("memory", BEYOND_CACHE)):

        def copying(size: int = size) -> Callable[[], object]:
            source = torch.ones(size // 4)
            copied = torch.empty_like(source)
            return lambda: copied.copy_(source)

        seconds = on_threads(copying, n_threads)
        rates[name] = tuple(2 * size * n_threads / s for s in seconds)
    return rates


def floor(layers: list[LayerCost], way: str, n: int, n_outputs: int, rate: dict[str, float]) -> Row:
    """The least seconds by phase for n samples that are the probes, and their sum with and
    without computing and moving at the same time."""
    by_phase: dict[str, float] = dict.fromkeys(("output gradients", "steps", "predictions"), 0.0)
    without_overlap = 0.0
    for layer in layers:
        done = phases_of(layer, way, n, n, n_outputs)
        w = layer.weights
        # Gradients read each weight forwards and backwards, in float64, once for all samples. A
        # shared step reads w and writes w⁺, and predictions read w⁺; else weights are read once.
        moved = {
            "output gradients": 2 * 8 * w,
            "steps": n * 8 * w if way == "shared" else 0,
            "predictions": n * 4 * w if way == "shared" else 4 * w,
        }
        for phase, operations in done.items():
            compute = 2 * operations / rate["float64" if phase == "output gradients" else "float32"]
            traffic = moved[phase] / rate["weights"]
            by_phase[phase] += max(compute, traffic)
            without_overlap += compute + traffic
    return {
        "by_phase": by_phase,
        "seconds": sum(by_phase.values()),
        "seconds_without_overlap": without_overlap,
    }


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU time of all threads together."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


# The functions whose time makes up a phase, on one thread.
PHASES = {
    "shared": {
        "output gradients": [(fast, "loss_gradients"), (PerSampleGradients, "with_cached_patches")],
        "steps": [(PerSampleGradients, "step")],
        "predictions": [(fast, "_in_parts")],
    },
    "low_rank": {
        "output gradients": [
            (sgd_steps, "loss_gradients"),
            (PerSampleGradients, "with_cached_patches"),
        ],
        "predictions": [(propagate.Propagation, "changes")],
    },
    "tangent": {
        "output gradients": [
            (tangent_kernel, "loss_gradients"),
            (tangent_kernel, "prediction_gradients"),
        ],
        "predictions": [(tangent_kernel, "_of_layer")],
    },
}


# What calls the kernels of the layers, within the predictions.
LAYERS = {
    "shared": [(kind, "forward") for kind in (nn.Conv2d, nn.Linear, FixedSizeConv2d)],
    "low_rank": [(propagate._Change, "_of_layer")],
    "tangent": [(tangent_kernel, "_of_layer")],
}


@contextmanager
def phase_clock(way: str) -> Iterator[dict[str, float]]:
    """Adds up the seconds spent in each phase within the block, and in the layers of the
    predictions."""
    spent = dict.fromkeys([*PHASES[way], "layers"], 0.0)
    inside: list[str] = []

    def watched(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if phase == "layers" and "predictions" not in inside:
                return function(*args, **kwargs)
            inside.append(phase)
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent[phase] += time.thread_time() - started
                inside.pop()

        return call

    # The layers first: where they are the predictions, these are watched around them.
    patches = [
        (owner, name, phase)
        for phase, functions in {"layers": LAYERS[way], **PHASES[way]}.items()
        for owner, name in functions
    ]
    with ExitStack() as stack:
        for owner, name, phase in patches:
            watching = watched(getattr(owner, name), phase)
            stack.enter_context(mock.patch.object(owner, name, watching))
        yield spent


def layer_times(problem: Problem, layers: list[LayerCost], rate: float) -> list[Row]:
    """Each layer by itself at all inputs, on one thread, against its multiply-adds at `rate`."""
    small, given = compact(problem), {}

    def keep(name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        given[name] = (module, args[0].clone(memory_format=torch.preserve_format))

    names = {layer.name for layer in layers}
    hooks = [
        module.register_forward_pre_hook(lambda m, args, name=name: keep(name, m, args))
        for name, module in small.model.named_modules()
        if name in names
    ]
    rows = []
    with torch.no_grad():
        small.model(small.inputs)
        for hook in hooks:
            hook.remove()
        for layer in layers:
            module, inputs = given[layer.name]
            _, seconds = on_threads(lambda m=module, x=inputs: torch.no_grad()(lambda: m(x)), 1)
            least = 2 * layer.multiply_adds * len(inputs) / rate
            rows.append(
                {
                    "layer": layer.name,
                    "multiply_adds": layer.multiply_adds,
                    "dense_multiply_adds": layer.dense_multiply_adds,
                    "weights": layer.weights,
                    "all_weights": layer.all_weights,
                    "seconds_for_all_inputs": seconds,
                    "over_floor": seconds / least,
                }
            )
    return rows


def measured(way: str, arguments: tuple[Any, ...], repeats: int) -> Row:
    """One way, timed on all threads, and taken apart on one."""
    n_threads, work = torch.get_num_threads(), lambda: WAYS[way](*arguments)
    work()
    clock, cpu = zip(*(timed(work) for _ in range(repeats)), strict=True)
    torch.set_num_threads(1)
    on_one = []
    for _ in range(repeats):
        with phase_clock(way) as spent:
            on_one.append((timed(work)[1], spent))
    alone, spent = sorted(on_one, key=lambda run: run[0])[len(on_one) // 2]
    profiles = sorted((by_kind(work) for _ in range(repeats)), key=lambda of: sum(of.values()))
    torch.set_num_threads(n_threads)
    layers = spent.pop("layers")
    return {
        "seconds": statistics.median(clock),
        "cpu_seconds_per_thread": statistics.median(cpu) / n_threads,
        "cpu_seconds_on_one_thread": alone,
        "cpu_seconds_by_phase_on_one_thread": {**spent, "rest": alone - sum(spent.values())},
        "cpu_seconds_in_layers_on_one_thread": layers,
        "shares_by_kind": shares(profiles[len(profiles) // 2]),
        # A machine that does other work too makes a kernel slower, never faster.
        "least_seconds_by_kind_on_one_thread": {
            kind: min(of.get(kind, 0.0) for of in profiles) for kind in profiles[0]
        },
    }


def published_algorithm(arguments: tuple[Any, ...], repeats: int) -> Row:
    """Some of its 180 combinations, extrapolated to all."""
    every = published.combinations(arguments[2])
    few = every[:: len(every) // PUBLISHED_PAIRS][:PUBLISHED_PAIRS]

    def work() -> None:
        published.one_by_one(published.constructed, *arguments, few)

    work()
    clock, cpu = zip(*(timed(work) for _ in range(repeats)), strict=True)
    scale = len(every) / len(few)
    return {
        "seconds": statistics.median(clock) * scale,
        "cpu_seconds": statistics.median(cpu) * scale,
        "combinations_timed": len(few),
        "combinations": len(every),
    }


def main() -> None:
    parser = _results.parser(__doc__)
    parser.add_argument("--repeats", type=_results.positive, default=3)
    parser.add_argument("--threads", type=_results.positive, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arguments = published.problem()
    model, images, labels = arguments
    layers = layer_costs(model, images[:1])
    n, moved_bytes = len(images), 4 * sum(layer.weights for layer in layers)
    rates, ways = [machine_rates(options.threads, moved_bytes)], {}
    for way in WAYS:
        ways[way] = measured(way, arguments, options.repeats)
        rates.append(machine_rates(options.threads, moved_bytes))
    reference = published_algorithm(arguments, options.repeats)
    by_clock, by_cpu = (
        {name: statistics.median(r[name][i] for r in rates) for name in rates[0]} for i in (0, 1)
    )
    for way, row in ways.items():
        row["multiply_adds"] = multiply_adds(layers, way, n, n, published.N_CLASSES)
        row["floor"] = floor(layers, way, n, published.N_CLASSES, by_clock)
        on_cpu = floor(layers, way, n, published.N_CLASSES, by_cpu)
        row["floor_in_cpu_time"] = on_cpu
        row["over_floor"] = row["seconds"] / row["floor"]["seconds"]
        alone = row["cpu_seconds_on_one_thread"] / options.threads
        row["over_floor_on_one_thread"] = alone / on_cpu["seconds"]
        row["published_over_this"] = reference["seconds"] / row["seconds"]
        row["published_over_floor"] = reference["seconds"] / row["floor"]["seconds"]
        print(
            f"{way:9s} {row['seconds']:6.2f} s, floor {row['floor']['seconds']:.2f} s: "
            f"{row['over_floor']:.2f} times ({row['over_floor_on_one_thread']:.2f} on one thread); "
            f"published / this {row['published_over_this']:.1f}, / floor "
            f"{row['published_over_floor']:.1f}"
        )
    with measuring(model):
        problem = Problem.of(Task.make(model, images, labels, images, "cross_entropy"))
        by_layer = layer_times(problem, layers, by_cpu["float32"] / options.threads)
    dense = sum(layer.dense_multiply_adds for layer in layers)
    result = {
        "samples_and_probes": n,
        "multiply_adds_of_one_input": sum(layer.multiply_adds for layer in layers),
        "dense_multiply_adds_of_one_input": dense,
        "weights": sum(layer.all_weights for layer in layers),
        "weights_that_move": sum(layer.weights for layer in layers),
        "rates": {"by_clock": by_clock, "by_cpu_time": by_cpu},
        "ways": ways,
        "published": reference,
        "layers": by_layer,
        "repeats": options.repeats,
        "threads": options.threads,
        "environment": environment(),
    }
    _results.save(options.write_to, "cost_model", result)


if __name__ == "__main__":
    main()
