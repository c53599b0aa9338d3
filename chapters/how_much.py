# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How much to measure
#
# How many {term}`samples <sample>`, {term}`probes <probe>` and runs does a wanted interval need, and what is the cheapest way to get it?

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: how often the plan is put to the test
results_dir: str = ""  # as in every chapter; here nothing is kept
benchmarks_dir: str = ""  # where the benchmarks' results are; empty: those of the book
wanted_share: float = 0.5  # of the pilot's interval: how wide the planned one may be
seed: int = 0  # of every random number

# %% tags=["hide-input"]
import statistics
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from scipy.stats import chi2
from torchvision.models import resnet50

import srel_core as sc
from srel_core.book.figures import timings
from srel_core.book.figures.style import style
from srel_core.book.text.costs import benchmark, duration, layers_of, table
from srel_core.book.text.markup import varying
from srel_core.choices import check_known
from srel_core.experiments import datasets
from srel_core.experiments.networks import build_model, resnet18
from srel_core.statistics.planner import MeasurementCost, cheapest, plan_measurement
from srel_core.statistics.variance_components import (
    Components,
    Pilot,
    estimate_components,
    interval_width,
)

check_known("profile", profile, ("smoke", "laptop", "paper"))
REPEATS = {"smoke": 6, "laptop": 20, "paper": 40}[profile]
results = Path(benchmarks_dir or Path(sc.__file__).parents[1] / "benchmarks" / "results")
precision = benchmark("paper_precision", results)
SIZES_SHOWN = np.unique(np.geomspace(5, 1000, 40).round())


# %% tags=["hide-input", "code-below"]
def shares(of):
    """For each step rule, how much of the variance of the AUC comes from runs, and its interval."""
    for rule, by_summary in of["rules"].items():
        found, n = Components(**by_summary["auc"]["components"]), float(of["per_class"])
        spread = float(found.variance(n, n, of["runs"], True))
        yield rule, (found.runs or 0.0) / of["runs"] / spread, interval_width(spread)


sentences = []
for dataset, of in precision.items():
    said = ", ".join(f"{width:.2f} for `{rule}` ({share:.0%})" for rule, share, width in shares(of))
    sentences.append(
        f"On {dataset}, {of['per_class']} images per class and {of['runs']} runs give an interval of the same-class AUC "
        f"this wide (in brackets: the share of its variance that only more runs can remove): {said}."
    )
Markdown("\n\n".join(sentences))

# %% tags=["hide-input", "code-below"] mystnb={"figure": {"caption": "Predicted width of the 95 % interval of the same-class AUC at the last checkpoint, against the number of images per class, for the present number of runs. Dotted: what was published. Where a line levels off, only more runs help.", "name": "fig-precision"}, "image": {"alt": "Predicted width of the interval of the same-class AUC against the number of images per class, a line for each step rule."}}
with style():
    figure, panels = plt.subplots(
        1, len(precision), figsize=(4.5 * len(precision), 3.4), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axes, (dataset, of) in zip(panels[0], precision.items(), strict=True):
        curves = {}
        for rule, by_summary in of["rules"].items():
            found = Components(**by_summary["auc"]["components"])
            variances = found.variance(SIZES_SHOWN, SIZES_SHOWN, of["runs"], True)
            curves[rule] = [interval_width(float(v)) for v in variances]
        timings.widths(axes, SIZES_SHOWN, curves, of["per_class"])
        axes.set_title(dataset)
    panels[0, 0].set_ylabel("width")
    panels[0, 0].legend()
plt.show()

# %% [markdown]
# ## What an interval is made of
#
# An interval shrinks as samples and probes are added, but not by the number of pairs: two thousand
# pairs of ten samples say little about samples. A pilot can tell how much each counts.
#
# :::{prf:proposition} Variance of a class-level summary
# :label: prop-components
#
# Let $T$ be a sum over cells $(c', c)$ of means of scores $z_{ji}$ over $P$ probes $j$ of class $c'$
# and $S$ samples $i$ of class $c$, both drawn independently, $z_{ji} = \mu + a_j + b_i + e_{ji}$ in each
# cell with $a_j = \mathbb{E}[z_{ji} - \mu \mid j]$ and $b_i = \mathbb{E}[z_{ji} - \mu \mid i]$.
# Then
#
# $$
# \operatorname{Var} T = \frac{V_{\rm samples}}{S} + \frac{V_{\rm probes}}{P} + \frac{V_{\rm pairs}}{SP},
# $$ (eq-components)
#
# where $V_{\rm samples}$ is the sum over classes of the variance of a sample's parts $b_i$ added up over
# probe classes, $V_{\rm probes}$ the same with the roles exchanged, and $V_{\rm pairs}$ the sum over cells
# of the variance of $e_{ji}$.
# :::
#
# :::{prf:proof}
# Given $j$, $e_{ji}$ has mean zero, and given $i$ as well; so $a_j$, $b_i$ and $e_{ji}$ are
# uncorrelated, and so are $e_{ji}$ and $e_{j'i'}$ unless $j = j'$ and $i = i'$. Samples of different
# classes are independent. A sample is in the cells of all probe classes and its parts there add up
# before they are squared; a pair is in one cell. $\square$
# :::
#
# Log preference, $\log$ of the mean of $S[c, c]$ over the mean of $S[c', c]$, $c' \neq c$, is not a sum of
# means, but is one to first order, with scores $z_{ji}$ from its derivative by each
# $\operatorname{change}(x_j', x_i)$ and $\operatorname{own}(x_i)$. The same holds for the same-class AUC, by
# Hoeffding's projections {cite:p}`hoeffding1948`. The components are estimated from a pilot by the method of
# moments {cite:p}`searle1992components`. If the probes are the samples, as published, the parts of an image
# as a probe and as a sample vary together, and so do $e_{ji}$ and $e_{ij}$; two covariances are then added.
# Several runs add a component of their own, divided by their number alone.
#
# With the seconds that a measurement takes, $t = a + bS + cSI$, the cheapest sizes for a wanted
# width can be searched for exactly: for each number of samples and runs,
# {eq}`eq-components` gives the fewest probes.

# %% [markdown]
# ## A pilot
#
# A small dense network on the digits of scikit-learn {cite:p}`pedregosa2011sklearn`, after
# some steps of training. The pilot takes a few samples and as many other images as probes.

# %%
PILOT = 8
SIZES = ((3, 12), (3, 60), (12, 12), (30, 60))  # samples and inputs whose time is taken

digits = datasets.load_images("digits")
images = datasets.normalise(digits.images)
network = build_model("mlp", 3, seed)
generator = torch.Generator().manual_seed(seed)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
for _ in range(10):
    batch = torch.randperm(len(images), generator=generator)[:64]
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(images[batch]), digits.labels[batch]).backward()
    optimizer.step()

rng = np.random.default_rng(seed)
members = [np.flatnonzero(digits.labels.numpy() == c) for c in range(3)]


def measured(samples, probes):
    """So many samples and other probes of each class, drawn anew."""
    drawn = [rng.permutation(of)[: samples + probes] for of in members]
    at = [torch.from_numpy(np.concatenate(part)) for part in zip(
        *((of[:samples], of[samples:]) for of in drawn), strict=True)]  # fmt: skip
    (x, y), (x_probe, y_probe) = ((images[rows], digits.labels[rows]) for rows in at)
    result = sc.influence(network, x, y, x_probe, rule=sc.SGD(1e-4), divergences=["kl"])
    return Pilot(
        result.change["kl"].numpy(), result.own["kl"].numpy(), y_probe.numpy(), y.numpy(),
        result.same_input.numpy(),
    )  # fmt: skip


def seconds_of(samples, inputs):
    """Median time of three measurements of so many samples at so many inputs, themselves among
    them."""
    x, probes = images[:samples], images[:inputs]
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        sc.influence(network, x, digits.labels[:samples], probes, rule=sc.SGD(1e-4))
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


pilot = measured(PILOT, PILOT)
cost = MeasurementCost.fit([(s, i, seconds_of(s, i)) for s, i in SIZES])
value, components = estimate_components([pilot], "auc")
width = interval_width(float(components.variance(float(PILOT), float(PILOT), 1, False)))
plan = plan_measurement([pilot], cost, wanted_share * width, summary="auc", max_per_class=85)

# %% tags=["hide-input"]
n = float(PILOT)
terms = {"samples": components.samples / n, "probes": components.probes / n}
terms["pairs"] = components.pairs / n**2
even = np.arange(2.0, 86)
square = even[components.variance(even, even, 1, False) <= (plan.width / interval_width(1.0)) ** 2]
beside = ""
if len(square):
    s = float(square[0])
    beside = (
        f" With as many samples as probes it would take {s:.0f} of each, and "
        f"{varying(duration(float(cost.seconds(3 * s, 6 * s))))}."
    )
Markdown(
    f"The pilot, {PILOT} samples and {PILOT} probes per class, has a same-class AUC of {value:.2f} with "
    f"an interval {width:.3f} wide, of whose variance "
    f"{', '.join(f'{term / sum(terms.values()):.0%} comes from {name}' for name, term in terms.items())}. "
    f"An interval {wanted_share * width:.3f} wide takes **{varying(plan.samples_per_class)} samples and "
    f"{varying(plan.probes_per_class)} probes per class**, in about {varying(duration(plan.seconds))}.{beside}"
)

# %% [markdown]
# Does the plan keep its promise? We measure at the planned size repeatedly, with new samples and probes each
# time, and compare the spread with the prediction, for the log preference as well.

# %% tags=["hide-input"]
size = max(plan.samples_per_class, 4), max(plan.probes_per_class, 4)
again, rows, agrees = [measured(*size) for _ in range(REPEATS)], [], {}
for name, words in (("auc", "AUC"), ("log_preference", "log preference")):
    found = estimate_components([pilot], name)[1]
    promised = interval_width(float(found.variance(float(size[0]), float(size[1]), 1, False)))
    values = [estimate_components([other], name)[0] for other in again]
    seen = interval_width(float(np.var(values, ddof=1)))
    lo, hi = (seen * np.sqrt((REPEATS - 1) / chi2.ppf(q, REPEATS - 1)) for q in (0.975, 0.025))
    agrees[words] = lo <= promised <= hi
    verdict = "as seen" if agrees[words] else "too wide" if promised > hi else "too narrow"
    numbers = f"{promised:.3f}", f"{seen:.3f}", f"{lo:.3f} to {hi:.3f}", verdict
    rows.append([words, *map(varying, numbers)])  # the plan follows from times
header = [
    "summary",
    "width predicted by the pilot",
    "width seen",
    "95 % interval of that",
    "prediction",
]
Markdown(
    table(header, rows)
    + f"\n\nSeen in {REPEATS} measurements of {varying(size[0])} samples and {varying(size[1])} probes per class. The interval is that "
    f"of the chi-squared distribution. The pilot itself, of {PILOT} per class, knows a component "
    f"to about {np.sqrt(2 / (3 * (PILOT - 1))):.0%}."
)

# %% [markdown]
# The prediction is of first order. It is good for the AUC, which is made of ranks. Log preference is the log
# of a ratio of means; where a few samples with large changes dominate the means, a pilot that has not met
# them is too optimistic. Test a plan for the log preference as here, or leave a margin.

# %% [markdown]
# ## The published size
#
# How wide is the interval with twenty images per class, each a sample and a probe, in the runs of the `paper`
# profile, at their last checkpoint? The components come from `benchmarks/paper_precision.py`. The component
# of the runs comes from very few of them, and is the least certain number here.


# %% tags=["hide-input"]
def per_class_for(components, share, runs, now):
    """The fewest images per class, of up to ten thousand, for this share of the present width."""
    n = np.arange(2.0, 10_001)
    wanted = share**2 * float(components.variance(float(now), float(now), runs, True))
    enough = n[components.variance(n, n, runs, True) <= wanted]
    return f"{enough[0]:,.0f}" if len(enough) else "more runs"


rows = []
for dataset, of in precision.items():
    for rule, by_summary in of["rules"].items():
        for name, words in (("log_preference", "log preference"), ("auc", "AUC")):
            found = Components(**by_summary[name]["components"])
            now, runs = of["per_class"], of["runs"]
            spread = float(found.variance(float(now), float(now), runs, True))
            of_runs = (found.runs or 0.0) / runs / spread
            rows.append(
                [
                    dataset,
                    f"`{rule}`",
                    words,
                    f"{by_summary[name]['estimate']:.2f}",
                    f"{interval_width(spread):.2f}",
                    f"{of_runs:.0%}",
                    per_class_for(found, 0.5, runs, now),
                ]
            )
header = ["data", "step", "summary", "value", "width of its interval", "of its variance from runs"]
Markdown(table([*header, "images per class for half of it"], rows))

# %% [markdown]
# (sec-coverage)=
# ## Do the intervals hold what they promise?
#
# The intervals in the other chapters come from a hierarchical bootstrap: runs are drawn again, and within each
# run its images within each class, as samples and as probes at once {cite:p}`efron1993bootstrap`. Over few runs such draws
# spread too little. So their quantiles are stretched about the estimate until their standard deviation is
#
# $$
# \frac{t}{z} \sqrt{\frac{\max(s^2, v)}{R}},
# $$
#
# with $R$ runs, $s^2$ the variance of their estimates, $v$ the mean bootstrap variance within a run, and $t$, $z$ the
# quantiles of Student's distribution with $R - 1$ degrees of freedom and of the normal one. `benchmarks/interval_coverage.py`
# makes up changes whose truth is known, and counts.

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "How often an interval of 95 per cent holds the truth, against the number of runs, for three ways to make it: a panel for each share of the variance that is between runs."}, "figure": {"name": "fig-coverage", "caption": "How often an interval that promises 95 % holds the true same-class AUC, by simulation with twenty images in each of three classes. From left to right more of the variance is between runs. Dotted: the promise."}}
covered = benchmark("interval_coverage", results)
WAYS = {
    "samples": "percentiles over runs and samples",
    "samples and probes": "and over probes",
    "corrected": "and stretched, as in this book",
}
by_share = {}
for at, row in enumerate(covered["coverage"]):
    by_share.setdefault(at % (len(covered["coverage"]) // 3), []).append(row)
with style():
    _, panels = plt.subplots(
        1, len(by_share), figsize=(3.6 * len(by_share), 3.2), sharey=True, layout="constrained"
    )
    for axes, of in zip(panels, by_share.values(), strict=True):
        for way, words in WAYS.items():
            axes.plot([r["runs"] for r in of], [r["covered"][way] for r in of], "o-", label=words)
        axes.axhline(0.95, color="grey", linestyle=":")
        share = statistics.mean(r["share_of_runs"] for r in of)
        axes.set(title=f"{share:.0%} of the variance between runs", xlabel="runs")
    panels[0].set_ylabel("truth held")
    panels[0].legend(fontsize=8)
plt.show()


# %% tags=["hide-input"]
def least(way):
    return min(row["covered"][way] for row in covered["coverage"])


def width(runs):
    found = [r["width_over_ideal"]["corrected"] for r in covered["coverage"] if r["runs"] == runs]
    return f"{min(found):.1f} to {max(found):.1f} times"


def most(of):
    return max(row[of] for row in covered["words"])


Markdown(
    f"In the worst case the plain percentiles hold the truth {least('samples'):.0%} of the time, "
    f"with probes {least('samples and probes'):.0%}, and stretched {least('corrected'):.0%} "
    f"({covered['trials']} trials in each case). The price is width: with three runs "
    f"{width(3)} that of an interval that knew the variance, with ten {width(10)}. So a verdict from three runs is careful, and ten "
    "runs are worth more than their number.\n\n"
    f"A verdict *holds* only if the intervals of all {covered['epochs']} epochs lie on one side. That is {covered['epochs']} chances to miss, "
    "and as many not to be fooled: where there is no preference at all, one was read at every epoch in "
    f"{most('every'):.1%} of cases at most "
    f"({covered['null_trials']} trials each, epochs that are independent of each other or go together). "
    f"At *some* epoch one was read in up to {most('some'):.0%}: that a claim holds at only some epochs is weak "
    "evidence, and *depends* must not be read as more."
)

# %% [markdown]
# ## Larger networks, more machines
#
# For another network only the count of {prf:ref}`def-measurement-cost` changes: the time of the published
# measurement is taken from the benchmark, split into a part for each sample and a part for each pair, and
# scaled by the multiply-adds. This assumes that a larger network runs as close to its floor as this one;
# larger maps and products come closer, weights that fit no cache less close. Counts are exact, times are
# extrapolated.

# %% tags=["hide-input"]
model_of_cost = benchmark("cost_model", results)
row, m = model_of_cost["ways"]["shared"], model_of_cost["multiply_adds_of_one_input"]
phases, images_measured = row["cpu_seconds_by_phase_on_one_thread"], 60
scale = row["seconds"] / row["cpu_seconds_on_one_thread"]
published_cost = MeasurementCost(
    max(0.0, phases["rest"]) * scale,
    (phases["output gradients"] + phases["steps"]) * scale / images_measured,
    phases["predictions"] * scale / images_measured**2,
)
first = next(iter(precision))
target = {name: value for name, value in precision[first].items() if name != "rules"}
adam = Components(**precision[first]["rules"]["adam:1e-4"]["auc"]["components"])
now = float(target["per_class"])
half = interval_width(float(adam.variance(now, now, target["runs"], True))) / 2
# A run is trained, and measured at all its checkpoints, whatever its number of images.
with_training = replace(published_cost, fixed=statistics.mean(target["seconds"]))
try:
    finer = cheapest(adam, with_training, half, 3, True, max_per_class=1500, max_runs=50)
    fine = f"{finer.samples_per_class} images per class in {finer.runs} runs"
except ValueError as error:
    finer, fine = None, str(error)


NETWORKS = {
    "ResNet-18, 32×32 (published)": (lambda: resnet18(3), 32),
    "ResNet-18, 64×64": (lambda: resnet18(3), 64),
    "ResNet-18, 224×224": (lambda: resnet18(3), 224),
    "ResNet-50, 224×224": (lambda: resnet50(norm_layer=torch.nn.Identity), 224),
}
rows = []
for name, (network_of, pixels) in NETWORKS.items():
    count = sum(layer.multiply_adds for layer in layers_of(network_of, pixels))
    at_scale = published_cost.scaled(count / m)
    one = float(at_scale.seconds(60, 60))
    whole = one * target["checkpoints"] * target["runs"]
    rows.append([name, f"{count / 1e6:,.0f}", duration(one), duration(whole)])
    rows[-1].append(duration(one * target["checkpoints"]))
    if finer is not None:
        n = 3 * finer.samples_per_class
        rows[-1].append(duration(finer.runs * float(at_scale.seconds(n, n))))
header = ["network", "10⁶ multiply-adds an image", "one measurement", "all checkpoints and runs"]
header += [f"on {target['runs']} machines"]
if finer is not None:
    header += ["one checkpoint at half the width"]
Markdown(
    table(header, rows)
    + f"\n\nOne measurement is 60 images, samples and probes at once, one rule (a fresh Adam), on the "
    f"machine of {{doc}}`cost`; there are {target['checkpoints']} checkpoints and {target['runs']} runs, training not counted. Half the "
    f"width of the interval of the AUC on {first} takes, at least cost with the "
    f"{duration(statistics.mean(target['seconds']))} that a run took in all, {fine}."
)

# %% [markdown]
# Runs are independent jobs: `make sweep` gives each data set and seed a process of its own, on one machine or
# on a cluster, so that the time falls with the number of machines, up to the number of runs, at no cost in
# precision. A larger training set takes longer to train on, not to measure: a measurement depends on its
# samples and probes only. Within one run the samples are independent too; the library spreads them over the
# threads of one machine and not beyond.
