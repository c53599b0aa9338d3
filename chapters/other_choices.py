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
# # Other classes, seeds and networks
#
# The published curves are of three classes of a data set, one network and one way to train it. A claim about
# training in general should survive other choices. So the published experiment is run again with one choice
# changed at a time, and with the step that training itself takes next beside the steps of the other chapters.

# %% tags=["parameters"]
profile: str = "laptop"  # as in every chapter; the committed results are the same for all
results_dir: str = ""  # as in every chapter; here nothing is computed or kept
committed_dir: str = ""  # where the committed results are; empty: results/ of the book

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from scipy.stats import t as student

from srel_core.book.claims.of_the_paper import of_study
from srel_core.book.committed import study_file
from srel_core.book.committed.files import runs_of
from srel_core.book.figures import studies as figures
from srel_core.book.figures.style import style
from srel_core.book.figures.words import literal
from srel_core.book.text import result_tables
from srel_core.book.text.costs import duration, table
from srel_core.book.text.markup import code, folded, plain
from srel_core.choices import check_known
from srel_core.experiments.profiles import PROFILES
from srel_core.experiments.studies import PUBLISHED_TRIPLE, STUDIES, study
from srel_core.rules import OPTIMIZER

check_known("profile", profile, PROFILES)
found = study_file.load_all(committed_dir or None)
PUBLISHED = ", ".join(PUBLISHED_TRIPLE)
STEPS = {
    "sgd:1e-4": "a gradient step",
    "adam:1e-4": "the first step of a fresh Adam",
    "tangent": "a vanishing step",
    OPTIMIZER: "the step that training takes next",
}
UNITS = {"classes": "choices of classes", "networks": "networks and trainings"}


def rows_on(side, of, rule):
    """How many rows of a study lie on this side of one half, "above" or "below", with their whole
    interval: at every epoch, and in the last."""
    sides = [of_study(of, row, rule).sides for row in map(str, of.row.values)]
    return sum({*s} == {side} for s in sides), sum(s[-1] == side for s in sides)


def span(of, rule):
    last = of.auc.sel(rule=rule, divergence="kl").isel(epoch=-1)
    return f"{float(last.min()):.2f} to {float(last.max()):.2f}"


def verdicts(of, unit):
    """How many rows prefer which classes, by step."""
    lines = [
        [f"{step} ({code(rule)})", *rows_on("above", of, rule), *rows_on("below", of, rule), span(of, rule)]
        for rule, step in STEPS.items()
    ]  # fmt: skip
    return table(
        [f"step, {of.sizes['row']} {unit}", "own class at every epoch", "in the last",
         "other classes at every epoch", "in the last", "AUC in the last"],
        lines,
    )  # fmt: skip


def paragraphs(*parts):
    """Those that say something."""
    return Markdown("\n\n".join(filter(None, parts)))


def shown(of, height, marked=()):
    """The figure of a study: a panel for each step."""
    order = figures.in_order(of, "sgd:1e-4")
    figure, panels = plt.subplots(
        1, len(STEPS), figsize=(11, height), sharey=True, layout="constrained"
    )
    for axes, rule in zip(panels, STEPS, strict=True):
        figures.rows(axes, of, rule, order, marked)
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=4, loc="outside upper center")
    plt.show()


# %% tags=["hide-input", "code-below"]
def summary_of_all():
    """By step: how many rows prefer which classes, and the AUC with many seeds."""
    if not found:
        return "There are no results of the studies yet."
    lines = []
    for name, unit in UNITS.items():
        for side, classes in (("above", "own class"), ("below", "other classes")):
            if name in found:
                of = found[name]
                counted = ["{} ({})".format(*rows_on(side, of, rule)) for rule in STEPS]
                lines.append([f"{classes}, of {of.sizes['row']} {unit}", *counted])
    if "seeds" in found:
        of = found["seeds"]
        for row in map(str, of.row.values):
            aucs = [of_study(of, row, rule).effect.removeprefix("AUC ") for rule in STEPS]
            lines.append([f"AUC, {plain(row)}, {int((of.row_of_run == row).sum())} seeds", *aucs])
    return (
        "How many choices of classes, and how many networks and trainings, prefer their own class, or "
        "other classes, so that the whole interval says it, at every epoch (in brackets: in the last); and "
        "the same-class AUC of the published classes, with many seeds, in the last epoch.\n\n"
        + table(["under", *STEPS.values()], lines)
    )


Markdown(summary_of_all())

# %% [markdown]
# (sec-classes)=
# ## Which classes
#
# Seven classes of CIFAR-10 are at hand, four vehicles (airplane, automobile, ship, truck) and three
# animals (bird, deer, horse). The triples were chosen before any was run: all four triples of vehicles, of which
# the published one is the first; the one of animals; and eight mixed ones, four of two vehicles and an animal and
# four of one vehicle and two animals, each four taken at even distances in alphabetical order. Pictures of vehicles
# are easy to tell from pictures of animals; those of three different animals are not easy to tell apart. Each
# triple is trained and measured as published with one {term}`seed`, at two
# {term}`checkpoints <checkpoint>` of each epoch in place of seven. All seven classes at once are one row more.

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each step rule the same-class AUC of every triple of classes in the last epoch, with its interval, and in the first epoch; the published triple has another colour."}, "figure": {"name": "fig-classes", "caption": "Same-class AUC (KL) for every choice of classes, ordered by the gradient step. Filled: last epoch, with its 95 % interval over samples and probes of the one run; hollow: first epoch. In the other colour: the published triple. Dotted: classes do not matter."}}
if "classes" in found:
    with style():
        shown(found["classes"], 5, [PUBLISHED] if PUBLISHED in found["classes"].row else [])


# %% tags=["hide-input"]
def missing(name):
    """What a study lacks, and the command that computes it."""
    rows = study(name).rows
    there = {str(row) for row in found[name].row.values} if name in found else set()
    lacking = [row for row in rows if row not in there]
    if not lacking:
        return ""
    named = "; ".join(lacking)
    which = "" if len(lacking) == len(rows) else f' --rows "{named}"'
    return f"Not run yet: {plain(named)}. Command: {code(f'srel study {name}{which}')}."


paragraphs(
    verdicts(found["classes"], UNITS["classes"]) if "classes" in found else "", missing("classes")
)

# %% [markdown]
# What should be expected of classes that are not among these? If other triples are like those above, the AUC of
# the next one lies in the following intervals 95 times in 100: those of Student's distribution for one more value.
# They can be wrong, and anyone who has the other three classes, or other data, can put them to the test.


# %% tags=["hide-input"]
def prediction(values):
    """Student's interval for one more value like these."""
    n, values = len(values), np.asarray(values, float)
    half = student.ppf(0.975, n - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / n)
    low, high = np.clip([values.mean() - half, values.mean() + half], 0, 1)
    return f"{low:.2f} to {high:.2f}"


if "classes" in found:
    triples_only = found["classes"].sel(row=found["classes"].row != "all seven")
    predicted = table(
        ["step", "AUC of the next triple, last epoch"],
        [
            [step, prediction(triples_only.auc.sel(rule=rule, divergence="kl").isel(epoch=-1))]
            for rule, step in STEPS.items()
        ],
    )
else:
    predicted = ""
Markdown(predicted)

# %% [markdown]
# (sec-seeds)=
# ## Which seeds
#
# With three {term}`seeds <seed>`, as published, an interval has to be wide ({ref}`sec-coverage`). The published classes
# with ten seeds say more. They also say what the next seed should give: in 95 of 100 cases an AUC in the range in
# the last column, which another seed can contradict.

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each data set a panel: the same-class AUC of each of ten seeds against the epoch, as thin lines, and their mean with its interval, for each step rule."}, "figure": {"name": "fig-seeds", "caption": "Same-class AUC (KL) with ten seeds: each seed a thin line, their mean with its 95 % interval over seeds, samples and probes."}}
if "seeds" in found:
    with style():
        of = found["seeds"]
        figure, panels = plt.subplots(
            of.sizes["row"], len(STEPS), figsize=(11, 3 * of.sizes["row"]), sharex=True,
            sharey="row", squeeze=False, layout="constrained",
        )  # fmt: skip
        for row_of_panels, row in zip(panels, map(str, of.row.values), strict=True):
            for axes, rule in zip(row_of_panels, STEPS, strict=True):
                figures.seeds(axes, of, row, rule)
            row_of_panels[0].set_ylabel(f"{literal(row)}\nsame-class AUC")
        for axes, step in zip(panels[0], STEPS.values(), strict=True):
            axes.set_title(step, fontsize=11)
    plt.show()


# %% tags=["hide-input"]
def seeds_table(of):
    rows = []
    for row in map(str, of.row.values):
        for rule, step in STEPS.items():
            last = of.run_auc.isel(run=np.flatnonzero(of.row_of_run == row)).sel(
                rule=rule, divergence="kl"
            )
            last = last.isel(epoch=-1)
            above = int((last > 0.5).sum())
            rows.append(
                [
                    plain(row),
                    step,
                    of_study(of, row, rule).text,
                    f"{above} of {last.sizes['run']}",
                    prediction(last),
                ]
            )
    return table(
        ["data", "step", "at every epoch; AUC in the last", "seeds above one half in the last",
         "AUC of the next seed"],
        rows,
    )  # fmt: skip


paragraphs(seeds_table(found["seeds"]) if "seeds" in found else "", missing("seeds"))

# %% [markdown]
# (sec-networks)=
# ## Which network, which training
#
# The published network has no normalisation and is trained by Adam. The others are the same network with GroupNorm
# or with BatchNorm; a vision transformer of about the same size; and a dense network with two hidden layers. Each
# is trained by Adam as published, and by stochastic gradient descent with momentum 0.9, a learning rate of 0.01
# that falls to zero along a cosine, and weight decay 5e-4. A network with BatchNorm is measured in evaluation
# mode, in which it uses the means that it has kept: in training mode the prediction at one image depends on
# the others of its batch, so that a step on one sample alone is not defined.

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each step rule the same-class AUC of every network and training in the last epoch, with its interval, and in the first epoch."}, "figure": {"name": "fig-networks", "caption": "Same-class AUC (KL) by network and training on the published classes of CIFAR-10, as in {ref}`sec-classes`; intervals over three seeds, samples and probes. In the other colour: as published."}}
if "networks" in found:
    with style():
        of = found["networks"]
        shown(of, 1 + 0.4 * of.sizes["row"], [r for r in ("resnet18, Adam",) if r in of.row])


# %% tags=["hide-input"]
def accuracies(of):
    rows = []
    for row in map(str, of.row.values):
        runs = of.isel(run=np.flatnonzero(of.row_of_run == row), epoch=-1)
        rows.append(
            [
                plain(row),
                f"{float(runs.train_accuracy.mean()):.0%}",
                f"{float(runs.test_accuracy.mean()):.0%}",
            ]
        )
    return table(["network, training", "training accuracy, last epoch", "test accuracy"], rows)


def each(of):
    """What is found in each row under each step."""
    rows = [
        [plain(row), step, of_study(of, row, rule).text]
        for row in map(str, of.row.values)
        for rule, step in STEPS.items()
    ]
    headings = ["network, training", "step", "own class at every epoch? AUC in the last"]
    return folded("Each network under each step", table(headings, rows))


of_networks = []
if "networks" in found:
    of = found["networks"]
    of_networks = [verdicts(of, UNITS["networks"]), each(of), accuracies(of)]
paragraphs(*of_networks, missing("networks"))

# %% [markdown]
# ## Where these numbers come from


# %% tags=["hide-input"]
def provenance(name, of):
    runs = runs_of(of)
    seconds = [run["wall_seconds"] for run in runs]
    devices = ", ".join(sorted({f"{run['device']} (threads: {run['threads']})" for run in runs}))
    rows = [
        [plain(row), int(seed), duration(s), code(run["commit"])]
        for row, seed, s, run in zip(
            of.row_of_run.values, of.seed.values, seconds, runs, strict=True
        )
    ]
    head = (
        f"**{name}.** {plain(study(name).question)} {result_tables.badge(of)} {len(runs)} runs on "
        f"{plain(devices)}, {duration(sum(seconds))} in all, beside other work. Command: {code('srel study ' + name)}."
    )
    return head + "\n\n" + folded("Each run", table(["row", "seed", "time", "commit"], rows))


Markdown("\n\n".join(provenance(name, found[name]) for name in STUDIES if name in found))
