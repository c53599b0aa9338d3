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
# # Closed-form gradient flows
#
# For a deep network one can only measure $S_{\rm rel}$. For a few small predictors one can *solve*
# for it: gradient flow gives the weights at every time by a formula, and the weights give
# $S_{\rm rel}$. {cite:t}`dan2021dynamics` use such predictors to explain why training would have two
# phases, an early one in which $S_{\rm rel}$ changes fast and a late one in which it is large and
# nearly constant.
#
# This chapter derives four flows, with proofs, and asks each of them the same three questions:
# can $S_{\rm rel}$ move at all, and when? Does it move early and then rest? Does it end larger than
# it began? The first flow is also computed exactly as the published notebooks compute it, because
# there code and definition part ways.
#
# {prf:ref}`prop-ridge` restates Theorem 3.2 and {prf:ref}`prop-ridge-srel` eq. 8 of
# {cite:t}`dan2021dynamics`; {prf:ref}`prop-glm` is their Lemma 4.3; the setting of the last two flows
# is that of their Theorems 5.1–5.3. All proofs are our own, and the results marked *ours* are not
# taken from the paper. Time $t$ is that of $\dot w = -\nabla L$: after $s$ steps of gradient descent
# of size $\eta$ it is about $s\eta$.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper
results_dir: str = ""  # as in every chapter; here nothing is kept
seed: int = 0  # of every random number
n_starts: int = 0  # initialisations, at least 3; 0: as the profile says
n_times: int = 0  # points of a curve, at least 20; 0: as the profile says

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, Markdown, display
from scipy.integrate import solve_ivp

from srel_core.book.figures import closed_forms
from srel_core.book.figures.curve_slider import slider_figure
from srel_core.book.figures.style import style
from srel_core.book.published.ridge import (
    PublishedRidgeFlow,
    published_average,
    published_features,
    published_times,
)
from srel_core.choices import check_known
from srel_core.flows import PowerFlow, RadialFlow, ReluGateFlow, RidgeFlow
from srel_core.statistics.phases import NoBreakError, fit_two_phase

sizes = {"smoke": (4, 40), "laptop": (20, 200), "paper": (100, 400)}
check_known("profile", profile, list(sizes))
starts, points = n_starts or sizes[profile][0], n_times or sizes[profile][1]
if starts < 3 or points < 20:
    raise ValueError("n_starts must be at least 3 and n_times at least 20, or 0")
N_PAIRS = 20


def band(values):
    """The 10 % quantile, median and 90 % quantile over starts: (T, R) to (3, T)."""
    return np.quantile(values, [0.1, 0.5, 0.9], axis=1)


def middle(values):
    """The median over pairs: (T, R, m) to (T, R)."""
    return np.median(values, axis=2)


def rounded(value):
    """Two digits, as Markdown."""
    text = f"{value:.2g}"
    if "e" not in text:
        return text
    digits, power = text.split("e")
    return f"${digits}\\times 10^{{{int(power)}}}$"


def factor(value):
    """Three digits or more, without an exponent."""
    return f"×{value:.3g}" if value < 1000 else f"×{value:,.0f}"


# %% [markdown]
# Bands are the 10 % and 90 % quantiles over initialisations, around their median. Means will not do:
# for a start that happens to leave $\operatorname{own}(x)$ close to zero at some moment the ratio has
# a spike there, and one spike rules a mean.

# %% [markdown]
# ## Least squares with a penalty
#
# :::{prf:definition} Classification by features
# :label: def-ridge
#
# $K$ classes, $N$ fixed feature vectors $h_i \in \mathbb{R}^p$ with classes $k_i$, one-hot targets
# $e_{k_i}$, and one head $w_l \in \mathbb{R}^p$ a class, the columns of $W$. With a penalty
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

# %% [markdown]
# ### The published experiment, both ways
#
# Inputs in $\mathbb{R}^{100}$ come from two Gaussians (mean 1 and deviation 2 on every axis for class
# 0, mean 9 and deviation 1 for class 1), 1000 a class. The features are
# $h = \max(Gx, 0)$ with a random Gaussian $G \in \mathbb{R}^{p \times 100}$; $\lambda = 1$,
# $W(0)$ is standard normal, and 8001 iterations last $10^{-6}$ each. 20 pairs are looked at: the
# sample in class 1, the probe in class 0 (between) or in class 1 too (within).
#
# The published notebooks depart from the definitions above in four ways. The trajectory and
# $S_{\rm rel}$ have $N\lambda/K$ in place of $\lambda/K$, while the loss that is plotted has
# $\lambda/K$. The $W^{\sf T}h$ in the numerator of {eq}`eq-ridge-srel`, and there alone, is divided
# by $N$, so that $S_{\rm rel}(h, h) \neq 1$. The sum over 20 pairs is divided by $20^2$. And
# the notebook for pairs within a class changes the
# target in the loss formula only: its pairs and its $S_{\rm rel}$ are those of the other one.


# %%
def ridge_setting(width):
    """The published data, random starts, and pairs of each kind."""
    rng = np.random.default_rng([seed, width])
    features, labels = published_features(width, rng)
    near, far = features[labels == 0], features[labels == 1]
    order = rng.permutation(len(far))[: 2 * N_PAIRS]
    probes = {
        "between": near[rng.permutation(len(near))[:N_PAIRS]],
        "within": far[order[N_PAIRS:]],
    }
    w0 = rng.standard_normal((starts, width, 2))
    return features, labels, w0, probes, far[order[:N_PAIRS]]


ones = np.ones(N_PAIRS, dtype=int)  # the class of each sample
iterations = np.unique(np.geomspace(1, 8000, points).astype(int))
t = published_times()[np.concatenate([[0], iterations])]
ridge = {}
for width in (10, 100):
    features, labels, w0, probes, sample = ridge_setting(width)
    published = PublishedRidgeFlow(features, labels, 1.0, w0)
    defined = RidgeFlow(features, labels, 1.0, w0)
    one_target = np.ones_like(labels)
    between = published.s_rel(t, probes["between"], sample, ones)
    curves = ridge[width] = {
        "loss, published": published.loss(t),
        "loss, published, one target": published.loss(t, one_target),
        "loss, defined": defined.loss(t),
        "published": published_average(between),
    }
    for kind, probe in probes.items():
        s_rel = defined.s_rel(t, probe, sample, ones)
        curves[kind] = middle(s_rel)

# %% tags=["hide-input"] mystnb={"image": {"alt": "For 10 and for 100 features: the loss, S_rel as published and S_rel as defined against the iteration, on logarithmic axes. As published S_rel climbs by orders of magnitude; as defined it is flat."}, "figure": {"name": "fig-ridge-published", "caption": "The published ridge experiment. Left: the printed loss along the published and the defined trajectory. Middle: $S_{\\rm rel}$ as published (both notebooks show this one curve; its average over pairs divides twice). Right: $S_{\\rm rel}$ as defined, on the same scale."}}
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

# %% tags=["hide-input"]
for width, curves in ridge.items():
    climb = np.median(curves["published"], axis=1)
    drift = {
        kind: float(np.ptp(np.median(curves[kind], axis=1)) / np.median(curves[kind]))
        for kind in ("between", "within")
    }
    display(
        Markdown(
            f"With $p = {width}$ features, $S_{{\\rm rel}}$ *as published* climbs from "
            f"{rounded(climb[0])} to {rounded(climb[-1])} while the printed loss falls from "
            f"{rounded(np.median(curves['loss, published'][0]))} to "
            f"{rounded(np.median(curves['loss, published'][-1]))}. *As defined* it is "
            f"{np.median(curves['between']):.3f} between classes and "
            f"{np.median(curves['within']):.3f} within a class, and in all 8001 iterations its median "
            f"moves by {rounded(drift['between'])} and {rounded(drift['within'])} of its value."
        )
    )

# %% [markdown]
# ### Where the climb comes from
#
# There are two stray factors, so there are four combinations. A factor can be removed without
# touching the code: $N\lambda$ given as the penalty puts $N\lambda/K$ into the definition, and
# $\lambda/N$ given to the published formulas takes it out of them.


# %%
def ladder(width):
    """S_rel between classes, (T, R), for each combination."""
    features, labels, w0, probes, sample = ridge_setting(width)
    data, n = (features, labels), len(features)
    flows = {
        "as defined": RidgeFlow(*data, 1.0, w0),
        "Nλ/K for λ/K": RidgeFlow(*data, n, w0),
        "1/N in the numerator": PublishedRidgeFlow(*data, 1 / n, w0),
        "both": PublishedRidgeFlow(*data, 1.0, w0),
    }
    pairs = (probes["between"], sample, ones)
    return {name: middle(f.s_rel(t, *pairs)) for name, f in flows.items()}


ladders = {width: ladder(width) for width in (10, 100)}

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
# denominator has $W^{\sf T}h - e_k$. As the sample is fitted the denominator's residual goes to
# zero; the numerator's does not, it comes to about $-e_k$. So the ratio rises as the loss falls: what
# is seen is mostly the loss, upside down. Its knees are the time scales of
# {eq}`eq-ridge-flow`. The first is that of the few large eigenvalues of $H$; with $N\lambda/K = 1000$
# no rate is below 1000, so that the last one ends after a few times $10^{-3}$, a few thousand
# iterations.

# %% [markdown]
# ### A ridge flow that does move
#
# By {prf:ref}`prop-ridge-moves` the penalty moves $S_{\rm rel}$ where $\lVert h \rVert^2$ is not large
# against $\lambda/K$. So take the same features, divided by the root of their mean
# $\lVert h \rVert^2$, and let $\lambda$ grow from 0. Move the slider:

# %% tags=["hide-input"]
features, labels, w0, probes, sample = ridge_setting(10)
unit = np.sqrt((features**2).sum(1).mean())
shrinks = [0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]  # λ/K
slow_times = np.geomspace(1e-3, 100, min(points, 120))


def small_ridge(shrink):
    return RidgeFlow(features / unit, labels, 2 * shrink, w0)


moving = {  # low, median, high over starts of the median over pairs: (3, V, T)
    kind: np.stack(
        [
            band(middle(small_ridge(v).s_rel(slow_times, probe / unit, sample / unit, ones)))
            for v in shrinks
        ],
        axis=1,
    )
    for kind, probe in probes.items()
}
names = ("10 % of the starts lie below", "median", "90 % lie below")
HTML(
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

# %% [markdown]
# ## One ReLU gate
#
# :::{prf:definition} A gate learning a gate
# :label: def-gate
#
# $f_w(x) = \max(w \cdot x, 0)$ with labels $y = \max(w^* \cdot x, 0)$, $w^* \neq 0$, and loss
# $\frac12 (f_w(x) - y)^2$. The *GLM-Tron flow* {cite:p}`kakade2011efficient` leaves the derivative of
# the gate out, $\dot w = -\mathbb{E}[(f_w(x) - y)\,x]$; the *gradient flow* is
# $\dot w = -\mathbb{E}[(f_w(x) - y)\,\mathbf{1}[w \cdot x > 0]\,x]$.
# :::
#
# :::{prf:proposition} The GLM-Tron flow
# :label: prop-glm
#
# If the law of $x$ is symmetric under $x \to -x$ with $\mathbb{E}[x x^{\sf T}] = \Sigma$, then
#
# $$
# w(t) = w^* + e^{-\Sigma t/2} \bigl(w(0) - w^*\bigr) .
# $$ (eq-glm)
# :::
#
# :::{prf:proof}
# $\max(a, 0) = (a + |a|)/2$, and $|w \cdot x|\,x$ is odd in $x$, so its mean is zero:
# $\mathbb{E}[f_w(x)\,x] = \frac12 \mathbb{E}[(w \cdot x)\,x] = \frac12 \Sigma w$, and the same for
# $w^*$. So $\dot w = -\frac12 \Sigma (w - w^*)$. $\square$
# :::
#
# The gradient flow is not linear. For Gaussian inputs it becomes so in another variable:
#
# :::{prf:proposition} The Gaussian gradient flow (ours)
# :label: prop-gate
#
# Let $x \sim N(0, I)$ and let $w(0) \neq 0$ have an angle $\theta(0) < \pi$ with $w^*$. With
# $\theta(t)$ the angle of $w(t)$ and $w^*$, the vector $v = w/(\pi - \theta)$ obeys
# $\dot v = -\frac12 (v - w^*/\pi)$. So
#
# $$
# v(t) = e^{-t/2}\, v(0) + (1 - e^{-t/2})\, \frac{w^*}{\pi}, \qquad
# w(t) = (\pi - \theta(t))\, v(t),
# $$ (eq-gate)
#
# where $\theta(t)$ is also the angle of $v(t)$ and $w^*$.
# :::
#
# :::{prf:proof}
# Let $B = \lVert w^* \rVert$, $r = \lVert w \rVert$, $\hat w = w/r$. By symmetry
# $\mathbb{E}[\mathbf{1}[w \cdot x > 0]\,x x^{\sf T}] = \frac12 I$, so
# $\dot w = -\frac12 w + q$ with $q = \mathbb{E}\bigl[\mathbf{1}[w \cdot x > 0,\, w^* \cdot x > 0]\,
# (w^* \cdot x)\, x\bigr]$. Components of $x$ outside the plane of $w$ and $w^*$ are independent of
# the rest and have mean zero. In the plane, with $w^*$ at angle 0 and $w$ at angle $\theta$, write
# $x = \rho(\cos\varphi, \sin\varphi)$, $\varphi$ uniform and $\mathbb{E}\rho^2 = 2$; both gates are
# active for $\varphi \in (\theta - \frac\pi2, \frac\pi2)$, hence
#
# $$
# \begin{aligned}
# q &= \frac{B}{\pi} \int_{\theta - \pi/2}^{\pi/2} \cos\varphi \begin{pmatrix} \cos\varphi \\
# \sin\varphi \end{pmatrix} d\varphi \\
# &= \frac{B}{2\pi} \begin{pmatrix} \pi - \theta + \sin\theta\cos\theta \\ \sin^2\theta \end{pmatrix}
# = \frac{(\pi - \theta)\, w^* + B \sin\theta\, \hat w}{2\pi} ,
# \end{aligned}
# $$
#
# a formula known from {cite:t}`tian2017analytical`. The part of $\dot w$ that turns $w$ is that of
# $(\pi - \theta)w^*/2\pi$, of size $(\pi - \theta) B \sin\theta / 2\pi$ towards $w^*$, so
# $\dot\theta = -(\pi - \theta)\, B \sin\theta / (2\pi r)$. Then
#
# $$
# \dot v = \frac{\dot w}{\pi - \theta} + \frac{w\,\dot\theta}{(\pi - \theta)^2}
# = -\frac{v}{2} + \frac{w^*}{2\pi} + \frac{B \sin\theta\,\hat w}{2\pi(\pi - \theta)}
#   - \frac{w}{r}\,\frac{B \sin\theta}{2\pi(\pi - \theta)} ,
# $$
#
# in which the last two terms cancel. The solution stays on the segment from $v(0)$ to $w^*/\pi$,
# which does not meet zero, so $\theta(t) \le \theta(0) < \pi$ and the flow exists for all times.
# $\square$
# :::
#
# From $\theta(0) = \pi$ the gate sees nothing of its teacher and $w(t) = e^{-t/2}w(0)$. The formula
# against an integration of $\dot r$ and $\dot\theta$ themselves:

# %%
flow = ReluGateFlow([1.0, 0.0], [-1.5, 0.4], flow="gradient")


def polar(_, state):
    """The gradient flow for ‖w*‖ = 1 in polar coordinates."""
    r, theta = state
    rest = np.pi - theta
    pull = rest * np.cos(theta) + np.sin(theta)
    return [
        -r / 2 + pull / (2 * np.pi),
        -rest * np.sin(theta) / (2 * np.pi * r),
    ]


start = [np.hypot(*flow.w0), np.arctan2(flow.w0[1], flow.w0[0])]
stepped = solve_ivp(polar, (0, 20), start, rtol=1e-11, atol=1e-13)
r, theta = stepped.y
numerical = np.stack([r * np.cos(theta), r * np.sin(theta)], axis=1)
gate_error = np.abs(numerical - flow.weights(stepped.t)).max()
print(f"largest difference: {gate_error:.1e}")

# %% [markdown]
# :::{prf:proposition} $S_{\rm rel}$ of a gate moves by jumps
# :label: prop-gate-srel
#
# For a sample that is active, $w \cdot x > 0$, and not fitted, the limit of small steps is
#
# $$
# S_{\rm rel}(x', x) = \mathbf{1}[w \cdot x' > 0]\, \frac{|x \cdot x'|}{\lVert x \rVert^2} .
# $$ (eq-gate-srel)
#
# It changes only when $w(t)$ crosses the hyperplane of the probe or the sample. For $\Sigma = I$ a
# probe is crossed at most once, and if and only if $w(0) \cdot x'$ and $w^* \cdot x'$ have different
# signs, at
#
# $$
# t_c = 2 \ln\left(1 - \frac{\alpha\; w(0) \cdot x'}{w^* \cdot x'}\right)
# $$ (eq-gate-cross)
#
# with $\alpha = 1$ for the GLM-Tron flow and $\alpha = \pi/(\pi - \theta(0))$ for the gradient flow.
# If the law of $x'$ is rotation-invariant, the share of probes crossed by the time $t$ is
# $\angle(w(0), w(t)) / \pi$. (Crossings of the gradient flow and their law: ours.)
# :::
#
# :::{prf:proof}
# $\partial f_w(x)/\partial w = \mathbf{1}[w \cdot x > 0]\,x$, which gives {eq}`eq-gate-srel` as the
# ratio of tangent kernels. By {eq}`eq-glm`, $w(t) \cdot x'$ is a weighted mean of $w(0) \cdot x'$ and
# $w^* \cdot x'$ in which the second weight, $1 - e^{-t/2}$, grows; by {eq}`eq-gate` the same holds
# for $v(t) \cdot x'$, of the same sign as $w(t) \cdot x'$, with $w(0)/(\pi - \theta(0))$ and
# $w^*/\pi$. Such a mean has at most one zero, which solves to {eq}`eq-gate-cross`. As it has at most
# one, $x'$ has been crossed if and only if $w(0)$ and $w(t)$ lie on different sides of its
# hyperplane, and a random hyperplane parts two vectors with probability $\angle/\pi$. $\square$
# :::
#
# So the time scale is 2, whatever the data; in the end a share $\theta(0)/\pi$ of the probes has
# switched, and the angle that is left shrinks like $e^{-t/2}$: the switches thin out, and
# $S_{\rm rel}$ freezes.

# %% tags=["hide-input"]
DIMENSION = 20


def gates(kind, rng):
    """Teacher and starts of norm 1, with pairs whose sample is active at both ends of the flow."""
    teacher = rng.standard_normal(DIMENSION)
    teacher /= np.linalg.norm(teacher)
    flows, drawn = [], []
    for _ in range(starts):
        w0 = rng.standard_normal(DIMENSION)
        flow = ReluGateFlow(teacher, w0 / np.linalg.norm(w0), flow=kind)
        x = rng.standard_normal((60 * N_PAIRS, DIMENSION))
        active = x[(x @ teacher > 0) & (x @ w0 > 0)][:N_PAIRS]
        flows.append(flow)
        drawn.append((rng.standard_normal(active.shape), active))
    return flows, drawn


def along(flows, drawn, times):
    """Loss (T, R) and S_rel (T, R, m) of a flow a start."""
    loss = np.stack([flow.loss(times) for flow in flows], axis=1)
    s_rel = [flow.s_rel(times, *pairs) for flow, pairs in zip(flows, drawn, strict=True)]
    return loss, np.stack(s_rel, axis=1)


gate_flows = {
    kind: gates(kind, np.random.default_rng([seed, 1])) for kind in ("glm_tron", "gradient")
}
gate_times = np.linspace(0, 16, points)
NAMES = {"glm_tron": "GLM-Tron", "gradient": "gradient flow"}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Loss and mean S_rel over pairs against time for the GLM-Tron flow and the gradient flow of a gate, with bands over starts. The loss falls exponentially; S_rel stays about level, with bands that widen early and then freeze."}, "figure": {"name": "fig-gate", "caption": "One gate in 20 dimensions: loss, and $S_{\\rm rel}$ averaged over 20 pairs with an active sample. Bands over starts."}}
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for i, (kind, problem) in enumerate(gate_flows.items()):
        loss, s_rel = along(*problem, gate_times)
        closed_forms.band(left, gate_times, band(loss), NAMES[kind], i)
        closed_forms.band(right, gate_times, band(s_rel.mean(2)), NAMES[kind], i)
    left.set(yscale="log", xlabel="time $t$", ylabel="loss")
    right.set(xlabel="time $t$", ylabel="mean $S_{\\rm rel}$", ylim=(0, None))
    left.legend()
plt.show()

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: S_rel of ten probes as step functions of time. Right: histogram of crossing times with the density that the proposition gives."}, "figure": {"name": "fig-gate-crossings", "caption": "Gradient flow of one gate. Left: $S_{\\rm rel}$ of ten probes for one sample; each switches on or off once or never. Right: crossing times of many random probes, and the law of the proposition."}}
flow, (probe, active) = (part[0] for part in gate_flows["gradient"])
crowd = np.random.default_rng([seed, 2]).standard_normal((200 * points, DIMENSION))
found = flow.crossing_times(crowd)
path = flow.weights(gate_times)
cosine = path @ flow.w0 / np.linalg.norm(path, axis=1) / np.linalg.norm(flow.w0)
turned = np.arccos(np.clip(cosine, -1, 1))
opening = np.arccos(flow.w0 @ flow.teacher)  # both have norm 1
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    ten = flow.s_rel(gate_times, probe[:10], np.repeat(active[:1], 10, axis=0))
    closed_forms.switches(left, gate_times, ten)
    left.set(xlabel="time $t$", ylabel="$S_{\\rm rel}$")
    density = np.gradient(turned, gate_times) / opening
    seen = found[np.isfinite(found)]
    closed_forms.crossings(right, seen, np.linspace(0, 16, 33), gate_times, density)
    right.set(xlabel="crossing time $t_c$", ylabel="density", xlim=(0, 16))
    right.legend()
plt.show()

# %% tags=["hide-input"]
crossed = float(np.isfinite(found).mean())
half_time = float(np.median(seen))
Markdown(
    f"Of {len(found):,} random probes {crossed:.3f} are crossed; $\\theta(0)/\\pi = "
    f"{opening / np.pi:.3f}$. Half of the crossings are over by $t = {half_time:.2f}$, "
    f"{np.mean(seen < 8):.1%} by $t = 8$."
)

# %% [markdown]
# ## Homogeneous coefficients
#
# :::{prf:definition} Feature-linear, homogeneous predictors
# :label: def-homogeneous
#
# $f_w(x) = \langle \beta, x \rangle$ with $\beta = g(w)$ and $g(cw) = c^d g(w)$ for $c > 0$; inputs
# are whitened, $\mathbb{E}[x x^{\sf T}] = I$, labels come from $\beta^*$, and the loss is
# $L = \frac12 \lVert \beta - \beta^* \rVert^2$, the mean of $\frac12 (f_w(x) - \beta^* \cdot x)^2$.
# :::
#
# With $A = Dg\,Dg^{\sf T}$, gradient flow is $\dot\beta = -A(\beta - \beta^*)$, the tangent kernel is
# $\Theta(x', x) = x'^{\sf T} A x$, and the limit of small steps is
#
# $$
# S_{\rm rel}(x', x) = \frac{|x'^{\sf T} A\, x|}{x^{\sf T} A\, x} .
# $$ (eq-homogeneous)
#
# A factor common to all of $A$ cancels: $S_{\rm rel}$ sees the *shape* of $A$, not its size.
#
# ### Powers
#
# :::{prf:proposition} The power flow
# :label: prop-power
#
# For $g(w) = w^{\odot d}$, a diagonal linear network of depth $d$,
# $A = d^2 \operatorname{diag}(|\beta_i|^{2 - 2/d})$, and every coordinate moves by itself:
#
# $$
# \dot\beta_i = d^2\, |\beta_i|^{2 - 2/d}\, (\beta^*_i - \beta_i) .
# $$ (eq-power)
#
# $d = 1$: $\beta_i = \beta^*_i + e^{-t}(\beta_i(0) - \beta^*_i)$, and $S_{\rm rel}$ is constant.
# $d = 2$: $\beta_i = \beta^*_i \big/ \bigl(1 + (\beta^*_i/\beta_i(0) - 1)\, e^{-4\beta^*_i t}\bigr)$,
# or $\beta_i(0)/(1 + 4\beta_i(0)\,t)$ where $\beta^*_i = 0$. For every $d \ge 2$ a coordinate keeps its
# sign and
#
# $$
# t = \int_{\beta_i(0)}^{\beta_i(t)} \frac{d\beta}{d^2\,|\beta|^{2 - 2/d}\,(\beta^*_i - \beta)} .
# $$ (eq-power-time)
# :::
#
# :::{prf:proof}
# $\partial\beta_i/\partial w_i = d\,w_i^{d-1}$, whose square is $d^2 |\beta_i|^{2-2/d}$. That is $A$,
# and {eq}`eq-power` is $\dot\beta = -A(\beta - \beta^*)$. For $d = 1$ it is linear and $A = I$. For
# $d = 2$ and $\beta_i > 0$ it is the logistic equation $\dot\beta = 4\beta(\beta^* - \beta)$, for which
# $1/\beta$ obeys a linear one, $\frac{d}{dt}\frac1\beta = 4 - 4\beta^*\frac1\beta$. For $d \ge 2$ the
# right-hand side vanishes at $\beta_i = 0$ and is Lipschitz there, so no solution crosses zero, and
# separating variables gives {eq}`eq-power-time`. $\square$
# :::
#
# These are the dynamics of deep linear networks studied by {cite:t}`saxe2014exact`. By
# {eq}`eq-homogeneous`, $S_{\rm rel}$ weighs coordinate $i$ with $|\beta_i|^{2-2/d}$: at the start with
# the accidents of $\beta(0)$, at the end with $\beta^*$. Coordinate $i$ arrives with the rate
# $d^2|\beta^*_i|^{2-2/d}$, the large ones first. Where $\beta^*_i = 0$ there is no rate: such a
# coordinate falls like a power of $t$, and as long as it counts, so does the rest of the change of
# $S_{\rm rel}$.

# %% tags=["hide-input"]
sparse = np.concatenate([[1.0, 0.6, 0.3], np.zeros(DIMENSION - 3)])
even = np.full(DIMENSION, np.linalg.norm(sparse) / np.sqrt(DIMENSION))


def powers(target, degree):
    """Starts near 0, with random pairs."""
    rng = np.random.default_rng([seed, 3])
    flows = [PowerFlow(target, rng.uniform(0.002, 0.02, DIMENSION), degree) for _ in range(starts)]
    return flows, [rng.standard_normal((2, N_PAIRS, DIMENSION)) for _ in flows]


power_flows = {degree: powers(sparse, degree) for degree in (1, 2, 3)}
power_times = np.geomspace(0.01, 1000, points)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Loss and median S_rel of the power flow against time for degrees one, two and three, with bands. S_rel is constant for degree one and rises for degrees two and three."}, "figure": {"name": "fig-power", "caption": "Power flow in 20 dimensions towards a target with three coordinates that are not 0, from small starts: loss, and median $S_{\\rm rel}$ over 20 random pairs. Bands over starts."}}
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for i, (degree, problem) in enumerate(power_flows.items()):
        loss, s_rel = along(*problem, power_times)
        closed_forms.band(left, power_times, band(loss), f"d = {degree}", i)
        closed_forms.band(right, power_times, band(middle(s_rel)), f"d = {degree}", i)
    left.set(xscale="log", xlabel="time $t$", ylabel="loss")
    right.set(xscale="log", xlabel="time $t$", ylabel="median $S_{\\rm rel}$", ylim=(0, None))
    left.legend()
plt.show()

# %% [markdown]
# ### A radial power
#
# :::{prf:proposition} The radial flow
# :label: prop-radial
#
# Let $g(w) = \lVert w \rVert^{d-1} w$, $\rho = \lVert w \rVert > 0$, $\hat w = w/\rho$,
# $B = \lVert \beta^* \rVert > 0$ and $u = \hat w \cdot \beta^*/B$. Then
# $A = \rho^{2d-2}\bigl(I + (d^2 - 1)\,\hat w \hat w^{\sf T}\bigr)$, so that
#
# $$
# S_{\rm rel}(x', x) = \frac{\bigl| x' \cdot x + (d^2 - 1)(\hat w \cdot x')(\hat w \cdot x) \bigr|}
#                           {\lVert x \rVert^2 + (d^2 - 1)(\hat w \cdot x)^2}
# $$ (eq-radial-srel)
#
# depends on the direction of $w$ alone. The flow stays in the plane of $w(0)$ and $\beta^*$, with
#
# $$
# \dot u = \rho^{d-2} B\,(1 - u^2), \qquad \dot\rho = d\,\rho^{d-1}(B u - \rho^d) .
# $$ (eq-radial-system)
# :::
#
# :::{prf:proof}
# $Dg = \rho^{d-1}(I + (d-1)\,\hat w\hat w^{\sf T})$ is symmetric, and in its square the coefficient of
# $\hat w\hat w^{\sf T}$ is $2(d-1) + (d-1)^2 = d^2 - 1$. The flow is
# $\dot w = Dg\,(\beta^* - \rho^d \hat w)$. Along $\hat w$ this is
# $\dot\rho = d\rho^{d-1}(Bu - \rho^d)$; across it,
# $\dot{\hat w} = \rho^{d-2}(\beta^* - Bu\,\hat w)$, which lies in the plane, and whose product with
# $\beta^*/B$ is $\dot u$. $\square$
# :::
#
# :::{prf:proposition} The orbit for every degree (ours)
# :label: prop-orbit
#
# Let $|u(0)| < 1$ and $z = \operatorname{artanh} u$. Then $z$ grows for all times, and
#
# $$
# \begin{aligned}
# \rho^{-d} \cosh^{d^2} z &= \rho(0)^{-d} \cosh^{d^2} z(0)
#   + \frac{d^2}{B} \int_{z(0)}^{z} \cosh^{d^2} s \, ds , \\
# t &= \frac1B \int_{z(0)}^{z} \rho^{2-d}\, dz .
# \end{aligned}
# $$ (eq-radial-orbit)
#
# For $d = 2$ time is explicit: $u = \tanh(Bt + z(0))$.
# :::
#
# :::{prf:proof}
# $\dot z = \dot u/(1 - u^2) = \rho^{d-2}B > 0$, which is the second formula. For $q = \rho^{-d}$,
# $\dot q = -d\rho^{-d-1}\dot\rho = -d^2\rho^{-2}(Bu - \rho^d)$. Divided by $\dot z$ this is
#
# $$
# \frac{dq}{dz} = -d^2 q \tanh z + \frac{d^2}{B} ,
# $$
#
# linear in $q$, with the integrating factor $\cosh^{d^2} z$. $\square$
# :::
#
# As $z \to \infty$ the orbit gives $\rho^d \to B$, so in the end $\dot z$ is
# $B^{2 - 2/d}$ and $\sqrt{1 - u^2} = 1/\cosh z$ falls with that rate: $S_{\rm rel}$ approaches its
# limit exponentially, with the time scale $B^{2/d - 2}$. How it begins depends on $d$. For $d = 2$
# the direction turns at the same speed however small $w$ is; for $d \ge 3$ it waits until $w$ has
# grown, and for $d = 1$ $S_{\rm rel}$ never moves, though the direction does.

# %% [markdown]
# The orbit {eq}`eq-radial-orbit` against an integration of the flow of $w$ itself:


# %%
def descend(degree):
    """Largest difference for one start in ten dimensions."""
    rng = np.random.default_rng([seed, 4])
    target, w0 = rng.standard_normal((2, 10)) / np.sqrt(10)

    def velocity(_, w):
        rho = np.linalg.norm(w)
        gap = target - rho ** (degree - 1) * w
        radial = (degree - 1) * w * (w @ gap) / rho**2
        return rho ** (degree - 1) * (gap + radial)

    stepped = solve_ivp(velocity, (0, 20), w0, rtol=1e-11, atol=1e-13)
    exact = RadialFlow(target, w0, degree).weights(stepped.t)
    return np.abs(stepped.y.T - exact).max()


radial_error = max(descend(degree) for degree in (1, 2, 3, 4))
print(f"largest difference: {radial_error:.1e}")

# %% tags=["hide-input"]
RADIAL_DIMENSION = 10


def radials(degree, rng):
    """A target of norm 1, starts of norm 1/2, random pairs."""
    target = rng.standard_normal(RADIAL_DIMENSION)
    flows = []
    for _ in range(starts):
        w0 = rng.standard_normal(RADIAL_DIMENSION)
        w0 /= 2 * np.linalg.norm(w0)
        flows.append(RadialFlow(target / np.linalg.norm(target), w0, degree))
    return flows, [rng.standard_normal((2, N_PAIRS, RADIAL_DIMENSION)) for _ in flows]


radial_flows = {d: radials(d, np.random.default_rng([seed, 5])) for d in (1, 2, 3)}
radial_times = np.linspace(0, 12, points)


def alignment(flows):
    """u, (T, R)."""
    paths = np.stack([flow.weights(radial_times) for flow in flows], axis=1)
    return paths @ flows[0].target / np.linalg.norm(paths, axis=2)


# %% tags=["hide-input"] mystnb={"image": {"alt": "Loss, alignment u with the target, median S_rel and median distance of S_rel from its start, for the radial flow against time, degrees one, two and three, with bands over starts. The alignment rises to one; pairs move while it rises and rest when it has, while the median of S_rel stays level."}, "figure": {"name": "fig-radial", "caption": "Radial flow in 10 dimensions: loss, alignment of w with the target, median $S_{\\rm rel}$ over 20 random pairs, and how far a pair has moved: each moves, some up and some down. Bands over starts."}}
with style():
    figure, panels = plt.subplots(2, 2, figsize=(10, 6.6), sharex=True, layout="constrained")
    panels = panels.ravel()
    for i, (degree, problem) in enumerate(radial_flows.items()):
        loss, s_rel = along(*problem, radial_times)
        moved = middle(np.abs(s_rel - s_rel[0]))
        quantities = (loss, alignment(problem[0]), middle(s_rel), moved)
        for axes, quantity in zip(panels, quantities, strict=True):
            closed_forms.band(axes, radial_times, band(quantity), f"d = {degree}", i)
    titles = (
        "loss",
        "alignment $u$",
        "median $S_{\\rm rel}$",
        "median $|S_{\\rm rel}(t) - S_{\\rm rel}(0)|$",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
    for axes in panels[2:]:
        axes.set_xlabel("time $t$")
    panels[0].set(yscale="log", ylim=(1e-8, 2))
    panels[2].set_ylim(0, None)
    panels[1].legend()
plt.show()

# %% [markdown]
# The flow lives in a plane, so its portrait is complete:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Phase portraits of the radial flow in the plane of the target for degrees one, two and three, with orbits from eight starts that all end in the target."}, "figure": {"name": "fig-radial-portrait", "caption": "Phase portraits of the radial flow in the plane of w(0) and the target (star): grey the velocity, blue exact orbits from their starts (dots)."}}
grid = np.linspace(-1.5, 1.5, 41) + 1e-9  # not 0, where w has no direction
plane = np.stack(np.meshgrid(grid, grid))
with style():
    figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.9), sharey=True, layout="constrained")
    for axes, degree in zip(panels, (1, 2, 3), strict=True):
        rho = np.linalg.norm(plane, axis=0)
        gap = np.array([1.0, 0.0])[:, None, None] - rho ** (degree - 1) * plane
        radial = (degree - 1) * plane * (plane * gap).sum(0) / rho**2
        velocity = rho ** (degree - 1) * (gap + radial)
        angles = np.linspace(0, 2 * np.pi, 8, endpoint=False) + 0.2
        paths = [
            RadialFlow([1.0, 0.0], [1.3 * np.cos(a), 1.3 * np.sin(a)], degree).weights(
                np.geomspace(1e-3, 1e6, 1000)
            )
            for a in angles
        ]
        closed_forms.portrait(axes, grid, velocity, paths, [1, 0])
        axes.set(title=f"d = {degree}", xlabel="along $\\beta^*$")
    panels[0].set_ylabel("across")
plt.show()

# %% [markdown]
# (sec-flows-claim)=
# ## What the closed forms say about the claim
#
# The claim: $S_{\rm rel}$ changes rapidly in an early phase and is nearly constant in a late one, in
# which it stays large. For each flow we measure, on an even grid of times,
#
# - whether it **moves**: the range of a pair's $S_{\rm rel}$ over the whole time, relative to its
#   largest value, exceeds 10 % (median over starts);
# - whether it moves **early, then rests**: two lines fitted to the distance
#   $|S_{\rm rel}(t) - S_{\rm rel}(0)|$ of the pairs against time fit better than one ($p < 0.05$), the
#   break lies in the first half of the time, and the slope after it is at most a tenth of that
#   before;
# - where it **ends**: *larger* than it began if that is so for at least 90 % of the starts, *smaller*
#   if for at most 10 %, else *either*. The share of the starts that end larger is given with it.
#
# Pairs are summarised by their median; for the gate, where most pairs never switch, by their mean. The published setting is watched for its 8001 iterations,
# every other flow for ten times the time in which the excess of the loss over its limit falls to 1 %
# of what it was. Any flow that converges rests in the end, if one waits so long; the first and the
# last question are the telling ones.


# %% tags=["hide-input"]
def until(losses):
    """Ten times the time at which the median excess of the loss is 1 % of its start."""
    times = np.geomspace(1e-3, 1e4, 800)
    loss = losses(np.concatenate([[0], times, [1e8]]))
    excess = np.median(loss[:-1] - loss[-1], axis=1)
    return 10 * times[np.argmax(excess[1:] <= 0.01 * excess[0])]


def verdict(times, s_rel, reduce=np.median):
    """What S_rel (T, R, m) does, with pairs summarised by `reduce`."""
    moved = reduce(np.abs(s_rel - s_rel[0]), axis=2)
    first, last = (reduce(s_rel[i], axis=1) for i in (0, -1))
    reach = np.median(reduce(np.ptp(s_rel, axis=0), axis=1) / reduce(s_rel.max(0), axis=1))
    try:
        fit = fit_two_phase(times, (first + moved).T)
    except NoBreakError:
        fit = None
    moves = reach > 0.1
    rests = fit is not None and fit.p_value < 0.05
    rests = rests and fit.break_step <= times[-1] / 2
    rests = rests and abs(fit.slope_late) <= 0.1 * abs(fit.slope_early)
    higher = float(np.mean(last > first))
    ends = "larger" if higher >= 0.9 else "smaller" if higher <= 0.1 else "either"
    return {
        "until": times[-1], "first": np.median(first), "last": np.median(last), "reach": reach,
        "break": fit.break_step if fit else np.nan, "moves": moves, "rests": moves and rests,
        "ends": ends if moves else "—", "higher": higher,
    }  # fmt: skip


found = {}
grid = np.linspace(0, published_times()[-1], points)
for width in (10, 100):
    features, labels, w0, probes, sample = ridge_setting(width)
    cases = [("as published", PublishedRidgeFlow, "between")]
    cases += [(f"as defined, {kind}", RidgeFlow, kind) for kind in probes]
    for name, flow, kind in cases:
        s_rel = flow(features, labels, 1.0, w0).s_rel(grid, probes[kind], sample, ones)
        found[f"ridge, p = {width}, {name}"] = verdict(grid, s_rel)
features, labels, w0, probes, sample = ridge_setting(10)
for shrink in (0, 1, 10):
    flow = small_ridge(shrink)
    times = np.linspace(0, until(flow.loss), points)
    s_rel = flow.s_rel(times, probes["between"] / unit, sample / unit, ones)
    found[f"ridge, ‖h‖² ≈ 1, λ/K = {shrink}"] = verdict(times, s_rel)
families = [(f"gate, {NAMES[kind]}", problem) for kind, problem in gate_flows.items()]
families += [(f"power, d = {d}", problem) for d, problem in power_flows.items()]
families += [("power, d = 2, even target", powers(even, 2))]
families += [(f"radial, d = {d}", problem) for d, problem in radial_flows.items()]
for name, (flows, drawn) in families:
    times = np.linspace(0, until(lambda t, f=flows, d=drawn: along(f, d, t)[0]), points)
    reduce = np.mean if name.startswith("gate") else np.median
    found[name] = verdict(times, along(flows, drawn, times)[1], reduce)

lines = [
    "| flow | watched until $t$ | start → end | range | break at $t$ | moves | early, then rests | ends |",
    "|---|---|---|---|---|---|---|---|",
]
for name, v in found.items():
    share = f" ({v['higher']:.0%})" if v["moves"] else ""
    stop = "—" if np.isnan(v["break"]) or not v["moves"] else rounded(v["break"])
    lines.append(
        f"| {name} | {rounded(v['until'])} | {rounded(v['first'])} → {rounded(v['last'])} | "
        f"{v['reach']:.0%} | {stop} | {'yes' if v['moves'] else 'no'} | "
        f"{('yes' if v['rests'] else 'no') if v['moves'] else '—'} | "
        f"{v['ends']}{share} |"
    )
Markdown("\n".join(lines))

# %% tags=["hide-input"]
defined = {name: v for name, v in found.items() if "published" not in name}
published = {name: v for name, v in found.items() if name not in defined}


def listed(names):
    return "; ".join(names) if names else "none"


still = [name for name, v in defined.items() if not v["moves"]]
all_three = [name for name, v in defined.items() if v["rests"] and v["ends"] == "larger"]
not_larger = [name for name, v in defined.items() if v["rests"] and v["ends"] != "larger"]
restless = [name for name, v in defined.items() if v["moves"] and not v["rests"]]
Markdown(
    f"By the definitions, $S_{{\\rm rel}}$ **does not move** in {len(still)} of {len(defined)} cases "
    f"({listed(still)}). It moves early, rests late and **ends larger** in {len(all_three)} "
    f"({listed(all_three)}). It moves early and rests late **without ending larger** in "
    f"{len(not_larger)} ({listed(not_larger)}). It moves **without two clear phases** in "
    f"{len(restless)} ({listed(restless)}). By the published formulas the ridge flow moves and ends "
    f"larger in {sum(v['ends'] == 'larger' for v in published.values())} of {len(published)} cases."
)

# %% [markdown]
# What the formulas add to the table:
#
# - **Ridge.** Without a penalty $S_{\rm rel}$ is a constant of the motion, whatever the loss does.
#   With one it can move only as far as {eq}`eq-ridge-bound` allows, which is next to nothing for
#   features as large as the published ones.
# - **Gate.** $S_{\rm rel}$ of a pair moves by at most one jump for each of its two points, and the
#   jumps thin out exponentially. So there is an early and a late phase; but for random probes as many
#   switch off as on.
# - **Powers.** For $d \ge 2$ the end is the shape of $\beta^*$. A target with few coordinates makes
#   the kernel one of few coordinates, which raises $S_{\rm rel}$ between random inputs: here the
#   claim has a mechanism. The rise is a property of the target, not of gradient flow as such: the
#   row with an even target, all $\beta^*_i$ equal, has the same flow and the same starts.
# - **Radial.** $S_{\rm rel}$ follows the direction of $w$ and rests when that has been learnt. A
#   random start has as special a direction as the target has, so the end is not larger on the whole.
#
# That these flows rest is the same fact as that they converge. *Where* they rest, and whether that is
# large, depends on data, penalty and target. None of this says what a deep network does: there
# $S_{\rm rel}$ has to be measured.
