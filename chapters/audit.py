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
# # From the published code to the definition
#
# The notebooks that accompany {cite:t}`dan2021dynamics` are public, which is what made this chapter
# possible. In several places they compute something other than what the paper's text defines. This chapter
# follows the curves **from as published to as defined, one change at a time**, on the same trainings, and then
# shows in a few lines each what was changed. {doc}`audit_rest` has the differences that decide nothing.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the runs made for this page
results_dir: str = ""  # where these runs are kept; empty: the book's own
committed_dir: str = ""  # where the committed results are; empty: results/ of the book
dataset: str = (
    "digits"  # of the runs made for this page: digits, cifar10, cifar100, svhn, folder:PATH
)
seeds: list[int] = []  # one run for each; empty: as the profile says
device: str = "auto"  # cpu, cuda; auto: a GPU if there is one

# %% tags=["hide-input"]
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from torch.nn import functional as F

import srel_core as sc
from srel_core.book.claims.evidence import digits
from srel_core.book.claims.of_the_paper import rung_findings, turns
from srel_core.book.committed.files import ladder_in, load_all
from srel_core.book.committed.write import summary_of
from srel_core.book.figures import paper
from srel_core.book.figures.style import style
from srel_core.book.figures.words import literal
from srel_core.book.published.definitions import QUANTITIES, range_without_change
from srel_core.book.published.ladder import LADDERS
from srel_core.book.published.numbers import NOT_RUN, PUBLISHED, title_of, with_published
from srel_core.book.text import result_tables
from srel_core.book.text.markup import code, folded, plain, varying, without_folders
from srel_core.experiments.networks import mlp
from srel_core.experiments.profiles import class_experiments, require_rules

rules = ("adam:1e-4", "sgd:1e-4", "tangent")
experiments = class_experiments(profile, dataset, tuple(seeds) or None)
require_rules(experiments, rules)
runs = [experiment.run(results_dir or None, device) for experiment in experiments]
here = summary_of(runs)
shown = load_all(committed_dir or None)
HERE = f"{without_folders(dataset)}, this page"
everything = {**{title_of(name): part for name, part in shown.items()}, HERE: here}
ladders = {
    (title, d): ladder_in(summary, d) for title, summary in everything.items() for d in LADDERS
}
n_classes = here.sizes["sample_class"]

# %% tags=["hide-input", "code-below"]
sentences = []
for definition in LADDERS:
    where = {}
    for (title, d), part in ladders.items():
        for _, rung, _, _ in turns(part) if d == definition else ():
            where.setdefault(plain(rung), []).append(plain(title))
    said = "; ".join(f"*{rung}* ({', '.join(titles)})" for rung, titles in where.items())
    sentences.append(
        f"By the {definition} definition, the single changes that change whether a step prefers its own class are "
        f"{said}."
        if said
        else f"By the {definition} definition, no single change changes whether a step prefers its own class."
    )
Markdown("\n\n".join(sentences))

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each data set and each definition, the preference at the last epoch on every rung from as published to as defined, as points with intervals, and the line of no preference."}, "figure": {"name": "fig-ladder", "caption": "Preference in the last epoch, from as published (top) to the tangent limit, one change at a time. Points and 95 % intervals; blue: the interval lies above 1; orange: below; grey: it holds 1."}}
with style():
    figure, panels = plt.subplots(
        len(everything), 2, figsize=(10, 3.4 * len(everything)), squeeze=False, layout="constrained"
    )
    for axes, ((title, definition), part) in zip(panels.flat, ladders.items(), strict=True):
        paper.rungs(axes, part, int(part.epoch[-1]))
        axes.set_title(f"{literal(title)}: {definition}", fontsize=10)
plt.show()

# %% tags=["hide-input"]
if shown:
    note = (
        "Effects on the curves are shown on the committed results of the `paper` profile, and on "
        f"runs made for this page ({plain(without_folders(dataset))}, {profile} profile), which anyone can repeat in minutes but which say nothing "
        "about the paper's data sets."
    )
else:
    note = (
        "**There are no results of the `paper` profile yet**: effects on the curves are shown on runs "
        f"made for this page alone ({plain(without_folders(dataset))}, {profile} profile), which say nothing about the paper's data sets."
    )
Markdown(
    "\n\n".join(
        part for part in (note, result_tables.badges(shown), result_tables.missing(shown)) if part
    )
)

# %% [markdown]
# What we say about the notebooks comes from reading them; the code here is our own. Whether a difference was
# intended we do not know, and it does not matter for what the numbers can show.

# %% [markdown]
# (sec-ladder)=
# ## One change at a time
#
# Each {term}`rung` below differs from the one before in a single respect, on the same trainings. The number is
# the {term}`preference`, *same* over *other*, over the checkpoints of the last epoch: above 1, a step
# moves its own class more. (*Median of ratios* and *ratio of means* both come after *gradient step*.)

# %% tags=["hide-input"]
lines = [
    "| data set | definition | rung | what changes | same | other | preference | a step prefers its own class |",
    "|---|---|---|---|---|---|---|---|",
]
for dataset_name in with_published(shown):
    if dataset_name not in shown:
        lines.append(f"| {plain(title_of(dataset_name))} | both | | {NOT_RUN} | | | | |")
for (title, definition), part in ladders.items():
    found = rung_findings(part)
    for rung, change in zip(part.rung.values, part.change.values, strict=True):
        ending = part.sel(rung=rung).isel(epoch=-1)
        level = [digits(float(ending[f"rung_epoch_{name}"])) for name in ("same", "other")]
        lines.append(
            f"| {plain(title)} | {definition} | {plain(rung)} | {plain(change) or '—'} | {level[0]} | {level[1]} "
            f"| {found[rung].effect} | {found[rung].words} |"
        )
Markdown(folded("Every rung in numbers", "\n".join(lines)))

# %% [markdown]
# *Holds*: the interval lies above 1 at every epoch, or at those that are named; *reversed*: below.

# %% tags=["hide-input"]
sentences = []
for (title, definition), part in ladders.items():
    found = rung_findings(part)
    first = found["as published"].words
    changed = turns(part)
    steps = "; ".join(
        f"*{plain(rung)}* (after *{plain(before)}*): {old.words} → {new.words}"
        for before, rung, old, new in changed
    )
    sentences.append(
        f"**{plain(title)}, {definition}.** As published: {first}. "
        + (f"Single changes that change the verdict: {steps}." if steps else "No single change changes the verdict.")
    )  # fmt: skip
Markdown("\n\n".join(sentences))

# %% [markdown]
# (sec-kl)=
# ## The "KL" is not a Kullback–Leibler divergence
#
# PyTorch's `kl_div(input, target)` expects the *logarithm* of the new probabilities as its input. The
# notebooks pass the probabilities themselves. A divergence of a prediction from itself is zero; this
# is what `kl_div` gives:

# %%
p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
print(f"KL(p‖p):              {F.kl_div(p.log(), p, reduction='none').mean():.4f}")
print(f"kl_div as published:  {F.kl_div(p, p, reduction='none').mean():.4f}")

# %% [markdown]
# With probabilities for its input it computes
#
# $$
# \frac1C \sum_c p_c \left(\log p_c - p^+_c\right)
#   = -\frac1C \left( H(p) + \langle p, p^+ \rangle \right),
# $$
#
# that is, without the sign and the number of classes,
#
# $$
# H(p) + \langle p, p^+ \rangle
#   = \underbrace{H(p) + \lVert p \rVert^2}_{\text{without any step}}
#   + \underbrace{\langle p, p^+ - p \rangle}_{\text{the step's}} .
# $$
#
# **Without any step.** The first part compares how certain the network is at $x'$ and at $x$. For a
# step that changes nothing at all, the ratio always lies in a fixed range around 1
# (`srel_core.book.published.definitions.range_without_change` has the proof), and the published values lie in it:

# %%
low, high = range_without_change(3)
values = [
    v
    for figures in PUBLISHED.values()
    for curves in (figures.same, figures.other)
    for v in curves["class-based"]
]
inside = sum(low <= v <= high for v in values)
print(f"a step that changes nothing, 3 classes:  {low:.3f} to {high:.3f}")
print(f"published class-based values:            {min(values):.3f} to {max(values):.3f}")
print(f"of these inside that range:              {inside} of {len(values)}")

# %% [markdown]
# That they could come from no step at all does not mean that they do. Averaged over both orders of a
# pair, that is, over a ratio and its inverse, the first part alone is never below 1: where *other* lies
# below 1, the step has brought it there.
#
# **The step's.** The second part has a *sign*. It is positive where the step makes the prediction
# surer of what it says already, and negative where it takes the prediction away from that. Once a
# network is nearly certain, $p \approx e_k$, it can hardly become surer: then
# $\langle p, p^+ - p\rangle \approx -(1 - p^+_k)$, and **the more a prediction changes, the smaller is
# the published quantity**. A divergence does the opposite:

# %%
before = torch.tensor([0.96, 0.02, 0.02], dtype=torch.float64)
print("p⁺ of the first class    KL(p⁺‖p)    H(p) + ⟨p, p⁺⟩")
for sure in (0.98, 0.96, 0.9, 0.7, 0.4):
    after = torch.tensor([sure, 1 - sure - 0.01, 0.01], dtype=torch.float64)
    divergence = (after * (after / before).log()).sum()
    published = -3 * F.kl_div(after, before, reduction="none").mean()
    print(f"{sure:>20.2f} {divergence:>12.4f} {published:>17.4f}")

# %% [markdown]
# In the experiment, the lines show the quantity as published, and the crosses the same quantity for a step
# that changes nothing: the same network evaluated twice.

# %% tags=["hide-input"] mystnb={"image": {"alt": "For each data set the published class-based curves against the epoch, same class and other classes, and crosses for the same quantity of a step that changes nothing."}, "figure": {"name": "fig-still", "caption": "The class-based quantity as published (lines, with 95 % bands), and the same quantity where no step is taken at all (crosses)."}}
with style():
    figure, panels = plt.subplots(
        1,
        len(everything),
        figsize=(3.5 * len(everything), 3.2),
        squeeze=False,
        layout="constrained",
    )
    for axes, (title, summary) in zip(panels[0], everything.items(), strict=True):
        paper.without_change(axes, summary)
        axes.set_title(literal(title), fontsize=10)
    panels[0, 0].set_ylabel("class-based, as published")
    panels[0, 0].legend(fontsize=8)
plt.show()

# %% [markdown]
# For the same steps of the fresh Adam, the table shows at the last epoch the quantity as published, the step's
# part of it, and a true KL, at probes of the sample's class and of the others. It also shows the rank
# correlation, over the probes of a sample, between the published quantity and the KL. If the published
# quantity measured the size of the change, that correlation would be near 1.

# %% tags=["hide-input"]
lines = [
    "| data set | as published: same, other | without a step | the step's part | mean KL | rank correlation, first epoch | last epoch (seeds) |",
    "|---|---|---|---|---|---|---|",
]
HIGHER = {
    "above": "*same* is the higher",
    "below": "*other* is the higher",
    "undecided": "it cannot be told whether *same* or *other* is the higher",
}
sentences = []
for title, summary in everything.items():
    ending = summary.isel(epoch=-1)
    as_published = ending.sel(definition="class-based")
    mean = {name: float(as_published[name].mean("seed")) for name in (
        "published_same", "published_other", "still_same", "still_other",
        "step_part_same", "step_part_other", "kl_same", "kl_other",
    )}  # fmt: skip
    ranks = ending.rank_correlation.values
    lines.append(
        f"| {plain(title)} | "
        + " | ".join(
            f"{digits(mean[f'{name}_same'])}, {digits(mean[f'{name}_other'])}"
            for name in ("published", "still", "step_part", "kl")
        )
        + f" | {float(summary.rank_correlation.isel(epoch=0).mean()):+.2f} | {ranks.mean():+.2f} "
        f"({ranks.min():+.2f} to {ranks.max():+.2f}) |"
    )
    if (ranks < 0).all():
        way = "the published quantity is the *larger*, the *less* the prediction changes"
    elif (ranks > 0).all():
        way = "the published quantity is the larger, the more the prediction changes"
    else:
        way = "the seeds disagree on which way the published quantity goes with the change"
    published = rung_findings(ladders[title, "class-based"])["as published"].sides[-1]
    factors = (ending.kl_same / ending.kl_other).values
    by_kl = "above" if (factors > 1).all() else "below" if (factors < 1).all() else "undecided"
    if "undecided" in (published, by_kl):
        verdict = "whether the two agree cannot be told"
    elif published == by_kl:
        verdict = "the two agree on where more has changed"
    else:
        verdict = "read as a size of change, the published curve says the opposite of what happened"
    sentences.append(
        f"**{plain(title)}.** In the last epoch {way}. As published {HIGHER[published]}; by KL, the change at "
        f"probes of the sample's class is {digits(factors.min())} to {digits(factors.max())} times that "
        f"at the others, depending on the seed: {verdict}."
    )
Markdown("\n".join(lines) + "\n\n" + "\n\n".join(sentences))

# %% [markdown]
# So the published quantity answers a different question from the one that is asked of it: whether a step
# *confirms or weakens* the predictions elsewhere. Where the step's part is positive for the same class
# and negative for the others, a step on a ship makes other ships surer to be ships, and airplanes less
# sure to be airplanes. That is worth knowing; but it says nothing on which of the two predictions
# moves more.

# %% [markdown]
# (sec-norms)=
# ## The original $S_{\rm rel}$ divides one norm by another
#
# At a probe, the notebooks take the mean absolute change of the class probabilities; at the sample, the
# root mean square. So even for $x' = x$, where $S_{\rm rel}$ is 1 by definition, it is not:

# %%
change = torch.randn(100_000, n_classes, generator=torch.Generator().manual_seed(0))
change -= change.mean(1, keepdim=True)  # probabilities sum to one, so their changes to zero
ratio = change.abs().mean(1) / change.square().mean(1).sqrt()
print(f"{n_classes} classes, x' = x:    {ratio.min():.3f} to {ratio.max():.3f}")
print(f"bounds for 3 classes:  √(2/3) = {(2 / 3) ** 0.5:.3f} to √8/3 = {8**0.5 / 3:.3f}")

# %% [markdown]
# The norms differ by a bounded factor, so this cannot turn a curve around. It lowers every curve
# a little; {ref}`sec-ladder` shows by how much. There is a second difference, of kind rather than of size:
# the original definition is for a scalar prediction, whereas the notebooks take class probabilities,
# which are no longer the network's outputs.

# %% [markdown]
# (sec-epsilon)=
# ## A small number in the denominator
#
# Both definitions add $\varepsilon = 10^{-8}$ to the denominator. For the class-based one that is negligible
# against the entropies in it (and, as those are negative, it makes the denominator smaller, not
# larger). For the original one it matters where a sample's own change is as small as that:

# %% tags=["hide-input"]
lines = [
    "| epoch | smallest denominator, original | samples below $10^{-6}$ | below $10^{-8}$ | smallest denominator, class-based |",
    "|---|---|---|---|---|",
]
own = {
    name: [np.abs(replace(q, epsilon=0.0).of(run, "adam:1e-4")[1]) for run in runs]
    for name, q in QUANTITIES.items()
}
epochs = here.epoch.values
for epoch in epochs:
    at = runs[0].epoch_of_step.values == epoch
    original = np.concatenate([o[at].ravel() for o in own["original"]])
    class_based = np.concatenate([o[at].ravel() for o in own["class-based"]])
    lines.append(
        f"| {epoch} | {original.min():.2g} | {(original < 1e-6).mean():.1%} "
        f"| {(original < 1e-8).mean():.1%} | {class_based.min():.2g} |"
    )
Markdown(f"{plain(HERE)}, under the fresh Adam:\n\n" + "\n".join(lines))

# %% [markdown]
# Where a sample's own change is really zero, a ratio has no value. Adding $\varepsilon$ turns it into a
# very large number that enters a mean; this book leaves such a sample out and counts it.

# %% [markdown]
# (sec-self)=
# ## Pairs of a sample with itself
#
# The published class curves average over all pairs of probes and samples, and the two sets are the
# same images. So every same-class curve holds pairs with $x' = x$, which are there whatever the network
# does. With $n$ probes per class, and a true ratio of 1 for each such pair,

# %%
n_probes, true_same = 20, np.array([0.1, 0.5, 1.0, 5.0])
with_self = ((n_probes - 1) * true_same + 1) / n_probes
for without, whole in zip(true_same, with_self, strict=True):
    print(f"same = {without:.2f} without self-pairs, {whole:.3f} with them")

# %% [markdown]
# The curve is pulled towards 1 by the share of these pairs, and only the same-class one. That favours
# the claim where $S_{\rm rel}$ is small, and speaks against it where it is large.

# %% [markdown]
# (sec-adam)=
# ## The step of a fresh Adam
#
# The definition speaks of a step on the sample. The notebooks make a new Adam optimizer for each sample
# and take its first step, which moves every weight by nearly the learning rate, in the direction of
# its gradient's sign {cite:p}`kingma2015adam`. Two samples, one fitted badly and one fitted well:

# %%
with torch.random.fork_rng():
    torch.manual_seed(0)
    network = mlp(10, (32,), 3)
    x = torch.randn(1, 10)
target = torch.tensor([0])
for scale, fitted in ((0.0, "badly"), (12.0, "well")):
    with torch.no_grad():
        network[-1].bias.copy_(torch.tensor([scale, 0.0, 0.0]))
    loss = F.cross_entropy(network(x), target)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    lengths = [
        sum(rule.change("", g, g.clone()).square().sum() for g in gradients) ** 0.5
        for rule in (sc.SGD(1e-4), sc.Adam(1e-4))
    ]
    print(
        f"{fitted:>5} fitted, loss {loss:.1e}:  SGD moves {lengths[0]:.1e}, Adam {lengths[1]:.1e}"
    )

# %% [markdown]
# The gradient step shrinks with the loss. Adam's does not. Hence a trained network is disturbed
# as much by a step on a sample that it knows as by one on a sample that it does not, while the
# change *at* the known sample, towards the class of which the network is already sure, is small.

# %% [markdown]
# (sec-mean)=
# ## The mean of ratios
#
# A mean of ratios weighs each sample by one over its own change. How much of the mean over all pairs
# is due to few of them, at the last checkpoint of the runs made for this page?

# %% tags=["hide-input"]
lines = [
    "| step rule | divergence | share of the mean of ratios that the largest 1 % of pairs make up | largest 5 % |",
    "|---|---|---|---|",
]
for rule in ("adam:1e-4", "sgd:1e-4"):
    for divergence in ("kl", "l2_logits"):
        ratios = np.concatenate(
            [
                (run.change / run.own)
                .sel(rule=rule, divergence=divergence)
                .isel(step=-1)
                .values[~run.same_input.values]
                for run in runs
            ]
        )
        ordered = np.sort(ratios[np.isfinite(ratios)])[::-1]
        shares = [
            ordered[: max(1, round(part * len(ordered)))].sum() / ordered.sum()
            for part in (0.01, 0.05)
        ]
        lines.append(f"| `{rule}` | `{divergence}` | {shares[0]:.0%} | {shares[1]:.0%} |")
Markdown(f"{plain(HERE)}:\n\n" + "\n".join(lines))

# %% [markdown]
# The ratio of means, mean change over mean own change, gives every sample the weight of its own change
# instead; the median takes the middle pair. Neither is *the* right one. They answer different
# questions, and a claim that holds by one and not by another is a claim about the aggregate.

# %% [markdown]
# ## What follows

# %% tags=["hide-input"]
sentences = []
for title in everything:
    part = ladders[title, "class-based"]
    found = rung_findings(part)
    route = {
        "as published": found["as published"],
        "true KL, fresh Adam, mean of ratios": found["true KL"],
        "gradient step, mean of ratios": found["gradient step"],
        "gradient step, ratio of means": found["ratio of means"],
        "gradient step, median": found["median of ratios"],
        "vanishing step, ratio of means": found["tangent limit"],
    }
    said = "; ".join(f"{name}: {f.words}" for name, f in route.items())
    agree = {f.word for f in route.values()}
    sentences.append(
        f"**{plain(title)}.** A step prefers its own class? {said[0].upper()}{said[1:]}. "
        + ("The verdict is the same on this whole way." if len(agree) == 1 else
           "The verdict depends on which of these is meant.")
    )  # fmt: skip
Markdown("\n\n".join(sentences))

# %% [markdown]
# The published class-based curves are no evidence on which predictions a step changes more, because the
# quantity in them is not the size of a change ({ref}`sec-kl`). {doc}`paper_scale` shows what the definition
# says.

# %% [markdown]
# ## Where these numbers come from

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        [
            result_tables.provenance_table(shown),
            f"The runs made for this page: {plain(without_folders(dataset))}, {profile} profile, seeds {', '.join(str(e.seed) for e in experiments)}, "
            f"commit {varying(code(runs[0].attrs['commit']))}, {plain(runs[0].attrs['device'])}, "
            f"{varying(result_tables.hours(sum(float(run.attrs['wall_seconds']) for run in runs)))} in all.",
        ]
    )
)
