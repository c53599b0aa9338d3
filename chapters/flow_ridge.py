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
# # Least squares with a penalty
#
# The first of the four flows that can be solved: linear heads on fixed features, learnt by least squares
# with a penalty. {cite:t}`dan2021dynamics` plot its $S_{\rm rel}$, which climbs by orders of magnitude.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper
results_dir: str = ""  # as in every chapter; here nothing is kept
seed: int = 0  # of every random number
n_starts: int = 0  # initialisations, at least 3; 0: as the profile says
n_times: int = 0  # points of a curve, at least 20; 0: as the profile says

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from srel_core.book.figures import closed_forms
from srel_core.book.figures.curve_slider import slider_figure
from srel_core.book.figures.style import style
from srel_core.book.published.ridge import (
    PublishedRidgeFlow,
    published_average,
    published_times,
)
from srel_core.book.solved.problems import RidgeProblem, band, middle, sizes
from srel_core.book.text.numbers import factor, rounded

starts, points = sizes(profile, n_starts, n_times)
problems = {width: RidgeProblem.drawn(seed, width, starts) for width in (10, 100)}
iterations = np.unique(np.geomspace(1, 8000, points).astype(int))
t = published_times()[np.concatenate([[0], iterations])]
ridge = {}
for width, problem in problems.items():
    published = PublishedRidgeFlow(problem.features, problem.labels, 1.0, problem.w0)
    defined = problem.flow(1.0)
    ridge[width] = {
        "loss, published": published.loss(t),
        "loss, published, one target": published.loss(t, np.ones_like(problem.labels)),
        "loss, defined": defined.loss(t),
        "published": published_average(published.s_rel(t, *problem.pairs("between"))),
        **{kind: middle(defined.s_rel(t, *problem.pairs(kind))) for kind in problem.probes},
    }

# %% tags=["hide-input", "code-below"]
sentences = []
for width, curves in ridge.items():
    climb = np.median(curves["published"], axis=1)
    drift = {
        kind: float(np.ptp(np.median(curves[kind], axis=1)) / np.median(curves[kind]))
        for kind in ("between", "within")
    }
    sentences.append(
        f"With $p = {width}$ features, $S_{{\\rm rel}}$ **as published** climbs from {rounded(climb[0])} to "
        f"{rounded(climb[-1])}, while the printed loss falls from "
        f"{rounded(np.median(curves['loss, published'][0]))} to "
        f"{rounded(np.median(curves['loss, published'][-1]))}. **As defined** it is "
        f"{np.median(curves['between']):.3f} between classes and "
        f"{np.median(curves['within']):.3f} within a class, and in all 8001 iterations its median "
        f"moves by {rounded(drift['between'])} and {rounded(drift['within'])} of its value."
    )
Markdown("\n\n".join(sentences))

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For 10 and for 100 features: the loss, S_rel as published and S_rel as defined against the iteration, on logarithmic axes. As published S_rel climbs by orders of magnitude; as defined it is flat."}, "figure": {"name": "fig-ridge-published", "caption": "The published ridge experiment. Left: the printed loss along the published and the defined trajectory. Middle: $S_{\\rm rel}$ as published (both notebooks show this one curve; its average over pairs divides twice). Right: $S_{\\rm rel}$ as defined, on the same scale."}}
with style():
    figure, panels = plt.subplots(
        2, 3, figsize=(10.5, 6.4), sharex=True, sharey="col", layout="constrained"
    )
    for row, (width, curves) in zip(panels, ridge.items(), strict=True):
        names = ["loss, published", "loss, published, one target", "loss, defined"]
        for i, name in enumerate(names):
            short = ["published", "published, “within”", "as defined"][i]
            closed_forms.band(row[0], iterations, band(curves[name])[:, 1:], short, i)
        closed_forms.band(row[1], iterations, band(curves["published"])[:, 1:], "both notebooks", 0)
        for i, kind in enumerate(("between", "within")):
            closed_forms.band(row[2], iterations, band(curves[kind])[:, 1:], kind, i)
        row[0].set(xscale="log", yscale="log", ylabel=f"p = {width}")
        for axes in row[1:]:
            axes.set(yscale="log", ylim=(1e-5, 2))
    titles = ("loss", "$S_{\\rm rel}$ as published", "$S_{\\rm rel}$ as defined")
    for top, bottom, title in zip(*panels, titles, strict=True):
        top.set_title(title)
        top.legend()
        bottom.set_xlabel("iteration")
plt.show()

# %% [markdown]
# Bands are the 10 % and 90 % quantiles over initialisations, around their median. A mean would not do:
# where $\operatorname{own}(x)$ happens to be close to zero at some moment, the ratio has a spike, and a
# single spike dominates a mean.

# %% [markdown]
# ## The flow
#
# :::{prf:definition} Classification by features
# :label: def-ridge
#
# $K$ classes, $N$ fixed feature vectors $h_i \in \mathbb{R}^p$ with classes $k_i$, one-hot targets
# $e_{k_i}$, and one head $w_l \in \mathbb{R}^p$ per class, the columns of $W$. With a penalty
# $\lambda \ge 0$,
#
# $$
# L(W) = \frac{1}{2N} \sum_i \lVert W^{\sf T} h_i - e_{k_i} \rVert^2
#        + \frac{\lambda}{2K} \sum_l \lVert w_l \rVert^2 .
# $$ (eq-ridge-loss)
#
# Let $H = \frac1N \sum_i h_i h_i^{\sf T}$, $M = H + \frac{\lambda}{K} I$ and
# $\mu_l = \frac1N \sum_{i:\,k_i = l} h_i$.
# :::
#
# :::{prf:proposition} The ridge flow
# :label: prop-ridge
#
# If $M$ is invertible, the gradient flow of {eq}`eq-ridge-loss` is
#
# $$
# w_l(t) = M^{-1}\mu_l + e^{-Mt}\bigl(w_l(0) - M^{-1}\mu_l\bigr) .
# $$ (eq-ridge-flow)
#
# If it is not ($\lambda = 0$ and $H$ singular), this holds on the range of $H$, and nothing moves
# along its null space.
# :::
#
# :::{prf:proof}
# The gradient in $w_l$ is $\frac1N \sum_i h_i (h_i \cdot w_l - [k_i = l]) + \frac{\lambda}{K} w_l =
# M w_l - \mu_l$. So $w_l - M^{-1}\mu_l$ solves $\dot y = -My$. For the last sentence, let $Hv = 0$:
# then $0 = v^{\sf T} H v = \frac1N \sum_i (v \cdot h_i)^2$, so $v$ is orthogonal to every $h_i$, hence
# to every $\mu_l$ and to every gradient. $\square$
# :::
#
# Each eigenvalue $m$ of $M$ is a rate: its direction is learnt in a time of about $1/m$. Every time
# scale is at most $K/\lambda$.
#
# The loss {eq}`eq-ridge-loss` is the mean over $i$ of the one-sample losses
# $\frac12 \lVert W^{\sf T} h - e_k \rVert^2 + \frac{\lambda_s}{2} \sum_l \lVert w_l \rVert^2$ with
# $\lambda_s = \lambda/K$. A step on one of them is linear in its size:
#
# :::{prf:proposition} $S_{\rm rel}$ of a ridge step
# :label: prop-ridge-srel
#
# One gradient step of any size $\eta > 0$ on $(h, e_k)$ changes the prediction at $h'$ by
# $-\eta\,\delta(h')$, and with $D$ the Euclidean norm
#
# $$
# \delta(h') = (h \cdot h')\,(W^{\sf T} h - e_k) + \lambda_s W^{\sf T} h', \qquad
# S_{\rm rel}(h', h) = \frac{\lVert \delta(h') \rVert}{\lVert \delta(h) \rVert} .
# $$ (eq-ridge-srel)
# :::
#
# :::{prf:proof}
# The gradient in $w_l$ is $(w_l \cdot h - [l = k])\,h + \lambda_s w_l$. Its inner product with $h'$ is
# the $l$-th entry of $\delta(h')$, and the prediction is linear in $w_l$. $\square$
# :::
#
# Squaring {eq}`eq-ridge-srel` with $T = \lambda_s I + h h^{\sf T}$, so that
# $\delta_l(h') = w_l^{\sf T} T h' - [l = k]\, h \cdot h'$, gives the two quadratic forms of eq. 8.
# But {eq}`eq-ridge-srel` says more: how far $S_{\rm rel}$ can move.
#
# :::{prf:proposition} When the ridge flow can move $S_{\rm rel}$ (ours)
# :label: prop-ridge-moves
#
# Let $c = h \cdot h' / \lVert h \rVert^2$ and $h'_\perp = h' - c\,h$. Wherever $\delta(h) \neq 0$,
#
# $$
# \bigl| S_{\rm rel}(h', h) - |c| \bigr| \le
# \lambda_s \, \frac{\lVert W^{\sf T} h'_\perp \rVert}{\lVert \delta(h) \rVert} .
# $$ (eq-ridge-bound)
#
# So for $\lambda = 0$ it is $|h \cdot h'| / \lVert h \rVert^2$ at all times: constant.
# :::
#
# :::{prf:proof}
# In $\delta(h') - c\,\delta(h)$ the terms with $W^{\sf T}h - e_k$ cancel, as
# $h \cdot h' = c \lVert h \rVert^2$; what is left is
# $\lambda_s W^{\sf T} (h' - c\,h) = \lambda_s W^{\sf T} h'_\perp$. The triangle inequality does the
# rest. $\square$
# :::
#
# Unless the sample is nearly fitted, $\lVert \delta(h) \rVert$ is about
# $\lVert h \rVert^2 \lVert W^{\sf T}h - e_k \rVert$. So what counts is $\lambda_s$ against
# $\lVert h \rVert^2$: the penalty alone moves $S_{\rm rel}$, and against large features it is
# powerless.
#
# {prf:ref}`prop-ridge` restates Theorem 3.2 and {prf:ref}`prop-ridge-srel` eq. 8 of
# {cite:t}`dan2021dynamics`. The proofs are our own, and what is marked *ours* is not in the paper. Time $t$ is
# that of $\dot w = -\nabla L$: after $s$ steps of gradient descent of size $\eta$ it is about $s\eta$.

# %% [markdown]
# ## The published experiment, both ways
#
# Inputs in $\mathbb{R}^{100}$ come from two Gaussians (mean 1 and deviation 2 on every axis for class
# 0, mean 9 and deviation 1 for class 1), 1000 per class. The features are
# $h = \max(Gx, 0)$ with a random Gaussian $G \in \mathbb{R}^{p \times 100}$; $\lambda = 1$,
# $W(0)$ is standard normal, and there are 8001 iterations, each of length $10^{-6}$. In each of 20 pairs the
# sample is in class 1, and the probe is in class 0 (between) or also in class 1 (within).
#
# The published notebooks depart from the definitions above in four ways. The trajectory and
# $S_{\rm rel}$ have $N\lambda/K$ in place of $\lambda/K$, while the loss that is plotted has
# $\lambda/K$. The $W^{\sf T}h$ in the numerator of {eq}`eq-ridge-srel`, and there alone, is divided
# by $N$, so that $S_{\rm rel}(h, h) \neq 1$. The sum over 20 pairs is divided by $20^2$. And
# the notebook for pairs within a class changes the
# target in the loss formula only: its pairs and its $S_{\rm rel}$ are those of the other one.

# %% [markdown]
# ## Where the climb comes from
#
# There are two stray factors, so there are four combinations. A factor can be removed without
# touching the code: $N\lambda$ given as the penalty puts $N\lambda/K$ into the definition, and
# $\lambda/N$ given to the published formulas takes it out of them.


# %%
def ladder(problem):
    """S_rel between classes, (T, R), for each combination."""
    data, w0, n = (problem.features, problem.labels), problem.w0, len(problem.features)
    flows = {
        "as defined": problem.flow(1.0),
        "Nλ/K for λ/K": problem.flow(n),
        "1/N in the numerator": PublishedRidgeFlow(*data, 1 / n, w0),
        "both": PublishedRidgeFlow(*data, 1.0, w0),
    }
    return {name: middle(f.s_rel(t, *problem.pairs("between"))) for name, f in flows.items()}


ladders = {width: ladder(problem) for width, problem in problems.items()}

# %% tags=["hide-input"] mystnb={"image": {"alt": "S_rel between classes against the iteration for the four combinations of the two stray factors, for 10 and 100 features. Only the curves with the stray 1/N climb, the one with both factors most."}, "figure": {"name": "fig-ridge-ladder", "caption": "The two stray factors one at a time: median $S_{\\rm rel}$ over 20 pairs between classes, averaged rightly in all four curves."}}
with style():
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True, layout="constrained")
    for axes, (width, rungs) in zip(panels, ladders.items(), strict=True):
        for i, (name, curve) in enumerate(rungs.items()):
            closed_forms.band(axes, iterations, band(curve)[:, 1:], name, i)
        axes.set(xscale="log", yscale="log", xlabel="iteration", title=f"p = {width}")
    panels[0].set_ylabel("$S_{\\rm rel}$ between classes")
    panels[1].legend()
plt.show()

# %% tags=["hide-input"]
lines = ["| | p = 10: start → end (×) | p = 100: start → end (×) |", "|---|---|---|"]
growth = {}
for name in ladders[10]:
    cells = []
    for width, rungs in ladders.items():
        ends = np.median(rungs[name][[0, -1]], axis=1)
        growth[name, width] = float(ends[1] / ends[0])
        cells.append(f"{rounded(ends[0])} → {rounded(ends[1])} ({factor(growth[name, width])})")
    lines.append(f"| {name} | {' | '.join(cells)} |")
display(Markdown("\n".join(lines)))
clean = max(growth[name, w] for name in ("as defined", "Nλ/K for λ/K") for w in (10, 100))
one = [growth["1/N in the numerator", w] for w in (10, 100)]
both = [growth["both", w] for w in (10, 100)]
source = "comes from the $1/N$" if clean < 1.5 < min(one) else "has more than one source"
amplified = all(many > few for many, few in zip(both, one, strict=True))
display(
    Markdown(
        f"Without the stray $1/N$ nothing grows by more than {factor(clean)}. With it alone "
        f"$S_{{\\rm rel}}$ grows by {factor(one[0])} and {factor(one[1])}; with both factors by "
        f"{factor(both[0])} and {factor(both[1])}. So the climb of the published plot {source}, and "
        f"$N\\lambda/K$ {'amplifies it' if amplified else 'does not amplify it'}."
    )
)

# %% [markdown]
# The formula shows why. With the stray factor the numerator has $(W^{\sf T}h)/N - e_k$ where the
# denominator has $W^{\sf T}h - e_k$. As the sample is fitted, the denominator's residual goes to
# zero; the numerator's does not, but amounts to about $-e_k$. So the ratio rises as the loss falls: what
# one sees is mostly the loss, upside down. Its knees are the time scales of
# {eq}`eq-ridge-flow`. The first is that of the few large eigenvalues of $H$; with $N\lambda/K = 1000$
# no rate is below 1000, so that the last one ends after a few times $10^{-3}$, a few thousand
# iterations.

# %% [markdown]
# ## A ridge flow that does move
#
# By {prf:ref}`prop-ridge-moves` the penalty moves $S_{\rm rel}$ where $\lVert h \rVert^2$ is not large
# against $\lambda/K$. So take the same features, divided by the root of their mean
# $\lVert h \rVert^2$, and let $\lambda$ grow from 0. Move the slider:

# %% tags=["hide-input"]
problem = problems[10].scaled
shrinks = [0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]  # λ/K
slow_times = np.geomspace(1e-3, 100, min(points, 120))
moving = {  # low, median, high over starts of the median over pairs: (3, V, T)
    kind: np.stack(
        [
            band(middle(problem.flow(2 * v).s_rel(slow_times, *problem.pairs(kind))))
            for v in shrinks
        ],
        axis=1,
    )
    for kind in problem.probes
}
names = ("10 % of the starts lie below", "median", "90 % lie below")
display(
    slider_figure(
        slow_times,
        {names[i]: moving["between"][i] for i in (1, 0, 2)},
        [f"{v:g}" for v in shrinks],
        parameter="λ/K, in units of the mean of ‖h‖²",
        title="S_rel between classes of the ridge flow as defined against time, for a penalty λ/K "
        "that the slider sets: flat without penalty, moving and settling sooner the larger it is",
        labels=("time t", "S_rel between classes"),
        log_x=True,
        start=6,
    )
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "S_rel between and within classes against time for six penalties. Without penalty it is constant; with a large one it starts elsewhere and settles at a smaller value, the sooner the larger the penalty."}, "figure": {"name": "fig-ridge-penalty", "caption": "The same in print, and within a class: $S_{\\rm rel}$ of the ridge flow as defined, features scaled to mean square norm 1, for six values of λ/K. Medians over pairs and starts. Mind the axes: within a class it hardly moves."}}
with style():
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    some = [0, 2, 4, 6, 8, 10]
    for axes, (kind, curves) in zip(panels, moving.items(), strict=True):
        names = [f"{shrinks[i]:g}" for i in some]
        closed_forms.family(axes, slow_times, curves[1, some], names)
        axes.set(xscale="log", xlabel="time $t$", title=kind)
    panels[0].set_ylim(0, None)
    panels[0].set_ylabel("$S_{\\rm rel}$")
    panels[0].legend(title="$\\lambda/K$", ncols=2)
plt.show()

# %% [markdown]
# For $t \to 0$ and $\lambda_s \gg \lVert h \rVert^2$ the step is mostly the penalty's, and
# $S_{\rm rel} \approx \lVert W^{\sf T}h' \rVert / \lVert W^{\sf T}h \rVert$ for random heads. For
# $t \to \infty$ the heads are $M^{-1}\mu_l$, and $S_{\rm rel}$ is that of {eq}`eq-ridge-srel` there. In
# between it moves within a few times $K/\lambda$.
