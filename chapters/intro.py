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
# # Local elasticity during training
#
# One step on an image also moves a network's predictions for *other* images. How far it moves them, relative
# to the prediction for the image itself, is what $S_{\rm rel}$ measures; {cite:t}`dan2021dynamics` claim that
# it is largest within the image's own class. This book repeats their work and finds:

# %% tags=["parameters", "remove-cell"]
profile: str = "laptop"  # smoke: a quick test of this page; laptop and paper show the same
results_dir: str = ""  # where the run behind the explorer is kept; empty: the book's own
committed_dir: str = ""  # where the committed results are; empty: results/ of the book
device: str = "auto"  # cpu, cuda; auto: a GPU if there is one

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown

from srel_core.book.claims.of_the_paper import claims
from srel_core.book.figures.explorer import Divergence, Explorer, Rule
from srel_core.book.figures.explorer_data import Explored
from srel_core.book.figures.probe_images import probe_images
from srel_core.book.figures.spirals import after_one_step
from srel_core.book.figures.style import style
from srel_core.book.figures.verdict_grid import VerdictGrid
from srel_core.book.spirals import Spirals
from srel_core.book.text.findings import findings
from srel_core.book.text.sources import Sources
from srel_core.experiments.profiles import class_experiments
from srel_core.rules import parse_rule

found = claims(committed_dir or None)
SHORT, LONG, SHORT_ADAM, PUBLISHED = "sgd:1e-4", "sgd:1e-2", "adam:1e-6", "adam:1e-4"
longer = f"{parse_rule(LONG).lr / parse_rule(SHORT).lr:.0f} × longer"
shorter = f"{parse_rule(PUBLISHED).lr / parse_rule(SHORT_ADAM).lr:.0f} × shorter"
rules = [
    Rule(SHORT, "gradient step", "A gradient step"),
    Rule(LONG, longer, f"A gradient step {longer}"),
    Rule(SHORT_ADAM, f"Adam, {shorter}", f"A first step of Adam {shorter}"),
    Rule(PUBLISHED, "Adam, as published", "The published first step of Adam"),
]
divergences = [
    Divergence("kl", "class probabilities", "KL", decades=2),
    Divergence("l2_logits", "raw outputs", "a norm of", decades=1),
]
(experiment,) = class_experiments(
    "smoke" if profile == "smoke" else "laptop",
    "digits",
    (0,),
    rules=tuple(rule.name for rule in rules),
    divergences=tuple(divergence.name for divergence in divergences),
)
run = experiment.run(results_dir or None, device)

# %% tags=["remove-input"]
Markdown("\n".join(f"- {sentence}" for sentence in findings(found)))

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "The other images in the order in which one step on an image moved their predictions, as bars of S_rel above the images, under short and long gradient steps and first steps of Adam."}, "figure": {"name": "fig-explorer", "caption": "How far one training step on an image moves the prediction for each other image, relative to that image itself, under steps of different kind and length; blue: images of its class."}}
explored = Explored.of(run, [rule.name for rule in rules], [d.name for d in divergences])
Explorer(
    explored,
    probe_images(experiment, run),
    rules,
    divergences,
    alt="The other images in the order in which one step on an image moved their predictions, as bars "
    "of S_rel above the images, under short and long gradient steps and first steps of Adam.",
)

# %% [markdown]
# ## What the figure shows
#
# Each bar is a value of $S_{\rm rel}$ ({prf:ref}`def-srel`): how far one step on the picked image $x$
# moves the prediction for another image $x'$ (a {term}`probe`), divided by how far it moves the prediction
# for $x$ itself. A *comparison* takes one image of the class of $x$ and one of another class, and asks which
# moved farther. The share of comparisons in which the image of the own class did is the *same-class AUC*
# ({prf:ref}`def-auc`): one half if classes do not matter.

# %% tags=["remove-input"]
moment = explored.start[0]
length = np.median(explored.own[:, :, 1], axis=-1)  # (step, rule), in raw outputs
typical = np.median(explored.medians[:, moment, :, 0], axis=-1)  # (kind, rule), in probabilities
shares = explored.auc[:, :, 0].mean(-1)  # (step, rule)
rows = [
    f"| {rule.article} | {length[moment, i]:.2g} | {typical[0, i]:.2g} | {typical[1, i]:.2g} "
    f"| {shares[moment, i]:.0%} |"
    for i, rule in enumerate(rules)
]
Markdown(
    f"Everything in the figure was measured: a `{experiment.model}` learned {len(explored.names)} of scikit-learn's "
    f"digits, and at {len(explored.steps)} moments it took one step on each of {len(explored.classes)} "
    f"training images, always from the same weights. At step {explored.steps[moment]}, which is shown first, the median "
    "image gave:\n\n"
    "| | change of its own raw outputs | $S_{\\rm rel}$ in its class | in other classes | its class farther |\n"
    "|---|---|---|---|---|\n" + "\n".join(rows)
)

# %% [markdown]
# **Here the length of the step decides.** A short step, whether a gradient step or one of Adam, moves most the
# predictions for images that resemble the picked one. A long step pushes the predictions for *all* images
# towards the picked image's class: those for images of that class are there already and hardly change; the
# others do.

# %% tags=["remove-input"]
gap = np.abs(shares[:, 0] - shares[:, 1])
apart = np.flatnonzero(gap > 0.05)
met = apart[-1] + 1 if len(apart) else 0
end = (
    f"From step {explored.steps[met]} on, the longer one gives the same share as the shorter to within "
    f"{gap[met:].max():.0%}. "
    if met < len(gap)
    else ""
)
Markdown(
    f"A gradient step becomes shorter as its image is fitted. {end}Adam's first step does not become shorter: it moves "
    "every weight by its full learning rate, however small the gradient. The published code takes it at the learning "
    f"rate of the training, so its step is long to the end: at step {explored.steps[-1]} it moves the raw outputs "
    f"of the median image by {length[-1, 3]:.2g}, the longer gradient step by {length[-1, 1]:.2g}. "
    "{doc}`paper_scale` has both on the paper's images."
)

# %% [markdown]
# ## Where one can see it
#
# Two arms of a spiral are two classes, and a dense network has learnt to tell them apart. One short gradient
# step on the point with the ring moves the prediction most near that point, and less farther away:
# that is *local elasticity* {cite:p}`he2020local`. Which distance counts, along the arm or straight across, is
# measured in {doc}`similarity`.

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Three times the same two spiral arms, coloured by how far one step on the point with a ring moved the prediction: brightest near the ring."}, "figure": {"name": "fig-spirals-first", "caption": "$S_{\\rm rel}$ at the points of two spiral arms after one step on the point with the ring: near the centre, in the middle, at the end of an arm. Yellow: 1, as at the point itself, or more."}}
spirals = Spirals()
rings = [spirals.n // 10, spirals.n // 2, 9 * spirals.n // 10]
values = spirals.s_rel(spirals.trained(seed=0), torch.tensor(rings))
with style():
    figure, panels = plt.subplots(1, len(rings), figsize=(11, 3.6), layout="constrained")
    for axes, ring, of_step in zip(panels, rings, values.T, strict=True):
        colours = after_one_step(axes, spirals, of_step, ring, most=1)
    figure.colorbar(colours, ax=panels, label="$S_{\\rm rel}$")
plt.show()

# %% [markdown]
# ## The verdicts
#
# Five claims of the paper in our words, each read in every way that the text and the published code admit:
# by data set, and epoch by epoch. *As published* is what the published code computes. It calls it a KL divergence
# and it is none ({ref}`sec-kl`), which is why it can say the opposite of the definition for the same step. *Fresh
# Adam* is the published step: at each checkpoint, the first step of an Adam without a past. *Training's next step*
# is the one that the training's own Adam, with its past, takes there. {doc}`verdicts` says what the other words
# mean and has all numbers in a table.

# %% tags=["hide-input", "code-below"]
VerdictGrid(found)

# %% [markdown]
# ## Why readings disagree
#
# $S_{\rm rel}$ is a ratio of two small changes, so details that seem harmless decide what it says:
#
# - **The {term}`step rule`.** A gradient step, or the first step of a fresh Adam {cite:p}`kingma2015adam`, and how
#   long it is.
# - **The {term}`divergence`.** The change of a prediction can be measured on raw outputs, as in the original
#   definition {cite:p}`he2020local`, or on class probabilities.
# - **The {term}`aggregate`.** A mean of ratios is ruled by the few samples whose denominator is almost zero. A
#   median, or a ratio of means, is not.
# - **The arithmetic.** Predictions change by parts in a million. Subtracting two single-precision
#   predictions can leave nothing but rounding.
#
# ## Where to go on
#
# | If you want to … | read |
# |---|---|
# | understand the definitions, and see this experiment in full | {doc}`class_srel` |
# | see the published experiment at its full size | {doc}`paper_scale` |
# | know which line of the published code changes what | {doc}`audit` |
# | know whether training has two phases | {doc}`regression_two_phase` |
# | know what moves $S_{\rm rel}$ in regression | {doc}`regression_why` |
# | see local elasticity in closed form | {doc}`closed_form_flows` |
# | measure a network of your own | {doc}`own_loop` |
# | look up a symbol or a word | {doc}`notation` |
# | run this book, or a chapter of it, again | {doc}`running` |
# | find a theorem, figure or claim of the paper | {doc}`paper_map` |

# %% tags=["remove-cell"]
Sources.of([run])
