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
# # Class-based local elasticity
#
# A network has just taken one training step on a picture of a ship. Its predictions moved a little
# everywhere: on that picture, on other ships, on airplanes. Local elasticity asks *where they moved
# most*. If a step on a ship moves mainly the predictions on ships, the network treats the classes as
# separate regions of its input space, although nobody told it to.
#
# This chapter defines the quantity that {cite:t}`dan2021dynamics` propose to measure this, shows why
# the definition they started from {cite:p}`he2020local` does not serve for classification, and
# measures both while a ResNet-18 trains on real images.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper
results_dir: str = ""  # where results are kept; empty: the book's own
dataset: str = "digits"  # digits, cifar10, cifar100, svhn, folder:PATH
classes: list[str] = []  # empty: the data set's default three
epochs: int = 0  # 0: as the profile says
probes_per_class: int = 0  # 0: as the profile says
rule: str = "sgd:1e-4"  # whose curves are drawn: sgd:LR, adam:LR, tangent
seeds: list[int] = []  # one run for each; empty: as the profile says
device: str = "auto"  # cpu, cuda; auto: a GPU if there is one

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display
from matplotlib.colors import LogNorm

import srel_core as sc
from srel_core.book.figures import classification
from srel_core.book.figures.matrix_slider import slider_heatmap
from srel_core.book.figures.style import RULES, style
from srel_core.book.text.markup import plain, without_folders
from srel_core.book.text.sources import Sources
from srel_core.experiments.profiles import class_experiments
from srel_core.statistics.class_summary import class_summary, learning_curves
from srel_core.statistics.intervals import side_of

settings = {
    "classes": tuple(classes) or None,
    "epochs": epochs or None,
    "probes_per_class": probes_per_class or None,
}
experiments = class_experiments(profile, dataset, tuple(seeds) or None, **settings)
if rule not in experiments[0].rules:
    settings["rules"] = (*experiments[0].rules, rule)
    experiments = class_experiments(profile, dataset, tuple(seeds) or None, **settings)
runs = [experiment.run(results_dir or None, device) for experiment in experiments]
summary = class_summary(runs)
curves = learning_curves(runs)
names = [str(name) for name in summary.probe_class.values]
last = int(summary.step[-1])

ending = summary.isel(step=-1)
DEFINITIONS = {"kl": "class-based", "l2_logits": "original"}


def interval(values):
    return f"[{float(values[0]):.2f}, {float(values[1]):.2f}]"


# %% tags=["hide-input", "code-below"]
chosen = summary.sel(rule=rule, divergence="kl")
above = [
    side_of(chosen.auc_interval.isel(step=i).values, 0.5) for i in range(summary.sizes["step"])
]
everywhere = above.count("above")
at_end = {
    name: ending.sel(rule=rule, divergence=divergence) for divergence, name in DEFINITIONS.items()
}
auc = {
    name: f"{float(cell.auc):.2f} {interval(cell.auc_interval.values)}"
    for name, cell in at_end.items()
}
low, high = at_end["class-based"].auc_interval.values
if high < float(at_end["original"].auc_interval[0]):
    compared = "here the class-based definition shows the preference *less* sharply"
elif low > float(at_end["original"].auc_interval[1]):
    compared = "here the class-based definition shows the preference *more* sharply"
else:
    compared = "their intervals overlap, so that these runs do not say which is sharper"
high_precision = float(np.mean([run.in_float64.sel(rule=rule).mean() for run in runs]))
undefined = float(chosen.undefined.max())
Markdown(
    f"On {plain(without_folders(dataset))}, at the end of training (step {last}, mean training accuracy "
    f"{float(curves.train_accuracy.isel(epoch=-1).mean()):.3f}), the class-based $S_{{\\rm rel}}$ under "
    f"`{rule}` has a same-class AUC of {auc['class-based']}, the original one of {auc['original']}: {compared}. The former's "
    f"95 % interval lies above one half at {everywhere} of {len(above)} checkpoints. "
    f"{'No sample was without a change of its own' if undefined == 0 else f'At most {undefined:.0%} of the samples of a checkpoint were without a change of their own'}, "
    f"and for {high_precision:.0%} of the steps single precision would have drowned a change in rounding, "
    "so that they were computed in double precision."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Same-class AUC against the training step under each step rule, for the class-based and the original definition, with bands and the line of no structure at one half."}, "figure": {"name": "fig-auc", "caption": "Same-class AUC through training: left the class-based definition (KL), right the original one (norm of the change of the outputs). Dotted: no class structure. The limit is dashed: where the gradient step is short, it lies under it."}}
with style():
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axes, divergence, title in zip(
        panels, ("kl", "l2_logits"), ("class-based", "original"), strict=True
    ):
        for shown_rule in summary.rule.values:
            colour = RULES[str(shown_rule).split(":")[0]]
            classification.over_training(
                axes, summary, "auc", shown_rule, divergence, str(shown_rule), colour
            )
        axes.axhline(0.5, color="black", linestyle=":", linewidth=1)
        axes.set(title=title, ylim=(0, 1.02))
    panels[0].set_ylabel("same-class AUC")
    panels[1].legend()
plt.show()

# %% [markdown]
# ## Definitions
#
# Let $f_w$ be a predictor with weights $w$, $\ell$ a loss, and $w^+ = U(w; x, y)$ the weights after
# **one step on the sample $(x, y)$ alone**. Let $D(\text{new}, \text{old})$ be a discrepancy between
# two predictions, zero when they are equal.
#
# :::{prf:definition} Relative change, $S_{\rm rel}$
# :label: def-srel
#
# $$
# \operatorname{change}(x', x) = D\bigl(f_{w^+(x)}(x'),\, f_w(x')\bigr), \qquad
# \operatorname{own}(x) = \operatorname{change}(x, x),
# $$
#
# $$
# S_{\rm rel}(x', x) = \frac{\operatorname{change}(x', x)}{\operatorname{own}(x)} .
# $$
#
# Where $\operatorname{own}(x) = 0$ the ratio is undefined. Such samples are left out and counted; no
# small number is added to the denominator to hide them.
# :::
#
# The definition leaves two choices open, and both matter: the discrepancy $D$ and the step $U$.
#
# :::{prf:definition} Original $S_{\rm rel}$
# :label: def-original
#
# $D$ is the absolute difference of a scalar prediction, and $U$ a step of stochastic gradient
# descent {cite:p}`he2020local`. For a network with several outputs the nearest thing is the norm of
# the change of the raw outputs, $D = \lVert \delta z \rVert_2$, which we use below.
# :::
#
# :::{prf:definition} Class-based $S_{\rm rel}$
# :label: def-class
#
# $D = \mathrm{KL}(p_{\rm new} \Vert p_{\rm old})$, the Kullback–Leibler divergence between the class
# probabilities $p = \operatorname{softmax}(f_w(\cdot))$ after and before the step. This is the
# definition that {cite:t}`dan2021dynamics` propose for classification.
# :::
#
# :::{prf:definition} Class matrix
# :label: def-matrix
#
# $S[c', c]$ is $S_{\rm rel}(x', x)$ aggregated over {term}`probes <probe>` $x'$ of class $c'$ and samples $x$ of
# class $c$, pairs with $x' = x$ left out. We {term}`aggregate` as the *ratio of means*, the mean of
# $\operatorname{change}$ over the mean of $\operatorname{own}$, which no sample with a tiny
# denominator can dominate. **Preference** is the mean of the diagonal of $S$ over the mean of the
# rest: above 1, a step moves the predictions of its sample's own class more than the others'.
# :::
#
# :::{prf:definition} Same-class AUC
# :label: def-auc
#
# For a sample $x$, the chance that $\operatorname{change}(x', x)$ at a random probe of the class of
# $x$ exceeds that at a random probe of another class. It involves no denominator; 0.5 means no class
# structure, 1 a perfect one.
# :::
#
# As for the step $U$, three {term}`rules <step rule>` are measured at every checkpoint: a gradient step (`sgd`), which is what
# the definition speaks of; the first step of a freshly made Adam {cite:p}`kingma2015adam` (`adam`),
# which is what the published code takes, and which moves every weight by nearly the same amount
# whatever the size of its gradient; and the limit of a gradient step of vanishing length
# (`tangent`), governed by the tangent kernel {cite:p}`jacot2018ntk`.

# %% [markdown]
# ## Why the original definition is not enough
#
# Raw outputs are not predictions. A classifier predicts probabilities, and the same change of its
# outputs can mean much or nothing:

# %% tags=["hide-input"]
unsure = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64)
sure = torch.tensor([12.0, 0.0, 0.0], dtype=torch.float64)
one_up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
all_up = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
rows = []
for label, z, change in [
    ("one output up by 1, prediction unsure", unsure, one_up),
    ("one output up by 1, prediction sure of another class", sure, one_up),
    ("all outputs up by 1", unsure, all_up),
]:
    logits, kl = (float(sc.DIVERGENCES[name].finite(z, change)) for name in ("l2_logits", "kl"))
    rows.append(f"| {label} | {logits:.3f} | {kl:.2g} |")
header = "| change of the outputs | $\\lVert\\delta z\\rVert_2$ | KL of the probabilities |\n|---|---|---|\n"
Markdown(header + "\n".join(rows))

# %% [markdown]
# In the last two rows the outputs change as much as in the first, or more, yet the prediction changes
# hardly or not at all. Once a network is sure of its classes, a measure on the outputs mostly sees changes
# that decide nothing; {prf:ref}`def-class` weighs each change by what it does to the prediction.
#
# There is a price. KL is of second order in the change, so in single precision, subtracting two
# predictions loses everything long before the change is really zero. `srel_core` therefore computes
# each divergence from the *change* of the outputs in double precision, by formulas without
# cancellation. It recomputes the change itself in double precision wherever the rounding of the
# network's predictions, measured on that network, would drown it.

# %% [markdown]
# ### A case to check by hand
#
# For a linear classifier $f_w(x) = Wx + b$ the tangent kernel is $(x' \cdot x + 1) I$, so a
# vanishing step on $(x, y)$ changes the outputs at $x'$ by $-\eta\,(x'\cdot x + 1)\, r$ with
# $r = p(x) - e_y$, and {prf:ref}`def-class` has the limit
#
# $$
# S_{\rm rel}(x', x) = \frac{(x'\cdot x + 1)^2 \; r^{\sf T} F(x')\, r}
#                           {(x\cdot x + 1)^2 \; r^{\sf T} F(x)\, r},
# \qquad F = \operatorname{diag}(p) - p\,p^{\sf T}.
# $$
#
# NumPy against the library:

# %%
rng = np.random.default_rng(0)
x, probes = rng.normal(size=4), rng.normal(size=(3, 4))
weight, bias, y = rng.normal(size=(3, 4)), rng.normal(size=3), 2


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def squared_change(probe):
    """The limit of KL, up to a factor that does not depend on the probe."""
    r = softmax(weight @ x + bias) - np.eye(3)[y]
    p = softmax(weight @ probe + bias)
    fisher = np.diag(p) - np.outer(p, p)
    return (probe @ x + 1) ** 2 * (r @ fisher @ r)


by_hand = [squared_change(probe) / squared_change(x) for probe in probes]

linear = torch.nn.Linear(4, 3).double()
state = {"weight": torch.tensor(weight), "bias": torch.tensor(bias)}
linear.load_state_dict(state)
measured = sc.tangent_influence(
    linear, torch.tensor(x[None]), torch.tensor([y]), torch.tensor(probes)
)
difference = measured.s_rel("kl")[:, 0].numpy() - by_hand
print(f"largest difference: {np.abs(difference).max():.1e}")

# %% [markdown]
# ## The experiment

# %% tags=["hide-input"]
first, config = runs[0], experiments[0]
images = (
    f"{config.images_per_class} images per class at most"
    if config.images_per_class
    else "all images"
)
Markdown(
    f"A `{config.model}` is trained on {plain(first.attrs['data_source'])} (classes "
    f"{', '.join(map(plain, names))}; {images}) for {config.schedule.epochs} epochs in batches of "
    f"{config.schedule.batch_size} by Adam with learning rate {config.schedule.lr:g} and weight decay "
    f"{config.schedule.weight_decay:g}, from {len(runs)} seeds. At {summary.sizes['step']} checkpoints "
    f"we pick {config.probes_per_class} training images of each class, take one step on each of "
    f"the {first.sizes['sample']} from the same weights, under each rule, and observe the change at all "
    f"{first.sizes['probe']}: {first.sizes['probe'] * first.sizes['sample']:,} pairs per checkpoint, rule and seed."
)

# %% [markdown]
# The network is the published one: a ResNet-18 {cite:p}`he2016resnet` with every normalisation layer
# replaced by the identity, because batch normalisation would tie the prediction on one image to the
# other images of its batch, and $S_{\rm rel}$ would have no meaning. (The `smoke` profile, made for
# testing this page, takes a small dense network instead.)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy and loss on training and test images against the epoch, one thin line per seed and a thick mean."}, "figure": {"name": "fig-learning", "caption": "The network learns: accuracy and loss on training and test images, one thin line per seed, the mean thick. What follows is measured along these runs."}}
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    classification.learning(left, curves, "accuracy")
    classification.learning(right, curves, "loss")
    right.set(yscale="log", ylabel="cross-entropy (nats)")
plt.show()

# %% [markdown]
# ## What a step on each class moves
#
# For each class $c$ that the step is taken on, the three curves $S[c', c]$ under
# {prf:ref}`def-class`. The blue line is the class's own.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels, one for each class the step is taken on: class-based S_rel at probes of each class against the training step, with bootstrap bands."}, "figure": {"name": "fig-curves", "caption": "Class-based $S_{\\rm rel}$ (ratio of means, KL) at probes of each class, after a step on a sample of the class named above the panel. Logarithmic scale. Bands: 95 % bootstrap intervals over seeds, samples and probes. A value above 1 means that a step moves the predictions there more than at its own sample."}}
with style():
    figure, panels = plt.subplots(
        1, len(names), figsize=(3.5 * len(names), 3.6), sharey=True, layout="constrained"
    )
    for axes, name in zip(panels, names, strict=True):
        classification.class_curves(axes, summary, rule, "kl", name)
    panels[0].set_ylabel("$S[c', c]$")
plt.show()

# %% [markdown]
# The same as a matrix, at five moments of the training. Columns are the class on which the step is taken,
# rows the class in which the change is observed; class structure shows as a bright diagonal.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Five class matrices through training as heat maps, columns the sampled class, rows the probed class."}, "figure": {"name": "fig-matrix", "caption": "The class matrix $S[c', c]$ through training, one logarithmic colour scale for all."}}
moments = [
    int(summary.step[i])
    for i in np.unique(np.linspace(0, summary.sizes["step"] - 1, 5).round().astype(int))
]
with style():
    figure, panels = plt.subplots(
        1, len(moments), figsize=(2.1 * len(moments), 2.6), layout="constrained"
    )
    shown = summary.matrix.sel(rule=rule, divergence="kl", step=moments)
    norm = LogNorm(float(shown.where(shown > 0).min()), float(shown.max()), clip=True)
    for axes, step in zip(panels, moments, strict=True):
        image = classification.class_heatmap(axes, summary, rule, "kl", step, norm)
        axes.set_xlabel("step on $c$")
    panels[0].set_ylabel("probes of $c'$")
    figure.colorbar(image, ax=panels, label="$S[c', c]$", shrink=0.8)
plt.show()

# %% [markdown]
# Between these moments lie the other checkpoints. Move the slider to go through all of them, on one
# colour scale; the end of training is shown first. In print, and without scripts, the five above
# stand for all.

# %% tags=["hide-input"]
through = summary.matrix.sel(rule=rule, divergence="kl")
display(
    slider_heatmap(
        through.values,
        names,
        [str(int(step)) for step in through.step],
        parameter="training step",
        title="The class matrix S[c', c] as a heat map with its numbers, rows the class in "
        "which the change is observed, columns the class on which the step is taken, at the training step that the slider sets",
        labels=("step on c", "probes of c'"),
        quantity="S[c', c]",
        start=through.sizes["step"] - 1,
    )
)

# %% [markdown]
# ## Does a step prefer its own class?
#
# The same-class AUC of {prf:ref}`def-auc` answers without any denominator, for the class-based
# definition and for the original one, under each step rule: {numref}`fig-auc` and this table.

# %% tags=["hide-input"]
WORDS = {
    ("auc", "above"): "prefers its own class",
    ("auc", "below"): "prefers *other* classes",
    ("auc", "undecided"): "shows no preference that these runs can tell from none",
}
lines = [
    "| step rule | definition | same-class AUC at the end | preference at the end | a step … |",
    "|---|---|---|---|---|",
]
for each_rule in summary.rule.values:
    for divergence, definition in DEFINITIONS.items():
        cell = ending.sel(rule=each_rule, divergence=divergence)
        verdict = WORDS["auc", side_of(cell.auc_interval.values, 0.5)]
        lines.append(
            f"| `{each_rule}` | {definition} | {float(cell.auc):.2f} {interval(cell.auc_interval.values)} "
            f"| {float(cell.preference):.2f} {interval(cell.preference_interval.values)} | {verdict} |"
        )
Markdown("\n".join(lines))

# %% [markdown]
# The table is about these images, this network and these steps only. Intervals are over seeds, samples
# and probes ({ref}`sec-coverage`). They are wide, because a profile takes so few seeds, and they cannot speak
# for other networks; {doc}`other_choices` tries some. Where the step
# rules disagree, the claim *a step prefers its own class* depends on which step is meant: the
# gradient step of the definition, or the first step of a fresh Adam, whose length does not depend on
# how well the sample is fitted already.

# %% [markdown]
# ## Where these numbers come from

# %% tags=["hide-input"]
Sources.of(runs)
