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
# # Local elasticity as a similarity
#
# {cite:t}`he2020local`, who named local elasticity, made two uses of it before anything was said about its course
# through training. On shapes in the plane or in space, a step on one point moves the prediction at another point
# less, the farther away that point is *along the shape*. And used as a similarity of images, local elasticity
# tells classes apart without their labels. Both are tried here, beside the plain alternatives.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke: few seeds and pairs; laptop, paper: all of them
results_dir: str = ""  # as in every chapter; here nothing is kept
benchmarks_dir: str = ""  # where the benchmarks' results are; empty: those of the book
seed: int = 0  # the first of the seeds

# %% tags=["hide-input"]
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import srel_core as sc
from srel_core.book.figures.spirals import after_one_step
from srel_core.book.figures.style import OTHERS, SAME, style
from srel_core.book.similarity import WAYS, compared
from srel_core.book.spirals import Spirals
from srel_core.book.text.costs import benchmark, table
from srel_core.choices import check_known
from srel_core.experiments.profiles import PROFILES
from srel_core.statistics.intervals import mean_interval

check_known("profile", profile, PROFILES)
results = Path(benchmarks_dir or Path(sc.__file__).parents[1] / "benchmarks" / "results")
SEEDS = range(seed, seed + (2 if profile == "smoke" else 5))


def mean_of(values):
    """The mean over independent values with its 95 % interval, by Student's distribution."""
    mean, low, high = mean_interval(values)
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


# %% [markdown]
# (sec-spirals)=
# ## Along the shape, or straight across?
#
# Two arms of a spiral are two classes. A dense network with two hidden layers learns them; then one short
# gradient step is taken on a point of one arm, and the picture shows how far it moves the prediction everywhere on both.

# %%
spirals = Spirals()
POINTS = spirals.n
models = [spirals.trained(each) for each in SEEDS]
matrices = [spirals.s_rel(model) for model in models]
arm, along, points = spirals.arm, spirals.along, spirals.points

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Two arms of a spiral; the points are coloured by how far a step on the marked point moved the prediction there, and beside it the same against the distance along the arm and straight across."}, "figure": {"name": "fig-spirals", "caption": "Left: $S_{\\rm rel}$ at the points of two spiral arms after a step on the point with the ring. Middle and right: the same against the distance from that point, along its arm and straight across. Where two turns of the spiral come close to each other, points that are far along the arm are near all the same."}}
chosen = POINTS // 2
shown = matrices[0][:, chosen]
straight = (points - arm[chosen]).norm(dim=1).numpy()
on_arm = np.arange(2 * POINTS) < POINTS
with style():
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    colours = after_one_step(left, spirals, shown, chosen, most=shown.max())
    figure.colorbar(colours, ax=left, label="$S_{\\rm rel}$")
    middle.plot((along - along[chosen]).abs(), shown[:POINTS], ".", color=SAME)
    middle.set(xlabel="distance along the arm", ylabel="$S_{\\rm rel}$")
    right.plot(straight[on_arm], shown[on_arm], ".", color=SAME, label="same arm")
    right.plot(straight[~on_arm], shown[~on_arm], ".", color=OTHERS[0], label="other arm")
    right.set(xlabel="distance straight across")
    right.legend()
plt.show()

# %% tags=["hide-input"]
ALONG = (along[:, None] - along).abs().numpy()
ACROSS = torch.cdist(arm, arm).numpy()


def correlations(matrix):
    """Spearman's correlation of S_rel on the arm with both distances, and with each after the other
    has been taken out of both ranks; means over the points stepped on."""
    found = []
    for at in range(POINTS):
        others = np.arange(POINTS) != at
        three = np.stack([matrix[:POINTS][others, at], ALONG[others, at], ACROSS[others, at]], 1)
        r = spearmanr(three).statistic
        (s_a, s_c), a_c = r[0, 1:], r[1, 2]
        both = (1 - a_c**2) * np.array([1 - s_c**2, 1 - s_a**2])
        found.append([s_a, s_c, *((np.array([s_a, s_c]) - np.array([s_c, s_a]) * a_c) / both**0.5)])
    return np.mean(found, 0)


by_seed = np.array([correlations(matrix) for matrix in matrices])
names = (
    "distance along the arm",
    "distance straight across",
    "along the arm, straight distance taken out",
    "straight across, distance along the arm taken out",
)
prefers = "straight across" if (by_seed[:, 1] < by_seed[:, 0]).all() else "along the arm"
agreed = (by_seed[:, 1] < by_seed[:, 0]).all() or (by_seed[:, 1] > by_seed[:, 0]).all()
Markdown(
    table(
        ["rank correlation of $S_{\\rm rel}$ with", f"mean over {len(SEEDS)} seeds"],
        [[name, mean_of(values)] for name, values in zip(names, by_seed.T, strict=True)],
    )
    + (
        f"\n\nWith every seed $S_{{\\rm rel}}$ goes more closely with the distance {prefers}."
        if agreed
        else "\n\nSeeds differ in which distance goes more closely with $S_{\\rm rel}$."
    )
)

# %% [markdown]
# On most shapes the two distances go together, so that a curve that falls with one of them falls with
# the other, too. A spiral sets them apart. What one reads off the table holds for these arms, this network and this training.

# %% [markdown]
# (sec-clustering)=
# ## Telling classes apart
#
# A network learns to tell the images of two classes, taken together, from those of other classes. While it
# trains, $S_{\rm rel}$ between the images of the two classes is measured, made symmetric and averaged. Kernel
# K-means on the result then makes two clusters, without having seen which image is of which class. Two
# alternatives show what this gains: K-means on the pixels, and on the last hidden layer of the same network.
# `srel_core.book.similarity` has the details.

# %%
digits = load_digits()
images = torch.from_numpy(digits.data / 16).float()
pairs = list(combinations(range(10), 2))[:: 15 if profile == "smoke" else 1]


def shares_of(pair):
    primary = np.flatnonzero(np.isin(digits.target, pair))
    others = np.flatnonzero(~np.isin(digits.target, pair))
    classes = (digits.target[primary] == pair[1]).astype(np.int64)
    return compared(images[primary], classes, images[others], seed)


of_digits = {pair: shares_of(pair) for pair in pairs}

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "The share of images put with their own class by kernel K-means on S_rel against that by K-means on pixels, a point for each pair of classes; one panel for digits and one for CIFAR-10."}, "figure": {"name": "fig-clustering", "caption": "Share of the images that are in the cluster of their class, a point for each pair of classes: by $S_{\\rm rel}$, and by the last hidden layer, against K-means on the pixels. Above the diagonal the pixels do worse. One half is chance."}}
cifar = benchmark("similarity", results) if (results / "similarity.json").is_file() else None
panels_of = {"digits": [[of[way] for way in WAYS] for of in of_digits.values()]}
if cifar:
    panels_of["CIFAR-10"] = [
        [np.mean(row["shares"][way]) for way in WAYS] for row in cifar["pairs"]
    ]
with style():
    _, panels = plt.subplots(
        1, len(panels_of), figsize=(5 * len(panels_of), 4), squeeze=False, layout="constrained"
    )
    for axes, (name, rows) in zip(panels[0], panels_of.items(), strict=True):
        pixels, last, by_srel = np.array(rows).T
        axes.plot([0.5, 1], [0.5, 1], color="grey", linestyle=":")
        axes.plot(pixels, last, "o", markerfacecolor="none", color=OTHERS[0], label="last layer")
        axes.plot(pixels, by_srel, "o", color=SAME, label="$S_{\\rm rel}$")
        axes.set(title=name, xlabel="by the pixels", ylabel="share in the right cluster")
    panels[0, 0].legend()
plt.show()

# %% tags=["hide-input"]
rows = []
for name, found in panels_of.items():
    pixels, last, by_srel = np.array(found).T
    rows.append(
        [name, len(found), *(f"{of.mean():.3f}" for of in (pixels, last, by_srel)),
         mean_of(100 * (by_srel - pixels)), mean_of(100 * (by_srel - last))]
    )  # fmt: skip
note = "" if cifar else "\n\nNo result on CIFAR-10 is committed: `python benchmarks/similarity.py`."
Markdown(
    table(
        ["data", "pairs", "pixels", "last layer", "$S_{\\rm rel}$",
         "$S_{\\rm rel}$ over pixels, points of a hundred", "over the last layer"],
        rows,
    )
    + note
)  # fmt: skip

# %% [markdown]
# The numbers are means over pairs of classes, with intervals for these means; as pairs share classes, the intervals
# are somewhat too short. Digits are those that ship with scikit-learn {cite:p}`pedregosa2011sklearn`, 8×8 pixels, on
# which K-means alone does well: there is less to gain than on the pictures that {cite:t}`he2020local` used. The pairs
# of CIFAR-10 are of the seven classes of {doc}`other_choices`, with a dense network and 200 images of each class.
