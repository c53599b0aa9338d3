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
# # The published experiment at full scale
#
# {cite:t}`dan2021dynamics` follow $S_{\rm rel}$ while a ResNet-18 learns three classes of SVHN, of
# CIFAR-10 and of CIFAR-100, once by the class-based definition and once by the original one. They read
# from the curves that the class-based definition shows what the original does not: that a step prefers the class
# of its sample. This chapter runs the experiment again at the published size.

# %% tags=["parameters"]
profile: str = (
    "laptop"  # paper: load or compute the runs here; else the committed results are shown
)
results_dir: str = ""  # where kept runs are, for profile paper; empty: the book's own
committed_dir: str = ""  # where the committed results are; empty: results/ of the book
device: str = "auto"  # cpu, cuda; auto: a GPU if there is one

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

from srel_core.book.claims.comparison import accuracy_rows, curve_rows
from srel_core.book.claims.evidence import digits, spans
from srel_core.book.claims.of_the_paper import finding
from srel_core.book.committed import regression_file, study_file
from srel_core.book.committed.files import ladder_in, load_all
from srel_core.book.committed.schema import AGGREGATES
from srel_core.book.committed.write import paper_summaries
from srel_core.book.figures import paper
from srel_core.book.figures.style import style
from srel_core.book.figures.words import literal
from srel_core.book.published.numbers import NOT_RUN, title_of, with_published
from srel_core.book.text import result_tables
from srel_core.book.text.markup import code, folded, plain
from srel_core.choices import check_known
from srel_core.experiments.profiles import PROFILES

check_known("profile", profile, PROFILES)
if profile == "paper":
    shown = paper_summaries(results_dir or None, device)
else:
    shown = load_all(committed_dir or None)
DEFINITIONS = {"class-based": "class-based", "original": "original"}


def grid(columns, width=4.2, height=3.4, **options):
    """A row of axes for each data set: (figure, axes of shape (data sets, columns))."""
    return plt.subplots(
        len(shown), columns, figsize=(width * columns, height * len(shown)),
        squeeze=False, layout="constrained", **options,
    )  # fmt: skip


def listed(words):
    return ", ".join(words) if words else "none"


NAMES = {"mean": "mean of ratios", "ratio_of_means": "ratio of means", "median": "median of ratios"}


def readings(summary, divergence):
    """(rule, aggregate, finding) for every step rule and aggregate, and the AUC."""
    for rule in map(str, summary.rule.values):
        at = summary.sel(rule=rule, divergence=divergence)
        for aggregate in AGGREGATES:
            part = at.sel(aggregate=aggregate)
            yield rule, NAMES[aggregate], finding("", part, "epoch_preference", 1)
        yield rule, "AUC", finding("", at, "epoch_auc", 0.5, "")


# %% tags=["hide-input", "code-below"]
PREFERS = {"holds": "its own class", "does not hold": "other classes"}
sentences = []
for dataset, summary in shown.items():
    counts = {}
    for rule, _, found in readings(summary, "kl"):
        counts.setdefault(rule, []).append(found.word)
    said = [
        f"{' and '.join(f'{who} by {of.count(word)}' for word, who in PREFERS.items())} of {len(of)} under {code(rule)}"
        for rule, of in counts.items()
    ]
    sentences.append(
        f"On {plain(title_of(dataset))}, by four ways of reading the KL definition, a step prefers {'; '.join(said)}."
    )
Markdown("\n\n".join(sentences))

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each data set four panels: preference by mean of ratios, ratio of means and median, and the same-class AUC, against the epoch, under each step rule, with bands."}, "figure": {"name": "fig-preference", "caption": "Preference for the sample's class under the KL definition, by step rule and aggregate, with 95 % bands. Dotted: no preference. A line is above it throughout or not, depending on the rule and on the aggregate."}}
if shown:
    with style():
        figure, panels = grid(4, 2.6)
        for row, (dataset, summary) in zip(panels, shown.items(), strict=True):
            part = summary.sel(divergence="kl")
            for axes, aggregate in zip(row, AGGREGATES, strict=False):
                at = part.sel(aggregate=aggregate)
                paper.by_rule(axes, at, "epoch_preference", 1)
                axes.set(yscale="log", title=NAMES[aggregate])
                paper.plain_ticks(axes.yaxis)
            paper.by_rule(row[3], part, "epoch_auc", 0.5)
            row[3].set_title("AUC")
            row[0].set_ylabel(f"{literal(title_of(dataset))}: preference")
        panels[0, 0].legend(fontsize=8)
    plt.show()

# %% tags=["hide-input"]
if not shown:
    note = (
        "**There are no results of the paper profile yet.** The sections below say what they will "
        "show; their figures and tables are empty until the runs have been made."
    )
elif profile == "paper":
    note = "These are the runs of the `paper` profile, loaded or computed for this page."
else:
    note = (
        f"The results below are the committed ones of the `paper` profile; the `{profile}` profile "
        "of this page does not recompute them."
    )
Markdown(
    "\n\n".join(
        part for part in (note, result_tables.badges(shown), result_tables.missing(shown)) if part
    )
)

# %% [markdown]
# Three questions follow in turn.
#
# 1. Can the published curves be reproduced, computed **as the published notebooks compute them**?
# 2. What do the same trainings show **under the definitions**?
# 3. Does the class-based definition show the preference **more sharply** than the original one?
#
# The two computations differ in several ways; {doc}`audit` takes them one at a time.

# %% [markdown]
# ## What was run
#
# The network is torchvision's ResNet-18 {cite:p}`he2016resnet` with every normalisation layer replaced
# by the identity, trained from scratch by Adam {cite:p}`kingma2015adam`. Our runs follow the
# published settings; we changed how the measurement is made, not the training: every
# definition is measured along the *same* training, under several {term}`step rules <step rule>`, at the same checkpoints,
# with probes that each seed draws for itself.

# %% tags=["hide-input"]
Markdown(result_tables.settings_table(shown))

# %% [markdown]
# Run times are for all that is measured here. The published ones are for one notebook, that is, three trainings
# under one definition, on a GPU; they are given where a notebook prints them.

# %% [markdown]
# (sec-published)=
# ## As published
#
# *same* is the mean of the three curves in which probes and samples are of one class, *other* that of
# the six others, both averaged over the checkpoints of an epoch. Lines and bands are ours: the mean
# over {term}`seeds <seed>`, and a 95 % bootstrap interval over seeds and images {cite:p}`efron1993bootstrap`.
# Markers are the published values {cite:p}`dan2021dynamics`, means over three runs.

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each data set two panels, class-based and original: same-class and different-class S_rel as published against the epoch, our curves with bands and the published values as markers."}, "figure": {"name": "fig-as-published", "caption": "The published curves, and ours computed in the published way. Markers: published. The original quantity is on a logarithmic scale, because it grows by orders of magnitude."}}
if shown:
    with style():
        figure, panels = grid(2)
        for row, (dataset, summary) in zip(panels, shown.items(), strict=True):
            for axes, definition in zip(row, DEFINITIONS, strict=True):
                paper.beside_published(axes, summary, definition, dataset)
                axes.set_title(f"{literal(title_of(dataset))}, {definition}")
            row[0].set_ylabel("$S_{\\rm rel}$ as published")
        panels[0, 0].legend(fontsize=8)
    plt.show()

# %% [markdown]
# A published value is a mean of other runs, with a spread of its own. If that spread is like ours, the
# difference of the two means has √2 times the spread of one of them. *Within* says whether the published value
# lies in our interval; *within ×√2* says whether it lies in that interval stretched by √2 on a logarithmic
# scale, and is therefore the fairer question. The wider our intervals, the more published values lie in them,
# so that their width and the distance of the two values stand beside the counts.


# %% tags=["hide-input"]
def row_cells(row):
    return (
        f"{digits(row.ours)} [{digits(row.low)}, {digits(row.high)}] | {digits(row.published)} "
        f"| {row.difference:+.1%} | {'yes' if row.within else 'no'} "
        f"| {'yes' if row.within_other_mean else 'no'}"
    )


lines = [
    "| data set | definition | curve | epoch | ours | published | difference | within | within ×√2 |",
    "|---|---|---|---|---|---|---|---|---|",
]
compared = {}
for dataset in with_published(shown):
    if dataset not in shown:
        lines.append(f"| {plain(title_of(dataset))} | both | | | {NOT_RUN} | | | | |")
        continue
    for definition in DEFINITIONS:
        for name in ("same", "other"):
            found = curve_rows(shown[dataset], dataset, definition, name)
            compared[dataset, definition, name] = found
            lines += [
                f"| {plain(title_of(dataset))} | {definition} | {name} | {epoch} | {row_cells(row)} |"
                for epoch, row in enumerate(found, start=1)
            ]
    found = accuracy_rows(shown[dataset], dataset)
    compared[dataset, "accuracy", ""] = found
    lines += [
        f"| {plain(title_of(dataset))} | training accuracy | | {epoch} | {row_cells(row)} |"
        for epoch, row in enumerate(found, start=1)
    ]
Markdown(folded("All values, ours and published", "\n".join(lines)))

# %% [markdown]
# For the training accuracy, the range over our seeds takes the place of an interval.

# %% tags=["hide-input"]
sentences = []
for dataset, summary in shown.items():
    rows = [row for (d, _, _), found in compared.items() if d == dataset for row in found]
    if not rows:
        sentences.append(f"**{plain(title_of(dataset))}.** Nothing was published of it.")
        continue
    at = {d: ladder_in(summary, d).sel(rung="as published") for d in DEFINITIONS}
    read = {d: finding("", at[d], "rung_epoch_preference", 1) for d in DEFINITIONS}
    sides = {d: [e for e, s in enumerate(read[d].sides, 1) if s == side]
             for d, side in (("class-based", "above"), ("original", "below"))}  # fmt: skip
    epochs = summary.sizes["epoch"]
    sentences.append(
        f"**{plain(title_of(dataset))}.** {sum(r.within for r in rows)} of {len(rows)} published values lie in "
        f"our interval, {sum(r.within_other_mean for r in rows)} in the stretched one. From bound to bound "
        f"an interval spans a factor of {np.median([r.high / r.low for r in rows]):.2f} in the median; the median "
        f"distance is {np.median([abs(r.difference) for r in rows]):.1%}. The published reading has "
        f"`same` above `other` by the class-based quantity and below it by the original one. In our "
        f"runs the first is so at {len(sides['class-based'])} of {epochs} epochs"
        f"{' (' + spans(sides['class-based']) + ')' if sides['class-based'] else ''}, the second at "
        f"{len(sides['original'])} of {epochs}"
        f"{' (' + spans(sides['original']) + ')' if sides['original'] else ''}, counting only epochs "
        f"whose interval says so."
    )
Markdown("\n\n".join(sentences))

# %% [markdown]
# Where the curves are reproduced, we compute what the notebooks compute. That does not mean that the curves
# measure what they are meant to: {ref}`sec-kl` looks at what the published class-based
# quantity responds to.

# %% [markdown]
# (sec-defined)=
# ## Under the definition
#
# The same trainings, the same pairs, with {prf:ref}`def-class` in place of what was computed: a
# Kullback–Leibler divergence proper, pairs with $x' = x$ left out. The step and the aggregate remain
# to be chosen, and four choices are shown.

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each data set four panels: same-class and different-class S_rel under the KL definition against the epoch, for a fresh Adam and for gradient steps, as means of ratios, a ratio of means and the tangent limit."}, "figure": {"name": "fig-defined", "caption": "Class-based $S_{\\rm rel}$ under its definition, same class against other classes. From left to right: the step of a fresh Adam and the gradient step with means of ratios, then the gradient step with the ratio of means, and its limit for a vanishing step."}}
RUNGS = {
    "true KL": "fresh Adam, mean of ratios",
    "gradient step": "SGD 1e-4, mean of ratios",
    "ratio of means": "SGD 1e-4, ratio of means",
    "tangent limit": "limit, ratio of means",
}
if shown:
    with style():
        figure, panels = grid(len(RUNGS), 2.6)
        for row, (dataset, summary) in zip(panels, shown.items(), strict=True):
            for axes, (rung, title) in zip(row, RUNGS.items(), strict=True):
                paper.same_and_other(axes, summary, "class-based", rung)
                axes.set_title(title, fontsize=10)
            row[0].set_ylabel(f"{literal(title_of(dataset))}: $S_{{\\rm rel}}$ (KL)")
        panels[0, 0].legend(fontsize=8)
    plt.show()

# %% [markdown]
# (sec-preference)=
# ## Does a step prefer its own class?
#
# {numref}`fig-preference` shows it: **preference** ({prf:ref}`def-matrix`) is *same* over *other*, for each of the three
# aggregates, and the AUC of {prf:ref}`def-auc` compares without any ratio.

# %% tags=["hide-input"]
lines = [
    "| data set | step rule | aggregate | class-based (KL) | original (norm of the outputs' change) |",
    "|---|---|---|---|---|",
]
for dataset in with_published(shown):
    if dataset not in shown:
        lines.append(f"| {plain(title_of(dataset))} | all | all | {NOT_RUN} | {NOT_RUN} |")
        continue
    both = (readings(shown[dataset], name) for name in ("kl", "l2_logits"))
    lines += [
        f"| {plain(title_of(dataset))} | {code(rule)} | {aggregate} | {first.text} | {second.text} |"
        for (rule, aggregate, first), (_, _, second) in zip(*both, strict=True)
    ]
Markdown(folded("The last epoch in numbers", "\n".join(lines)))

# %% [markdown]
# *Holds* means that the 95 % interval lies above the line of no preference (1 for a ratio, 0.5 for the
# AUC), *reversed* that it lies below, at each epoch unless some are named; the number is that of the
# last epoch.

# %% tags=["hide-input"]
sentences = [result_tables.intervals(shown)]
for dataset, summary in shown.items():
    words = {}
    for rule, aggregate, found in readings(summary, "kl"):
        words.setdefault(found.word, []).append(f"{code(rule)} ({aggregate})")
    said = {
        "holds": "A step prefers its own class throughout under {}.",
        "depends": "It does so at some epochs only under {}.",
        "does not hold": "It prefers *other* classes at some epoch or all, and its own at none, under {}.",
        "cannot be told": "Neither can be told at any epoch under {}.",
    }
    parts = [text.format(listed(words[word])) for word, text in said.items() if word in words]
    sentences.append(f"**{plain(title_of(dataset))}.** {' '.join(parts)}")
Markdown("\n\n".join(sentences))

# %% [markdown]
# Why should the step matter? A gradient step is as long as the sample's gradient: on a sample that the
# network fits already, it hardly moves anything. The first step of a fresh Adam moves every weight by
# nearly its learning rate whatever the gradient, and so it moves the network everywhere as much for
# a sample that is fitted well as for any other. But at that sample itself the prediction is certain,
# and there KL sees little. So the sample's own change can be tiny while the change elsewhere is not, and a mean
# of ratios is then a mean over such samples. The median and the ratio of means guard against that,
# each in its way, but they do not change the step. The table, which shows how own changes through the
# training, has a long gradient step as well, of learning rate 1e-2; the explorer of the
# {doc}`first page <intro>` has short steps of Adam, and shows that what decides is the length of a step, not
# its rule.

# %% tags=["hide-input"]
lines = [
    "| data set | step rule | median own, KL: first epoch | last | by a factor of "
    "| median own, norm of the outputs' change: first epoch | last | by a factor of |",
    "|---|---|---|---|---|---|---|---|",
]
for dataset, summary in shown.items():
    own = summary.own_median.mean("seed").groupby(summary.epoch_of_step).mean()
    for rule in map(str, summary.rule.values):
        cells = []
        for divergence in ("kl", "l2_logits"):
            first, last = own.sel(rule=rule, divergence=divergence).values[[0, -1]]
            cells += [f"{first:.2g}", f"{last:.2g}", f"{last / first:.2g}" if first else "—"]
        lines.append(f"| {plain(title_of(dataset))} | {code(rule)} | {' | '.join(cells)} |")
Markdown("\n".join(lines) if shown else "")

# %% [markdown]
# The limit's own is per unit of learning rate (for KL, of its square).

# %% [markdown]
# (sec-sharper)=
# ## More sharply than the original?
#
# Ratios cannot be compared between the two definitions as they stand. KL is of second order in the
# change and a norm of first order, so a norm's ratio of 2 corresponds to about 4 in KL with no more
# structure behind it. The AUC is free of this: it does not change under any increasing function of
# the change. The difference of the two AUCs is taken pair by pair on the same resamples, which
# is sharper than comparing two intervals.

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each data set two panels: the AUC of class-based minus original against the epoch under each rule, and the same-class AUC at the last epoch of every divergence and rule as a heat map."}, "figure": {"name": "fig-sharper", "caption": "Left: AUC of the class-based definition less that of the original, with 95 % bands; above the dotted line the class-based one is sharper. Right: same-class AUC in the last epoch, for every divergence and rule."}}
if shown:
    with style():
        figure, panels = grid(2, 4.8)
        for (left, right), (dataset, summary) in zip(panels, shown.items(), strict=True):
            paper.by_rule(left, summary.sel(divergence="kl"), "auc_gain", 0)
            left.set(title=literal(title_of(dataset)), ylabel="gain in AUC")
            table = summary.epoch_auc.isel(epoch=-1).transpose("divergence", "rule")
            image = right.imshow(table, vmin=0, vmax=1, cmap="RdBu", aspect="auto")
            right.set_xticks(
                range(table.sizes["rule"]), map(literal, table.rule.values), rotation=20
            )
            right.set_yticks(
                range(table.sizes["divergence"]), map(literal, table.divergence.values)
            )
            right.grid(visible=False)
            for (i, j), value in np.ndenumerate(table.values):
                extreme = abs(value - 0.5) > 0.35
                right.text(j, i, f"{value:.2f}", ha="center", va="center",
                           color="white" if extreme else "black")  # fmt: skip
            right.set_title("AUC, last epoch")
            figure.colorbar(image, ax=right)
        panels[0, 0].legend(fontsize=8)
    plt.show()

# %% tags=["hide-input"]
lines = ["| data set | step rule | class-based less original, AUC | class-based over original, preference as published |",
         "|---|---|---|---|"]  # fmt: skip
for dataset in with_published(shown):
    if dataset not in shown:
        lines.append(f"| {plain(title_of(dataset))} | all | {NOT_RUN} | {NOT_RUN} |")
        continue
    summary = shown[dataset]
    published = finding("", summary, "published_gain", 1)
    for rule in map(str, summary.rule.values):
        at = summary.sel(rule=rule, divergence="kl")
        gain = finding("", at, "auc_gain", 0, "")
        last = published.text if rule == "adam:1e-4" else ""
        lines.append(f"| {plain(title_of(dataset))} | {code(rule)} | {gain.text} | {last} |")
Markdown("\n".join(lines))

# %% [markdown]
# ## What the numbers rest on

# %% tags=["hide-input"]
sentences = []
for dataset, summary in shown.items():
    undefined = float(summary.undefined.sel(divergence="kl").max())
    precise = [
        f"{share:.1%} under {code(rule)}"
        for rule in map(str, summary.rule.values)
        if (share := float(summary.in_float64.sel(rule=rule).mean()))
    ]
    none = "No sample at any checkpoint was without a change of its own"
    some = f"At most {undefined:.1%} of the samples of a checkpoint had no change of their own, and no ratio"
    sentences.append(
        f"**{plain(title_of(dataset))}.** {none if undefined == 0 else some}. Of the steps, "
        f"{listed(precise) if precise else 'none'} were computed in double precision, because single "
        f"precision would have drowned a change in rounding."
    )
Markdown("\n\n".join(sentences))

# %% [markdown]
# (sec-times)=
# ## What every experiment takes
#
# The committed results of this book, each with the one command that computes it again from scratch. Times are
# those of the runs behind the files, some of which shared the machine with other work; the settings of a
# regression are computed by one process per core, and their times are added up.

# %% tags=["hide-input"]
Markdown(
    result_tables.times_table(
        shown,
        study_file.load_all(committed_dir or None),
        regression_file.load(committed_dir or None),
    )
)

# %% [markdown]
# ## Where these numbers come from

# %% tags=["hide-input"]
Markdown("\n\n".join([result_tables.provenance_table(shown), result_tables.missing(shown)]))
