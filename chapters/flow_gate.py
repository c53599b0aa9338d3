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
# # One ReLU gate
#
# The second flow: one unit $\max(w \cdot x, 0)$ that learns another one. Its $S_{\rm rel}$ moves by jumps,
# and the law of the jumps can be written down.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper
results_dir: str = ""  # as in every chapter; here nothing is kept
seed: int = 0  # of every random number
n_starts: int = 0  # initialisations, at least 3; 0: as the profile says
n_times: int = 0  # points of a curve, at least 20; 0: as the profile says

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from scipy.integrate import solve_ivp

from srel_core.book.figures import closed_forms
from srel_core.book.figures.style import style
from srel_core.book.solved.problems import DIMENSION, band, gates, sizes
from srel_core.flows import ReluGateFlow

starts, points = sizes(profile, n_starts, n_times)
NAMES = {"glm_tron": "GLM-Tron", "gradient": "gradient flow"}
problems = {kind: gates(kind, starts, seed) for kind in NAMES}
gate_times = np.linspace(0, 16, points)
flow = problems["gradient"].flows[0]
probe, active = problems["gradient"].pairs[0]
crowd = np.random.default_rng([seed, 2]).standard_normal((200 * points, DIMENSION))
found = flow.crossing_times(crowd)
seen = found[np.isfinite(found)]
opening = np.arccos(flow.w0 @ flow.teacher)  # both have norm 1

# %% tags=["hide-input", "code-below"]
mean = np.stack([np.median(p.s_rel([0.0, 16.0]).mean(2), axis=1) for p in problems.values()])
Markdown(
    "A pair's $S_{\\rm rel}$ jumps at most once for its probe and once for its sample, when the weights cross the "
    f"hyperplane of that point; half of the crossings are over by $t = {np.median(seen):.2f}$, and "
    f"{np.mean(seen < 8):.1%} by $t = 8$. Averaged over pairs, $S_{{\\rm rel}}$ goes from "
    f"{mean[0, 0]:.2f} to {mean[0, 1]:.2f} under the GLM-Tron flow, and from {mean[1, 0]:.2f} to "
    f"{mean[1, 1]:.2f} under the gradient flow: as many probes switch on as off."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Left: S_rel of ten probes as step functions of time. Right: histogram of crossing times with the density that the proposition gives."}, "figure": {"name": "fig-gate-crossings", "caption": "Gradient flow of one gate. Left: $S_{\\rm rel}$ of ten probes for one sample; each switches on or off once or never. Right: crossing times of many random probes, and the law of the proposition."}}
cosine = flow.weights(gate_times) @ flow.w0
cosine = cosine / np.linalg.norm(flow.weights(gate_times), axis=1) / np.linalg.norm(flow.w0)
turned = np.arccos(np.clip(cosine, -1, 1))
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    ten = flow.s_rel(gate_times, probe[:10], np.repeat(active[:1], 10, axis=0))
    closed_forms.switches(left, gate_times, ten)
    left.set(xlabel="time $t$", ylabel="$S_{\\rm rel}$")
    density = np.gradient(turned, gate_times) / opening
    closed_forms.crossings(right, seen, np.linspace(0, 16, 33), gate_times, density)
    right.set(xlabel="crossing time $t_c$", ylabel="density", xlim=(0, 16))
    right.legend()
plt.show()

# %% [markdown]
# ## The flow
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
one = ReluGateFlow([1.0, 0.0], [-1.5, 0.4], flow="gradient")


def polar(_, state):
    """The gradient flow for ‖w*‖ = 1 in polar coordinates."""
    r, theta = state
    rest = np.pi - theta
    pull = rest * np.cos(theta) + np.sin(theta)
    return [
        -r / 2 + pull / (2 * np.pi),
        -rest * np.sin(theta) / (2 * np.pi * r),
    ]


start = [np.hypot(*one.w0), np.arctan2(one.w0[1], one.w0[0])]
stepped = solve_ivp(polar, (0, 20), start, rtol=1e-11, atol=1e-13)
r, theta = stepped.y
numerical = np.stack([r * np.cos(theta), r * np.sin(theta)], axis=1)
gate_error = np.abs(numerical - one.weights(stepped.t)).max()
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
Markdown(
    f"Of {len(found):,} random probes {len(seen) / len(found):.3f} are crossed; $\\theta(0)/\\pi = "
    f"{opening / np.pi:.3f}$."
)

# %% [markdown]
# ## Many starts

# %% tags=["hide-input"] mystnb={"image": {"alt": "Loss and mean S_rel over pairs against time for the GLM-Tron flow and the gradient flow of a gate, with bands over starts. The loss falls exponentially; S_rel stays about level, with bands that widen early and then freeze."}, "figure": {"name": "fig-gate", "caption": "One gate in 20 dimensions: loss, and $S_{\\rm rel}$ averaged over 20 pairs with an active sample. Bands over starts."}}
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for i, (kind, problem) in enumerate(problems.items()):
        loss, s_rel = problem.loss(gate_times), problem.s_rel(gate_times)
        closed_forms.band(left, gate_times, band(loss), NAMES[kind], i)
        closed_forms.band(right, gate_times, band(s_rel.mean(2)), NAMES[kind], i)
    left.set(yscale="log", xlabel="time $t$", ylabel="loss")
    right.set(xlabel="time $t$", ylabel="mean $S_{\\rm rel}$", ylim=(0, None))
    left.legend()
plt.show()

# %% [markdown]
# Bands are the 10 % and 90 % quantiles over initialisations, around their median. A mean would not do:
# where $\operatorname{own}(x)$ happens to be close to zero at some moment, the ratio has a spike, and a
# single spike dominates a mean.

# %% [markdown]
# {prf:ref}`prop-glm` is Lemma 4.3 of {cite:t}`dan2021dynamics`. The proofs are our own, and what is marked
# *ours* is not in the paper.
