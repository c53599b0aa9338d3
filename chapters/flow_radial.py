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
# # A radial power
#
# The fourth flow: the setting of {prf:ref}`def-homogeneous` again, with coefficients that point where the weights
# point. $S_{\rm rel}$ depends on that direction alone.

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
from srel_core.book.solved.problems import band, middle, radials, sizes
from srel_core.flows import RadialFlow

starts, points = sizes(profile, n_starts, n_times)
problems = {degree: radials(degree, starts, seed) for degree in (1, 2, 3)}
radial_times = np.linspace(0, 12, points)


def alignment(flows):
    """u, (T, R)."""
    paths = np.stack([flow.weights(radial_times) for flow in flows], axis=1)
    return paths @ flows[0].target / np.linalg.norm(paths, axis=2)


found = {degree: problem.s_rel(radial_times) for degree, problem in problems.items()}

# %% tags=["hide-input", "code-below"]
parts = []
for degree, s_rel in found.items():
    first, last = (np.median(s_rel[i], axis=-1) for i in (0, -1))
    moved = np.median(np.abs(s_rel[-1] - s_rel[0]))
    parts.append(
        f"by {moved:.2f} for degree {degree} (the median goes from {np.median(first):.2f} to {np.median(last):.2f})"
    )
Markdown(
    "While the direction of the weights turns towards the target, the median pair's $S_{\\rm rel}$ moves "
    f"{', '.join(parts)}; once the direction has been learnt, it rests. A random start points in as special a "
    "direction as the target does, so that some pairs end higher and some lower."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Loss, alignment u with the target, median S_rel and median distance of S_rel from its start, for the radial flow against time, degrees one, two and three, with bands over starts. The alignment rises to one; pairs move while it rises and rest when it has, while the median of S_rel stays level."}, "figure": {"name": "fig-radial", "caption": "Radial flow in 10 dimensions: loss, alignment of w with the target, median $S_{\\rm rel}$ over 20 random pairs, and how far a pair has moved: each moves, some up and some down. Bands over starts."}}
with style():
    figure, panels = plt.subplots(2, 2, figsize=(10, 6.6), sharex=True, layout="constrained")
    panels = panels.ravel()
    for i, (degree, problem) in enumerate(problems.items()):
        s_rel = found[degree]
        moved = middle(np.abs(s_rel - s_rel[0]))
        loss = problem.loss(radial_times)
        quantities = (loss, alignment(problem.flows), middle(s_rel), moved)
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
# Bands are the 10 % and 90 % quantiles over initialisations, around their median. A mean would not do:
# where $\operatorname{own}(x)$ happens to be close to zero at some moment, the ratio has a spike, and a
# single spike dominates a mean.

# %% [markdown]
# ## The flow
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

# %% [markdown]
# ## Its portrait
#
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
