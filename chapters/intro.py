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
# One step on an image also moves a network's predictions for *other* images. How far, relative to the
# image itself, is $S_{\rm rel}$; {cite:t}`dan2021dynamics` claim that it is largest within the image's
# own class. This book repeats their work and finds:

# %% tags=["parameters", "remove-cell"]
profile: str = "laptop"  # smoke: a quick test of this page; laptop and paper show the same
results_dir: str = ""  # where the run behind the explorer is kept; empty: the book's own
committed_dir: str = ""  # where the committed results are; empty: results/ of the book
device: str = "auto"  # cpu, cuda; auto: a GPU if there is one

# %% tags=["remove-cell"]
import numpy as np
from IPython.display import Markdown

from srel_core.book.claims.of_the_paper import claims
from srel_core.book.figures.explorer import Divergence, Explorer, Rule
from srel_core.book.figures.explorer_data import Explored
from srel_core.book.figures.probe_images import probe_images
from srel_core.book.figures.verdict_grid import VerdictGrid
from srel_core.book.text.findings import findings
from srel_core.book.text.sources import Sources
from srel_core.experiments.profiles import class_experiments

found = claims(committed_dir or None)
experiment = class_experiments("smoke" if profile == "smoke" else "laptop", "digits", (0,))[0]
run = experiment.run(results_dir or None, device)

# %% tags=["remove-input"]
Markdown("\n".join(f"- {sentence}" for sentence in findings(found)))

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "The other images in the order in which one step on an image moved their predictions, as bars of S_rel above the images, under a gradient step and under the first step of Adam."}, "figure": {"name": "fig-explorer", "caption": "How far one training step on an image moves the prediction for each other image, relative to that image itself, under two step rules; blue: images of its class."}}
rules = [
    Rule("sgd:1e-4", "gradient step", "A gradient step"),
    Rule("adam:1e-4", "first step of Adam", "The first step of Adam"),
]
divergences = [
    Divergence("kl", "class probabilities", "KL", decades=2),
    Divergence("l2_logits", "raw outputs", "a norm of", decades=1),
]
explored = Explored.of(run, [rule.name for rule in rules], [d.name for d in divergences])
Explorer(
    explored,
    probe_images(experiment, run),
    rules,
    divergences,
    alt="The other images in the order in which one step on an image moved their predictions, as bars "
    "of S_rel above the images, under a gradient step and under the first step of Adam.",
)

# %% [markdown]
# ## What the figure shows
#
# Each bar is a value of $S_{\rm rel}$ ({prf:ref}`def-srel`): how far one step on the picked image $x$
# moves the prediction for another image $x'$ (a {term}`probe`), divided by how far it moves that for $x$ itself. A
# *comparison* takes one image of the class of $x$ and one of another class, and asks which moved
# farther. The share in which the own class did is the *same-class AUC* ({prf:ref}`def-auc`): one half
# if classes do not matter.

# %% tags=["remove-input"]
moment = explored.start[0]
typical = np.median(explored.medians[:, moment], axis=-1)  # (kind, rule, divergence)
rows = [
    f"| {rule.label} | {' | '.join(f'{v:.2g}' for v in typical[:, i, ::-1].T.ravel())} |"
    for i, rule in enumerate(rules)
]
Markdown(
    f"Everything in it was measured: a `{experiment.model}` learned {len(explored.names)} of scikit-learn's "
    f"digits, and at {len(explored.steps)} moments it took one step on each of {len(explored.classes)} "
    f"training images, always from the same weights. At step {explored.steps[moment]}, which is shown first, the "
    "median $S_{\\rm rel}$ was\n\n"
    "| | raw outputs: own class | other classes | class probabilities: own class | other classes |\n"
    "|---|---|---|---|---|\n" + "\n".join(rows)
)

# %% [markdown]
# **Why the step decides.** A gradient step is small in every weight to which the image is indifferent.
# The first step of Adam divides each component of the gradient by its own size: every weight moves by
# the same amount, and the outputs for all images move more nearly alike. What such a step does to the
# *probabilities* then depends on how sure the network is: images that resemble $x$ are already
# classified as the step demands, and change little; images of other classes are pushed towards a
# class that is not theirs. So the rule that takes the step, which the definition leaves open, decides which
# class moves most.

# %% [markdown]
# ## The verdicts
#
# Five claims of the paper in our words, each read in every way that the text and the published code admit:
# by data set, and epoch by epoch. {doc}`verdicts` says what the words mean and has all numbers in a
# table.

# %% tags=["hide-input", "code-below"]
VerdictGrid(found)

# %% [markdown]
# ## Why readings disagree
#
# $S_{\rm rel}$ is a ratio of two small changes, so details that seem harmless decide what it says:
#
# - **The {term}`step rule`.** A gradient step, or the first step of a fresh Adam {cite:p}`kingma2015adam`.
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
# | see local elasticity in closed form | {doc}`closed_form_flows` |
# | measure a network of your own | {doc}`own_loop` |
# | look up a symbol or a word | {doc}`notation` |
# | run this book, or a chapter of it, again | {doc}`running` |
# | find a theorem, figure or claim of the paper | {doc}`paper_map` |

# %% tags=["remove-cell"]
Sources.of([run])
