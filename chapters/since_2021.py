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
# # What others found
#
# How far one step moves the prediction elsewhere has been looked at before and since, under other names. Each section
# takes one of these works and asks its question of the results of this book; the claims are only about what is computed here.
# As far as we could find, nobody has reproduced {cite:t}`dan2021dynamics` before; we may have missed somebody.

# %% tags=["parameters"]
profile: str = "laptop"  # as in every chapter; the committed results are the same for all
results_dir: str = ""  # as in every chapter; here nothing is kept
committed_dir: str = ""  # where the committed results are; empty: results/ of the book
seed: int = 0  # of what is computed here

# %% tags=["hide-input"]
import copy
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from torch.nn import functional as F

import srel_core as sc
from srel_core.book.committed import study_file
from srel_core.book.committed.files import load_all
from srel_core.book.figures.paper import band
from srel_core.book.figures.style import OTHERS, SAME, style
from srel_core.book.figures.words import literal
from srel_core.book.published.numbers import title_of
from srel_core.book.text.costs import table
from srel_core.book.text.markup import code, plain
from srel_core.choices import check_known
from srel_core.divergence import log_prob_changes
from srel_core.experiments import datasets
from srel_core.experiments.networks import build_model
from srel_core.experiments.processes import one_thread
from srel_core.experiments.profiles import PROFILES

check_known("profile", profile, PROFILES)
summaries = load_all(committed_dir or None)
studies = study_file.load_all(committed_dir or None)
NO_RESULTS = "There are no committed results to ask yet."


def panel_for_each():
    """A row of axes, one for each data set."""
    n = len(summaries)
    return plt.subplots(1, n, figsize=(5 * n, 3.2), squeeze=False, layout="constrained")[1][0]


# %% [markdown]
# (sec-label-aware)=
# ## Label-aware kernels
#
# {cite:t}`chen2020label` compare the tangent kernel within a class and between classes: the kernel at initialisation does not
# know the labels, and that of a trained network does, more and more. In the {term}`tangent limit` $S_{\rm rel}$ by the norm of
# the raw outputs is a ratio of such kernels. So the preference of the limit should be near 1 at
# first and rise.

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each data set the preference in the tangent limit by the norm of raw outputs against the epoch, for three aggregates, with bands."}, "figure": {"name": "fig-label-aware", "caption": "$S_{\\rm rel}$ within the class over that between classes in the limit of a vanishing step, by the norm of the change of the raw outputs, with 95 % bands. Dotted: the kernel knows no classes."}}
if summaries:
    with style():
        panels = panel_for_each()
        for axes, (name, summary) in zip(panels, summaries.items(), strict=True):
            part = summary.sel(rule="tangent", divergence="l2_logits")
            for aggregate, colour in zip(
                ("mean", "ratio_of_means", "median"), (SAME, *OTHERS), strict=False
            ):
                band(axes, part.sel(aggregate=aggregate), "epoch_preference", colour, aggregate)
            axes.axhline(1, color="grey", linestyle=":")
            axes.set_title(literal(title_of(name)))
        panels[0].set_ylabel("preference in the limit")
        panels[0].legend(fontsize=8)
    plt.show()

# %% tags=["hide-input"]
sentences = []
for name, summary in summaries.items():
    part = summary.sel(rule="tangent", divergence="l2_logits", aggregate="ratio_of_means")
    first, last = part.epoch_preference.values[[0, -1]]
    (low_first, high_first), (low, high) = part.epoch_preference_interval.transpose(
        "epoch", "bound"
    ).values[[0, -1]]
    word = (
        "rises" if low > high_first else "falls" if high < low_first else "cannot be told to move"
    )
    sentences.append(
        f"On {plain(title_of(name))} the ratio of means {word}: {first:.2f} [{low_first:.2f}, {high_first:.2f}] in the first "
        f"epoch, {last:.2f} [{low:.2f}, {high:.2f}] in the last."
    )
Markdown(" ".join(sentences) or NO_RESULTS)

# %% [markdown]
# (sec-stiffness)=
# ## Stiffness: which way it goes
#
# {cite:t}`fort2019stiffness` look at the *sign*: does a step that lowers the loss of one
# input lower that of another? $S_{\rm rel}$ takes sizes, so a step that moves the prediction at another input of its
# class far *the wrong way* still counts towards a preference for the class. How often does that happen?

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "The share of pairs at which a step raises the loss of the probe, against the epoch, for probes of the sample's class and of others, a panel for each step rule."}, "figure": {"name": "fig-stiffness", "caption": "Share of the pairs at which a step on a sample raises the loss of the probe: of the sample's class, and of another one. Thin: each run of the study of classes ({doc}`other_choices`); thick: their mean."}}
pairs_study = studies.get("seeds", studies.get("classes"))
if pairs_study is not None:
    rules = list(map(str, pairs_study.rule.values))
    with style():
        _, panels = plt.subplots(
            1, len(rules), figsize=(11, 3.2), sharey=True, layout="constrained"
        )
        for axes, rule in zip(panels, rules, strict=True):
            for pair, colour, label in (
                ("same", SAME, "same class"),
                ("other", OTHERS[0], "others"),
            ):
                shares = pairs_study.raises_loss.sel(rule=rule, pair=pair).transpose("epoch", "run")
                axes.plot(pairs_study.epoch, shares, color=colour, alpha=0.25, linewidth=0.8)
                axes.plot(pairs_study.epoch, shares.mean("run"), color=colour, label=label)
            axes.set(title=literal(rule), xlabel="epoch", ylim=(0, 1))
        panels[0].set_ylabel("share with a higher loss")
        panels[0].legend(fontsize=8)
    plt.show()

# %% tags=["hide-input"]
if pairs_study is None:
    said = NO_RESULTS
else:
    rows = []
    for rule in rules:
        last = pairs_study.raises_loss.sel(rule=rule).isel(epoch=-1)
        same, other = (last.sel(pair=pair) for pair in ("same", "other"))
        rows.append(
            [code(rule), f"{float(same.mean()):.1%} ({float(same.min()):.1%} to {float(same.max()):.1%})",
             f"{float(other.mean()):.1%} ({float(other.min()):.1%} to {float(other.max()):.1%})"]
        )  # fmt: skip
    said = table(
        [
            "step",
            "loss rises at probes of the class, last epoch: mean (range over runs)",
            "at other probes",
        ],
        rows,
    )
Markdown(said)

# %% [markdown]
# Where the second share is near one half, a step says nothing about the direction elsewhere; where it is near one,
# learning one image means forgetting a little of the images of other classes.

# %% [markdown]
# (sec-sde)=
# ## Locally elastic differential equations
#
# {cite:t}`zhang2021imitating` imitate training by stochastic differential equations in which a step on a sample of one class moves the
# features of its own class by $\alpha$ and those of others by $\beta$, and find that classes become separable if and only if
# $\alpha > \beta$, given enough training. The nearest quantities here are the diagonal and the rest of the class matrix of {prf:ref}`def-matrix` for a short gradient
# step, by the norm of the raw outputs.

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each data set the mean of the class matrix on its diagonal and off it against the epoch, with the accuracy on test images."}, "figure": {"name": "fig-sde", "caption": "The part of $\\alpha$ (within a class) and of $\\beta$ (between classes): means of the class matrix of the gradient step by the norm of the raw outputs, ratio of means; dashed the test accuracy."}}
if summaries:
    with style():
        panels = panel_for_each()
        for axes, (name, summary) in zip(panels, summaries.items(), strict=True):
            matrix = summary.matrix.sel(
                rule="sgd:1e-4", divergence="l2_logits", aggregate="ratio_of_means"
            ).transpose("step", "probe_class", "sample_class")
            own = np.eye(matrix.sizes["probe_class"], dtype=bool)
            epochs = [summary.epoch_of_step.values == e for e in summary.epoch.values]
            for where, colour, label in ((own, SAME, "α: within"), (~own, OTHERS[0], "β: between")):
                means = matrix.values[:, where].mean(1)
                axes.plot(
                    summary.epoch, [means[at].mean() for at in epochs], color=colour, label=label
                )
            axes.plot(
                summary.epoch, summary.test_accuracy.mean("seed"), "k--", label="test accuracy"
            )
            axes.set(title=literal(title_of(name)), xlabel="epoch")
        panels[0].legend(fontsize=8)
    plt.show()

# %% tags=["hide-input"]
sentences = []
for name, summary in summaries.items():
    part = summary.sel(rule="sgd:1e-4", divergence="l2_logits", aggregate="ratio_of_means")
    low = part.epoch_preference_interval.sel(bound="low").values
    sentences.append(
        f"On {plain(title_of(name))} the interval of α/β lies above 1 at {int((low > 1).sum())} of {len(low)} epochs, while the test "
        f"accuracy goes from {float(summary.test_accuracy.isel(epoch=0).mean()):.0%} to {float(summary.test_accuracy.isel(epoch=-1).mean()):.0%}."
    )
Markdown(" ".join(sentences) or NO_RESULTS)

# %% [markdown]
# (sec-akg)=
# ## Learning dynamics, taken apart
#
# {cite:t}`ren2022better` and {cite:t}`ren2025learning` write the change of the log-probabilities at $x'$ by a gradient step of rate $\eta$ on $(x, y)$ as
#
# $$
# \Delta \log p(x') = -\eta\, A(x')\, K(x', x)\, G(x) + O(\eta^2),
# $$
#
# with $A = I - \mathbf 1 p^\top$ of the probe alone, $K$ the empirical tangent kernel of both, and $G = p(x) - e_y$ of the sample
# alone. $S_{\rm rel}$ is what remains when one takes the size of this change and divides it by that at $x$ itself.
# Here the formula, with $K$ from gradients by hand, is compared with the change that `influence` measures, for the
# published network after some steps on digits, in double precision.

# %%
data = datasets.load_images("digits", None, "train", 60)
images = datasets.normalise(data.images)
network = build_model("resnet18", len(data.classes), seed)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
generator = torch.Generator().manual_seed(seed)
with one_thread():  # the same weights to the bit, however many threads there are
    for _ in range(20):
        batch = torch.randperm(len(images), generator=generator)[:32]
        optimizer.zero_grad()
        F.cross_entropy(network(images[batch]), data.labels[batch]).backward()
        optimizer.step()

x, y = images[:2], data.labels[:2]
probes = images[[80, 130]]
precise = copy.deepcopy(network).double()
weights = list(precise.parameters())


def jacobian(inputs):
    """Of the outputs by all weights, (inputs, outputs, weights)."""
    outputs = precise(inputs.double())
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(value, weights, retain_graph=True)])
        for value in outputs.flatten()
    ]
    return torch.stack(rows).view(*outputs.shape, -1)


j_x, j_probes = jacobian(x), jacobian(probes)
with torch.no_grad():
    p_x, p_probes = (precise(part.double()).softmax(1) for part in (x, probes))
A = torch.eye(3) - p_probes[:, None, :]
K = torch.einsum("pcw,sdw->pscd", j_probes, j_x)
G = p_x - F.one_hot(y, 3)
predicted = -torch.einsum("pab,psbc,sc->psa", A, K, G)

rates = (1e-2, 1e-3, 1e-4)
apart = []
for rate in rates:
    found = sc.influence(precise, x.double(), y, probes.double(), rule=sc.SGD(rate))
    change = log_prob_changes(found.before[:, None], found.delta)
    apart.append(float((change - rate * predicted).norm() / change.norm()))

# %% tags=["hide-input"]
Markdown(
    table(["learning rate", "relative difference of $-\\eta A K G$ and the measured change"],
          [[f"{rate:g}", f"{difference:.1e}"] for rate, difference in zip(rates, apart, strict=True)])
)  # fmt: skip

# %% [markdown]
# The difference falls with the rate, but need not fall in proportion: ReLU and max-pooling make the network smooth in
# pieces only, and a step that crosses from one piece to the next leaves a remainder of first order. So the smallest
# of these numbers depends on where the training ended, to the last digit of its weights.
#
# The same works describe a *squeezing effect*: a step that makes an unlikely answer even less likely raises, above all, the
# answer that is most likely already. Here this is tried on digits of the data, each with one short step *up* the loss
# of its least likely class.

# %% tags=["hide-input"]
count = 20 if profile == "smoke" else 60
tried = images[:: max(1, len(images) // count)][:count]
with torch.no_grad():
    before = network(tried).double()
least, most = before.argmin(1), before.argmax(1)
up = sc.influence(
    network, tried, least, tried[:1], rule=sc.SGD(1e-5),
    loss=lambda prediction, target: -F.cross_entropy(prediction, target),
)  # fmt: skip
moved = log_prob_changes(up.own_before, up.own_delta)
p = up.own_before.softmax(1)
gained = ((p * moved.exp()) - p).numpy()
middle = (3 - least - most).numpy()
rows = np.arange(len(tried))
Markdown(
    f"The probability of the least likely class falls for {(gained[rows, least] < 0).mean():.0%} of {len(tried)} "
    f"digits, as it must; that of the most likely class rises for {(gained[rows, most] > 0).mean():.0%}, and that of "
    f"the one between for {(gained[rows, middle] > 0).mean():.0%}. The most likely one takes "
    f"{np.median(gained[rows, most] / -gained[rows, least]):.0%} of what the least likely one loses (median)."
)

# %% [markdown]
# (sec-transitions)=
# ## Influence that changes sign
#
# {cite:t}`lee2025influence` argue that what one input does to another changes with the stages of training, sign included, most of all at
# transitions. {ref}`sec-stiffness` has the signs of the published experiment: the share with a higher loss at probes of other
# classes crosses one half if most pairs change sign in this way. A training with a sharp transition is in
# {doc}`grokking`.

# %% tags=["hide-input"]
if pairs_study is None:
    said = NO_RESULTS
else:
    sentences = []
    for rule in rules:
        shares = pairs_study.raises_loss.sel(rule=rule, pair="other").mean("run").values
        crossed = [
            int(epoch)
            for epoch, (a, b) in zip(pairs_study.epoch.values[1:], pairwise(shares), strict=True)
            if (a - 0.5) * (b - 0.5) < 0
        ]
        where = (
            f"crosses one half before epoch {', '.join(map(str, crossed))}"
            if crossed
            else "does not cross one half"
        )
        sentences.append(
            f"Under {code(rule)} it {where} ({shares[0]:.0%} in the first epoch, {shares[-1]:.0%} in the last)."
        )
    said = " ".join(sentences)
Markdown(said)
