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
# # Powers: a diagonal linear network
#
# The third flow: coefficients that are powers of the weights, as in a linear network whose layers are
# diagonal. Here the claim that $S_{\rm rel}$ ends large has a mechanism.

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

from srel_core.book.figures import closed_forms
from srel_core.book.figures.style import style
from srel_core.book.solved.problems import EVEN, SPARSE, band, middle, powers, sizes

starts, points = sizes(profile, n_starts, n_times)
problems = {degree: powers(SPARSE, degree, starts, seed) for degree in (1, 2, 3)}
even = powers(EVEN, 2, starts, seed)
power_times = np.geomspace(0.01, 1000, points)


# %% tags=["hide-input", "code-below"]
def ends(problem):
    first, last = np.median(middle(problem.s_rel(power_times[[0, -1]])), axis=1)
    return f"from {first:.2f} to {last:.2f}"


Markdown(
    f"Towards a target with {np.count_nonzero(SPARSE)} of {len(SPARSE)} coordinates, the median "
    f"$S_{{\\rm rel}}$ between random inputs goes {ends(problems[1])} for degree 1, {ends(problems[2])} for degree 2 "
    f"and {ends(problems[3])} for degree 3. Towards a target whose coordinates are all equal, the same flow of "
    f"degree 2 from the same starts takes it {ends(even)}: where it ends is a property of the target."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Loss and median S_rel of the power flow against time for degrees one, two and three, with bands. S_rel is constant for degree one and rises for degrees two and three."}, "figure": {"name": "fig-power", "caption": "Power flow in 20 dimensions towards a target with three coordinates that are not 0, from small starts: loss, and median $S_{\\rm rel}$ over 20 random pairs. Bands over starts."}}
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for i, (degree, problem) in enumerate(problems.items()):
        loss, s_rel = problem.loss(power_times), middle(problem.s_rel(power_times))
        closed_forms.band(left, power_times, band(loss), f"d = {degree}", i)
        closed_forms.band(right, power_times, band(s_rel), f"d = {degree}", i)
    left.set(xscale="log", xlabel="time $t$", ylabel="loss")
    right.set(xscale="log", xlabel="time $t$", ylabel="median $S_{\\rm rel}$", ylim=(0, None))
    left.legend()
plt.show()

# %% [markdown]
# Bands are the 10 % and 90 % quantiles over initialisations, around their median. A mean would not do:
# where $\operatorname{own}(x)$ happens to be close to zero at some moment, the ratio has a spike, and a
# single spike dominates a mean.

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

# %% [markdown]
# ## Powers
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
# {eq}`eq-homogeneous`, $S_{\rm rel}$ weights coordinate $i$ by $|\beta_i|^{2-2/d}$: at the start by
# the accidents of $\beta(0)$, at the end by $\beta^*$. Coordinate $i$ arrives at the rate
# $d^2|\beta^*_i|^{2-2/d}$, the large ones first. Where $\beta^*_i = 0$ there is no rate: such a
# coordinate falls like a power of $t$, and as long as it counts, so does the rest of the change of
# $S_{\rm rel}$.

# %% [markdown]
# The setting is that of Theorems 5.1–5.3 of {cite:t}`dan2021dynamics`; the proofs are our own. {doc}`flow_radial` takes
# another $g$.
