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
# For a deep network one can only measure $S_{\rm rel}$. For a few small predictors one can *solve* for it: a
# formula gives the weights along gradient flow at every time, and the weights give $S_{\rm rel}$.
# {cite:t}`dan2021dynamics` use such predictors to explain why training would have two phases: an early one
# in which $S_{\rm rel}$ changes fast, and a late one in which it is large and nearly constant.

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
from srel_core.book.published.ridge import PublishedRidgeFlow, published_times
from srel_core.book.solved.course import ALPHA, MOST, MOVES, REST, course, until
from srel_core.book.solved.problems import EVEN, SPARSE, RidgeProblem, gates, powers, radials, sizes
from srel_core.book.text.numbers import listed, rounded

starts, points = sizes(profile, n_starts, n_times)
found = {}
grid = np.linspace(0, published_times()[-1], points)
for width in (10, 100):
    problem = RidgeProblem.drawn(seed, width, starts)
    published = PublishedRidgeFlow(problem.features, problem.labels, 1.0, problem.w0)
    s_rel = published.s_rel(grid, *problem.pairs("between"))
    found[f"ridge, p = {width}, as published"] = course(grid, s_rel)
    for kind in problem.probes:
        s_rel = problem.flow(1.0).s_rel(grid, *problem.pairs(kind))
        found[f"ridge, p = {width}, as defined, {kind}"] = course(grid, s_rel)
small = RidgeProblem.drawn(seed, 10, starts).scaled
for shrink in (0, 1, 10):
    flow = small.flow(2 * shrink)
    times = np.linspace(0, until(flow.loss), points)
    s_rel = flow.s_rel(times, *small.pairs("between"))
    found[f"ridge, ‖h‖² ≈ 1, λ/K = {shrink}"] = course(times, s_rel)
families = {
    "gate, GLM-Tron": gates("glm_tron", starts, seed),
    "gate, gradient flow": gates("gradient", starts, seed),
    **{f"power, d = {d}": powers(SPARSE, d, starts, seed) for d in (1, 2, 3)},
    "power, d = 2, even target": powers(EVEN, 2, starts, seed),
    **{f"radial, d = {d}": radials(d, starts, seed) for d in (1, 2, 3)},
}
for name, problem in families.items():
    times = np.linspace(0, until(problem.loss), points)
    reduce = np.mean if name.startswith("gate") else np.median  # most pairs of a gate never move
    found[name] = course(times, problem.s_rel(times), reduce)
defined = {name: v for name, v in found.items() if "published" not in name}
published = {name: v for name, v in found.items() if name not in defined}

# %% tags=["hide-input", "code-below"]
still = [name for name, v in defined.items() if not v.moves]
all_three = [name for name, v in defined.items() if v.two_phases and v.ends == "larger"]
not_larger = [name for name, v in defined.items() if v.two_phases and v.ends != "larger"]
restless = [name for name, v in defined.items() if v.moves and not v.rests]
Markdown(
    f"By the definitions, $S_{{\\rm rel}}$ moves early, rests late and **ends larger** in {len(all_three)} of "
    f"{len(defined)} cases ({listed(all_three)}); it **does not move** in {len(still)}, moves early and rests late "
    f"**without ending larger** in {len(not_larger)}, and moves **without two clear phases** in "
    f"{len(restless)}. By the published formulas the ridge flow moves and ends larger in "
    f"{sum(v.moves and v.ends == 'larger' for v in published.values())} of {len(published)} cases."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "A row for each flow: an arrow from the S_rel at the start to the S_rel at the end, on a logarithmic axis, blue where it moves early, rests late and ends larger."}, "figure": {"name": "fig-flows-together", "caption": "$S_{\\rm rel}$ at the start (dot) and at the end (arrow) of each flow, medians over starts. Blue: it moves early, rests late and ends larger, as the claim has it; orange: it moves otherwise; grey: it does not move."}}
with style():
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    closed_forms.courses(axes, found)
plt.show()

# %% [markdown]
# ## The four flows
#
# | flow | what it models | what decides $S_{\rm rel}$ |
# |---|---|---|
# | {doc}`flow_ridge` | linear heads on fixed features | the penalty, against the size of the features |
# | {doc}`flow_gate` | one ReLU | on which side of it a point lies |
# | {doc}`flow_power` | a diagonal linear network | the shape of the target |
# | {doc}`flow_radial` | one direction that is learnt | the direction of the weights |
#
# Each page derives its flow, with proofs, and asks the same three questions: can $S_{\rm rel}$ move at all, and
# when? Does it move early and then rest? Does it end larger than it began?

# %% [markdown]
# (sec-flows-claim)=
# ## What the closed forms say about the claim
#
# $S_{\rm rel}$ is said to change rapidly in an early phase and to be nearly constant in a late one, in which it
# stays large. For each flow we measure on an even grid of times

# %% tags=["remove-input"]
Markdown(
    f"- whether it **moves**: its range over the whole time exceeds {MOVES:.0%} of its largest value (median over starts);\n"
    "- whether it moves **early, then rests**: two lines fitted to the distance $|S_{\\rm rel}(t) - S_{\\rm rel}(0)|$ "
    f"against time fit better than one ($p < {ALPHA:g}$), the break lies in the first half of the time, and the slope "
    f"after it is at most {REST:.0%} of that before;\n"
    f"- where it **ends**: *larger* than it began if that is so for at least {MOST:.0%} of the starts, *smaller* if for at "
    f"most {1 - MOST:.0%}, else *either*; the share of the starts that end larger is given with it."
)

# %% [markdown]
# Pairs are summarised by their median, and for the gate, where most pairs never switch, by their mean. The
# published setting is followed for its 8001 iterations, every other flow for ten times the time in which the
# excess of the loss over its limit falls to 1 % of what it was. Any flow that converges rests in the end, if
# one waits long enough: the first and the last question are the telling ones.

# %% tags=["hide-input"]
lines = [
    "| flow | followed until $t$ | start → end | range | break at $t$ | moves | early, then rests | ends |",
    "|---|---|---|---|---|---|---|---|",
]
for name, v in found.items():
    stop = "—" if np.isnan(v.stop) or not v.moves else rounded(v.stop)
    rests = "yes" if v.rests else "no"
    lines.append(
        f"| {name} | {rounded(v.until)} | {rounded(v.first)} → {rounded(v.last)} | {v.reach:.0%} | {stop} | "
        + (f"yes | {rests} | {v.ends} ({v.higher:.0%}) |" if v.moves else "no | — | — |")
    )
Markdown("\n".join(lines))

# %% tags=["remove-input"]
Markdown(
    f"It does not move: {listed(still)}.\n\nIt moves early, rests late and ends larger: {listed(all_three)}.\n\n"
    f"It moves early and rests late without ending larger: {listed(not_larger)}.\n\n"
    f"It moves without two clear phases: {listed(restless)}."
)

# %% [markdown]
# ## What the formulas add
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
# - **Radial.** $S_{\rm rel}$ follows the direction of $w$ and rests when that has been learnt. The direction
#   of a random start is as special as that of the target, so $S_{\rm rel}$ does not end larger on the whole.
#
# That these flows come to rest is just the fact that they converge. *Where* they rest, and whether that is
# large, depends on data, penalty and target. None of this says what a deep network does: there
# $S_{\rm rel}$ has to be measured.
