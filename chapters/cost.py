# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What a measurement costs
#
# $S_{\rm rel}$ asks for one training step for each sample, each from the same weights, and for a
# prediction after each of them at each {term}`probe`. That is why the experiments of
# {cite:t}`dan2021dynamics` take twenty images per class and not two thousand. This chapter counts what such a
# measurement has to compute, and compares it with what the machine can do; {doc}`how_much` asks how many samples
# and probes a wanted interval needs.

# %% tags=["parameters"]
profile: str = "laptop"  # as in every chapter; the benchmarks are the same for all
results_dir: str = ""  # as in every chapter; here nothing is kept
benchmarks_dir: str = ""  # where the benchmarks' results are; empty: those of the book

# %% tags=["hide-input"]
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown

import srel_core as sc
from srel_core.book.figures import timings
from srel_core.book.figures.style import style
from srel_core.book.text.costs import benchmark, layers_of, table
from srel_core.choices import check_known
from srel_core.engine.layers.operation_counts import layer_costs, multiply_adds
from srel_core.experiments.networks import mlp, resnet18

check_known("profile", profile, ("smoke", "laptop", "paper"))
results = Path(benchmarks_dir or Path(sc.__file__).parents[1] / "benchmarks" / "results")
model_of_cost = benchmark("cost_model", results)
ways, published = model_of_cost["ways"], model_of_cost["published"]
layers = layers_of(lambda: resnet18(3), 32)
WANTED, OVER_FLOOR = 30, 1.5
NAMES = {"shared": "Adam (`shared`)", "low_rank": "SGD (`low_rank`)", "tangent": "tangent limit"}

# %% tags=["hide-input", "code-below"]
whole, best = benchmark("published_measurement", results), ways["shared"]
Markdown(
    f"The published measurement, 60 images that are samples and probes at once, takes `srel_core` "
    f"{best['seconds']:.2f} s for the step of a fresh Adam, **{whole['ratio']:.1f} times less than the published "
    f"algorithm**, and {best['over_floor']:.1f} times as long as the multiply-adds alone would take at the full speed of "
    f"the machine. Most of it, {multiply_adds(layers, 'shared', 60, 60, 3)['predictions'] / sum(multiply_adds(layers, 'shared', 60, 60, 3).values()):.0%} "
    "of the multiply-adds, are predictions after the steps."
)

# %% tags=["hide-input", "code-below"] mystnb={"figure": {"caption": "Time of the published measurement by kind of operation, on one thread, under the profiler, which makes Python look more expensive than it is.", "name": "fig-shares"}, "image": {"alt": "Three stacked bars, one for each way of measuring: shares of the time by kind of operation."}}
with style():
    figure, axes = plt.subplots(figsize=(7.5, 2.2))
    timings.stacked_shares(axes, {way: row["shares_by_kind"] for way, row in ways.items()})
plt.show()

# %% [markdown]
# Times and rates in the text are read from the committed results of the benchmarks (`make bench`), with the
# machine that they come from. The figure is what torch's profiler sees on one thread.

# %% [markdown]
# ## What has to be computed
#
# :::{prf:definition} Cost of a layer
# :label: def-layer-cost
#
# A linear or convolution layer has $m$ multiply-adds for one input: those whose weight meets the
# input. A tap of a convolution that lies on padding multiplies a zero; it is not counted, its gradient
# is exactly zero, and neither SGD nor the first step of Adam moves it.
# :::
#
# :::{prf:definition} Cost of a measurement
# :label: def-measurement-cost
#
# With $S$ samples and $I$ inputs at which predictions are compared (the probes, and those samples
# that are not among them), each layer contributes
#
# - $2 S m$ for the *output gradients*, one pass forwards and one backwards for each sample, in double precision;
# - $S m$ for the *steps*, the gradients of its weights;
# - $S I m$ for the *predictions*, in single precision, after each step.
#
# Change propagation, which is how SGD steps are computed, pushes changes through the network in place of
# predictions, again for $S I m$. In place of the $S m$ it has the effect of the step within the layer, by its
# factors of low rank or by the step in full, whichever is less. The tangent limit needs no prediction, only
# gradients of every output at every input, and products of gradients.
# :::
#
# So a measurement is mostly its predictions, $I$ of them for each sample. For the published network,
# a ResNet-18 {cite:p}`he2016resnet` without normalisation on 32×32 images:

# %% tags=["hide-input"]
stages: dict[str, list] = {}
for layer in layers:
    stages.setdefault(layer.name.split(".")[0], []).append(layer)
rows = []
for stage, of in [*stages.items(), ("**all**", layers)]:
    m, dense = (sum(getattr(la, n) for la in of) for n in ("multiply_adds", "dense_multiply_adds"))
    live, weights = (sum(getattr(la, n) for la in of) for n in ("weights", "all_weights"))
    rows.append(
        [
            stage,
            of[-1].positions,
            f"{m / 1e6:.2f}",
            f"{m / dense:.0%}",
            f"{weights / 1e6:.2f}",
            f"{live / weights:.0%}",
        ]
    )
header = ["layers", "positions at the end", "10⁶ multiply-adds", "of those with padding"]
Markdown(table([*header, "10⁶ weights", "that move"], rows))

# %% tags=["hide-input"]
m, dense = (sum(getattr(la, n) for la in layers) for n in ("multiply_adds", "dense_multiply_adds"))
live, weights = (sum(getattr(la, n) for la in layers) for n in ("weights", "all_weights"))
last = stages["layer4"]
taps = last[-1].all_weights // last[-1].weights
Markdown(
    f"In the last stage the maps have {last[-1].positions} position, and of the {taps} taps of a kernel "
    f"there {taps - 1} only ever see padding. **{1 - live / weights:.0%} of the network's weights never move** in "
    f"the published experiment, and {1 - m / dense:.0%} of the multiply-adds of a prediction that is "
    "computed without this knowledge are products with zero."
)

# %% [markdown]
# ## The floor
#
# The benchmark `benchmarks/cost_model.py` measures how fast the machine could do this work: the rate of
# products of large matrices in single and double precision (in single precision that of convolutions of large
# maps, if it is higher), and how fast an array as large as the weights is copied. The *floor* adds up, over
# layers and phases, the time to compute or the time to move the weights, whichever is larger, because a core
# goes on computing while it waits for memory. For these operations at these rates the floor is a lower bound
# that cannot be reached: activations, pooling and sums cost nothing in it, and small products run as fast as
# large ones. It assumes that stepped weights are written to memory and read again; a program that used each
# layer's weights while they are still in a cache would save part of the steps' share.

# %% tags=["hide-input"]
rows = []
for way, row in ways.items():
    done = multiply_adds(layers, way, 60, 60, 3)
    rows.append(
        [
            NAMES[way],
            f"{sum(done.values()) / 1e9:.1f}",
            f"{done['predictions'] / sum(done.values()):.0%}",
            f"{row['floor']['seconds']:.2f} s",
            f"{row['seconds']:.2f} s",
            f"{row['over_floor']:.2f}",
            f"{row['over_floor_on_one_thread']:.2f}",
            f"{row['published_over_this']:.1f}×",
            f"{row['published_over_floor']:.1f}×",
        ]
    )
header = ["way", "10⁹ multiply-adds", "last phase", "floor", "measured", "over floor"]
header += ["on one thread", "published over measured", "published over floor"]
Markdown(table(header, rows))

# %% tags=["hide-input"]
rates, machine = model_of_cost["rates"]["by_clock"], model_of_cost["environment"]
closest = min(model_of_cost["layers"], key=lambda row: row["over_floor"])
reach = best["published_over_floor"]
verdict = (
    "so thirty times faster than the published algorithm is within the floor"
    if reach >= 30
    else "so **thirty times faster than the published algorithm is below the floor**: no program that "
    "does these multiply-adds at these rates can be, however it is written"
)
Markdown(
    f"Measured on {machine['device']} with {model_of_cost['threads']} threads (commit "
    f"`{machine['commit']}`): {rates['float32'] / 1e9:.0f} and {rates['float64'] / 1e9:.0f} Gflop/s in single and "
    f"double precision, {rates['weights'] / 1e9:.0f} GB/s for arrays of the size of the weights, "
    f"{rates['memory'] / 1e9:.0f} GB/s beyond any cache. The published algorithm takes "
    f"{published['seconds']:.1f} s there (from {published['combinations_timed']} of its {published['combinations']} "
    f"combinations of a sample and a class of probes). For the published step, a fresh Adam, the floor is "
    f"{best['floor']['seconds']:.2f} s, {reach:.1f} times less, {verdict}. "
    f"Without overlap of computing and moving, the floor would be {best['floor']['seconds_without_overlap']:.2f} s; "
    f"{best['floor']['by_phase']['steps']:.2f} s of it are the steps. "
    f"Of the layers below, each timed by itself, the one that comes closest to this rate takes {closest['over_floor']:.2f} "
    f"times as long as it would there (`{closest['layer']}`)"
    f"{'.' if closest['over_floor'] >= 1 else ': **less, so that this floor is none**.'}"
)

# %% [markdown]
# The floor holds for these multiply-adds at these precisions. Schemes with fewer multiplications for a 3×3
# kernel, or numbers with fewer digits, would have a different floor, and different rounding errors.

# %% tags=["hide-input"]
slow = sorted(model_of_cost["layers"], key=lambda row: -row["seconds_for_all_inputs"])
heavy = slow[:5]
total = sum(row["seconds_for_all_inputs"] for row in slow)
share = sum(row["seconds_for_all_inputs"] for row in heavy) / total
ratios = [row["over_floor"] for row in heavy]
by_themselves = total * model_of_cost["samples_and_probes"] / model_of_cost["threads"]
Markdown(
    f"The {len(heavy)} layers that take longest ({', '.join('`' + row['layer'] + '`' for row in heavy)}) make up "
    f"{share:.0%} of a prediction, at {min(ratios):.1f} to {max(ratios):.1f} times what large matrix products "
    f"of as many multiply-adds would take. All layers together, each timed by itself, come to {by_themselves:.2f} s for the "
    f"predictions of the whole measurement on {model_of_cost['threads']} threads, beside a floor of "
    f"{best['floor_in_cpu_time']['by_phase']['predictions']:.2f} s at the rates of those threads: what is in between is the "
    "price of small products. In the measurement they take "
    f"{best['cpu_seconds_by_phase_on_one_thread']['predictions'] / model_of_cost['threads']:.2f} s."
)

# %% [markdown]
# ## With these kernels
#
# What separates the measurement from the floor is, first of all, what torch's kernels make of these shapes.
# The table shows the time in convolutions and products of matrices alone: the least that the profiler saw on
# one thread in a few repeats, divided by the number of threads. It is what would be left if all else
# (activations, pooling, steps, sums, checks, copies, Python) cost nothing and no thread ever waited for
# another or for memory. *Waiting* is what the measurement took beyond a run on one thread, divided likewise;
# the two are separate runs, so that it can be negative on a host with other users. The published algorithm
# was timed twice, by a few of its combinations (as above) and in full
# (`benchmarks/published_measurement.py`); *out of reach* is judged by the longer of the two.

# %% tags=["hide-input"]
KERNELS = {"convolutions": "convolutions", "matrix products": "products of matrices"}


def longest_published(folder):
    """Seconds of the published algorithm, by the longer of two measurements."""
    by_few = benchmark("cost_model", folder)["published"]["seconds"]
    return max(by_few, benchmark("published_measurement", folder)["seconds"]["published"])


def by_kernel(cost, way):
    """The least seconds of a way in each kind of kernel, on one thread, divided by the number of
    threads; files from before there were repeats have shares of one profiled run."""
    row = cost["ways"][way]
    one_run = {k: v * row["cpu_seconds_on_one_thread"] for k, v in row["shares_by_kind"].items()}
    least = row.get("least_seconds_by_kind_on_one_thread", one_run)
    return {kind: least.get(kind, 0.0) / cost["threads"] for kind in KERNELS}


threads, longest = model_of_cost["threads"], longest_published(results)
columns = []
for way, row in ways.items():
    in_kernels, alone = by_kernel(model_of_cost, way), row["cpu_seconds_on_one_thread"] / threads
    least = sum(in_kernels.values())
    columns.append(
        [
            NAMES[way],
            *(f"{v:.2f} s" for v in (*in_kernels.values(), least)),
            f"{least / row['floor_in_cpu_time']['seconds']:.2f}",
            f"{longest / least:.1f}×",
            *(f"{v:.2f} s" for v in (alone - least, row["seconds"] - alone, row["seconds"])),
        ]
    )
names = ["", *KERNELS.values(), "**these alone**", "… over the floor"]
names += ["… published algorithm over them", "all else", "waiting", "measured"]
header, *rows = zip(names, *columns, strict=True)
Markdown(table(list(header), rows))


# %% tags=["hide-input"]
def in_reach(folder):
    """What the kernels leave of the time that is allowed, for two ways, in words."""
    cost, said, allowed = benchmark("cost_model", folder), [], longest_published(folder) / WANTED
    for way, name in (("shared", "a fresh Adam"), ("low_rank", "SGD by change propagation")):
        row, least = cost["ways"][way], sum(by_kernel(cost, way).values())
        beside = row["seconds"] - least
        below = ", and so is the floor" if row["floor"]["seconds"] > allowed else ""
        said.append(
            f"for {name} these kernels take {least:.2f} s, "
            + (
                f"which is more{below}: **out of reach with them**, whatever is done about the other {beside:.2f} s"
                if least > allowed
                else f"which leaves {allowed - least:.2f} s for what now takes {beside:.2f} s"
            )
        )
    return f"{allowed:.2f} s are allowed; {'; '.join(said)}."


of_floor, phases = best["floor_in_cpu_time"], best["cpu_seconds_by_phase_on_one_thread"]
least = sum(by_kernel(model_of_cost, "shared").values())
room = OVER_FLOOR * of_floor["seconds"] - least
spent = phases | {"predictions": best["cpu_seconds_in_layers_on_one_thread"]}
over = {phase: spent[phase] / threads / of for phase, of in of_floor["by_phase"].items()}
exact = whole["float32_error_sgd_at_1e-6"]
Markdown(
    f"**Is {WANTED} times in reach?** {in_reach(results)} SGD could be computed as Adam is, by predictions after each step, "
    "at Adam's floor; but at a learning rate of $10^{-6}$ the difference of two predictions is mostly rounding, and what "
    f"is propagated is off by {1e6 * exact:.1f} parts in a million at most.\n\n"
    f"**Is {OVER_FLOOR} times the floor?** For Adam that "
    + (
        f"would leave {room:.2f} s for all else, which takes {best['cpu_seconds_on_one_thread'] / threads - least:.2f} s, and for waiting."
        if room > 0
        else "is less than these kernels take: **out of reach with them**."
    )
    + f" With all that is in them, Python included, the layers of the predictions take {over['predictions']:.1f} times their own part of the "
    f"floor (maps of 8×8 and fewer positions), the output gradients {over['output gradients']:.1f} times (double precision, for whose convolutions "
    f"torch has no tuned kernel on a CPU), and the steps {over['steps']:.1f} times (a division for each weight, which the count "
    "of multiply-adds leaves out, in weights that no core's cache holds)."
)

# %% [markdown]
# ## Goals and results
#
# The goals were set before the library was written. For the published network, the ratios are to the
# published algorithm, which here ran in full; for dense networks, to a loop that copies, steps and subtracts
# (changes) or takes one gradient for each input (tangent limit). The last column is the ratio at the floor,
# by the longer time of the published algorithm; for dense networks the floor counts the multiply-adds of
# {prf:ref}`def-measurement-cost` at the rates of large products, without moving memory.

# %% tags=["hide-input"]
GOALS = {  # samples, probes and ratios for the dense networks of benchmarks/dense_networks.py
    "784-512-512-1": (64, 256, {"change": 2.5, "tangent": 30}),
    "784-40960-1": (16, 128, {"change": 3, "tangent": None}),
}
dense_networks = benchmark("dense_networks", results)
reached = [
    (
        f"published network, {NAMES[way]}",
        whole[ratio],
        wanted,
        longest / ways[way]["floor"]["seconds"],
    )
    for way, ratio, wanted in (
        ("shared", "ratio", WANTED),
        ("low_rank", "ratio_sgd", WANTED),
        ("tangent", "ratio_tangent", None),
    )
]
for name, (n_samples, n_probes, wanted_of) in GOALS.items():
    widths = [int(width) for width in name.split("-")]
    with torch.device("meta"):
        network_of = mlp(widths[0], tuple(widths[1:-1]), widths[-1])
        dense_layers = layer_costs(network_of, torch.empty(1, widths[0]))
    for work, way in (("change", "low_rank"), ("tangent", "tangent")):
        row = dense_networks[name][work]
        done = multiply_adds(dense_layers, way, n_samples, n_samples + n_probes, widths[-1])
        in_float64 = 2 * done.pop("output gradients") / rates["float64"]
        least = in_float64 + 2 * sum(done.values()) / rates["float32"]
        words = "changes by SGD" if work == "change" else "tangent limit"
        reached.append(
            (f"{name}, {words}", row["ratio"], wanted_of[work], row["seconds"]["loop"] / least)
        )
missed = [name for name, ratio, wanted, _ in reached if wanted and ratio < wanted]
rows = [
    [name, f"{ratio:.1f}×", f"{wanted}×" if wanted else "–", f"{at_floor:.0f}×"]
    for name, ratio, wanted, at_floor in reached
]
missed_words = f"**Missed: {'; '.join(missed)}.**" if missed else "All are reached."
Markdown(
    table(["work", "reached", "goal", "at the floor"], rows)
    + f"\n\n{missed_words} The time over the floor was to be at most {OVER_FLOOR}; for the published step "
    f"it is {best['over_floor']:.1f}{', **missed**' if best['over_floor'] > OVER_FLOOR else ''}. In the "
    "floor, activations, sums, checks and what is done once for a measurement cost nothing."
)

# %% [markdown]
# ## Models of the size that people use
#
# The ways above are for small networks, and none of them is used for a large one: there, as for any
# module that they do not know, the user's own model takes each step and predicts. The table compares this,
# with no options set, to the *obvious way*: for one sample after another, copy the model, step it with a
# `torch.optim` optimizer and predict (for the limit: one forward derivative). The obvious way predicts
# nothing before the step and does not ask whether rounding drowns the change; where it does, `srel_core`
# computes a derivative along the step, or in float64, which takes longer.

# %% tags=["hide-input"]
WAYS = ("sgd", "adam", "tangent")
measured_at = results / "real_models.json"
real = benchmark("real_models", results) if measured_at.is_file() else {"models": {}}
rows = [
    [
        name, of_model["samples"], of_model["probes"],
        *(f"{of_model[way]['ratio']:.2f} ({of_model[way]['seconds']:.1f} s)" for way in WAYS),
        *(f"{of_model[way]['error_of_obvious']:.1g}" for way in ("sgd", "adam")),
        f"{max(of_model[way]['peak_bytes'] for way in WAYS) / 2**30:.1f}",
    ]
    for name, of_model in real["models"].items()
]  # fmt: skip
Markdown(
    table(
        [
            "model",
            "samples",
            "probes",
            "SGD 1e-4",
            "fresh Adam",
            "tangent limit",
            "obvious way off, SGD",
            "Adam",
            "peak memory (GiB)",
        ],
        rows,
    )
    + "\n\nTime over that of the obvious way, and time; below 1 is faster. Off: the relative error of the "
    "obvious way's KL at the median probe, which comes from the rounding of two predictions that are subtracted; "
    "where it might have exceeded 1e-3, the time went into derivatives along the step. "
    f"{real['environment']['device'].replace('(R)', '')}, {real['threads']} threads."
    if rows
    else "No measurement is among the results: `python benchmarks/real_models.py` makes one."
)

# %% [markdown]
# ## On a GPU
#
# There `influence` takes all samples at once (`method="stacked"`): each layer is one batched product of
# matrices. A test limits the number of operations that it launches for the published measurement to 600,
# whatever the number of samples, and their multiply-adds to 1.25 times those that no way can avoid.

# %% tags=["hide-input"]
on_gpus = {
    path.parent.name: benchmark("gpu_check", path.parent)
    for path in sorted(results.glob("*/gpu_check.json"))
}
rows = [
    [
        name, found["environment"]["device"],
        *(f"{found['parts']['published']['ratio'][rule]:.0f}×" for rule in ("adam", "sgd_1e-4", "tangent")),
        f"{1e3 * found['parts']['published']['seconds']['adam']:.0f} ms",
        f"{1e3 * found['parts']['published']['floor_seconds']:.1f} ms",
    ]
    for name, found in on_gpus.items()
]  # fmt: skip
Markdown(
    table(
        [
            "machine",
            "device",
            "fresh Adam",
            "SGD 1e-4",
            "tangent limit",
            "time, fresh Adam",
            "floor",
        ],
        rows,
    )
    if rows
    else "No measurement on a GPU is among the results: `make gpu-check NAME=…` makes one, in under 8 minutes."
)

# %% [markdown]
# ## On other machines
#
# A ratio depends on both programs and on the machine. The table compares the benchmarks on other machines,
# each in a folder next to the results (`make bench BENCH_RESULTS=benchmarks/results/NAME`), at the commits
# named; where a program or a benchmark has changed since, so may have the numbers.

# %% tags=["hide-input"]
COMPARED = ("cost_model", "published_measurement", "dense_networks")
machines = [
    folder
    for folder in (results, *sorted(results.iterdir()))
    if all((folder / f"{name}.json").is_file() for name in COMPARED)
]
costs, wholes, denses = ([benchmark(name, folder) for folder in machines] for name in COMPARED)
of_machines = list(zip(costs, wholes, denses, map(longest_published, machines), strict=True))
devices = [cost["environment"]["device"].replace("(R)", "") for cost in costs]


def fastest(rates):
    if "convolutions" not in rates:
        return f"{rates['float32'] / 1e9:.0f} (products; convolutions were not tried)"
    kind = max(("products", "convolutions"), key=rates.__getitem__)
    return f"{rates[kind] / 1e9:.0f} ({kind})"


def in_processes(row):
    if "ratios" not in row:
        return f"{row['ratio']:.1f}× (one process)"
    return f"{row['ratio']:.1f}× ({row['ratios'][0]:.1f} to {row['ratios'][-1]:.1f})"


commits = [
    sorted({f"`{result['environment']['commit']}`" for result in of[:3]}) for of in of_machines
]
rows = [
    ["processor", *devices],
    ["commits", *map(", ".join, commits)],
    ["threads", *(cost["threads"] for cost in costs)],
    ["Gflop/s, single precision", *(fastest(cost["rates"]["by_clock"]) for cost in costs)],
    ["published algorithm", *(f"{whole['seconds']['published']:.1f} s" for whole in wholes)],
]
for way, ratio in (("shared", "ratio"), ("low_rank", "ratio_sgd"), ("tangent", "ratio_tangent")):
    reached, at_kernels, at_floor, over = [], [], [], []
    for cost, whole, _, by in of_machines:
        row = cost["ways"][way]
        reached.append(f"**{whole[ratio]:.1f}×**")
        at_kernels.append(f"{by / sum(by_kernel(cost, way).values()):.1f}×")
        at_floor.append(f"{by / row['floor']['seconds']:.1f}×")
        over.append(f"{row['over_floor']:.2f}")
    rows += [
        [f"{NAMES[way]}, reached", *reached],
        ["… convolutions and products alone", *at_kernels],
        ["… at the floor", *at_floor],
        ["… time over the floor", *over],
    ]
for name in GOALS:
    for work, words in (("change", "changes by SGD"), ("tangent", "tangent limit")):
        rows.append([f"{name}, {words}", *(in_processes(dense[name][work]) for dense in denses)])
header = ["", "this book", *(f"`{folder.name}`" for folder in machines[1:])]
elsewhere = [f"On `{folder.name}` {in_reach(folder)}" for folder in machines[1:]]
Markdown(table(header, rows) + "\n\n" + "\n\n".join(elsewhere))

# %% [markdown]
# ## How it grows
#
# A small convolutional network on 16×16 images, with one size changed at a time (`benchmarks/scaling.py`).
# Time has a part for each measurement, one for each sample, and one for each pair of a sample and an input;
# the panels show which of them dominates.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Time (above) and peak memory beside what was in use before (below) as samples, probes, channels or classes grow, by method. All axes are logarithmic.", "name": "fig-growth"}, "image": {"alt": "Eight panels in two rows, time and peak memory, against the number of samples, probes, channels and classes, a line for each method."}}
growing = benchmark("scaling", results)
panels_of = ("samples", "probes", "channels", "classes")
with style():
    figure, panels = plt.subplots(2, 4, figsize=(10.5, 5.4), sharey="row", layout="constrained")
    mebi = [{**row, "peak": row["peak_bytes"] / 2**20} for row in growing["rows"]]
    for column, varied in enumerate(panels_of):
        timings.growth(panels[0, column], mebi, varied, "seconds")
        timings.growth(panels[1, column], mebi, varied, "peak")
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("peak (MiB)")
    panels[0, 0].legend()
plt.show()

# %% [markdown]
# Memory can be bounded (`max_bytes`). The bound is on what is being worked on: activations, output gradients,
# stacked weights. The result itself and a few copies of the weights come on top, because any order of
# computing needs them. Measured with larger images, each in a fresh process:

# %% tags=["hide-input"]
bounded = [row for row in growing["rows"] if row["varied"] == "max_bytes"]
bounds = sorted({row["max_bytes"] for row in bounded})
by_method: dict[str, dict[int, dict]] = {}
for row in bounded:
    by_method.setdefault(row["method"], {})[row["max_bytes"]] = row
rows = [
    [
        f"`{method}`",
        *(
            f"{max(0, of[b]['peak_bytes'] - of[b]['beside_bound_bytes']) / 2**20:.0f}"
            for b in bounds
        ),
    ]
    for method, of in by_method.items()
]
kept = all(
    row["peak_bytes"] <= row["max_bytes"] + row["beside_bound_bytes"] + growing["allowance_bytes"]
    for row in bounded
)
Markdown(
    table(["peak beyond copies and result (MiB)", *(f"bound {b // 2**20}" for b in bounds)], rows)
    + f"\n\nEvery peak is {'' if kept else '**not** '}within its bound and an allowance of "
    f"{growing['allowance_bytes'] // 2**20} MiB for what libraries take on their own."
)
