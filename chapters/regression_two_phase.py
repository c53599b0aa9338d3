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
# # Regression: are there two phases?
#
# The claim of {cite:t}`dan2021dynamics` about regression, in our words: training begins with an
# *elastic* phase, in which the original $S_{\rm rel}$ changes rapidly, and ends with an *inelastic*
# one, in which it is nearly constant and stays large.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper
results_dir: str = ""  # where results are kept; empty: the book's own
seeds: list[int] = []  # at least 3, trained together; empty: as the profile says
device: str = "cpu"  # a process for each core; or cuda

# %% tags=["hide-input"]
from collections import Counter
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display

from srel_core.book.committed import regression_file
from srel_core.book.figures import regression
from srel_core.book.figures.style import OTHERS, SAME, style
from srel_core.book.regression import two_phase_rule as rule
from srel_core.book.regression.rows import judged_rows
from srel_core.book.text.markup import folded, plain, varying
from srel_core.book.text.result_tables import badge
from srel_core.experiments.regression.problems import DIMENSION, NOISE, REAL
from srel_core.experiments.regression.settings import bases
from srel_core.experiments.regression.side_by_side import run_profile
from srel_core.experiments.regression.training import BATCH_SIZE
from srel_core.statistics.phases import NoBreakError, fit_two_phase

results = run_profile(profile, seeds, results_dir or None, device)
settings = list(results)
all_rows = judged_rows(results)
rows = [row for row in all_rows if not row.next_step]
following = [row for row in all_rows if row.next_step]
networks = [row for row in rows if row.setting.family == "mlp"]
by_setting = {(row.setting, row.kind): row for row in rows}
base = bases(settings)
first = base["relu"]


def row_of(setting, kind="any"):
    return by_setting[setting, kind]


def listed(found):
    if len(found) > 10:
        return "see the table"
    return "; ".join(row.name for row in found) if found else "none"


# %% tags=["hide-input", "code-below"]
passed = {a: [r.judgement for r in networks if r.setting.activation == a] for a in base}
moved = [row for row in networks if row.judgement.checks["moves"]]
shares = [row.judgement.plateau / row.judgement.start for row in moved]
Markdown(
    f"By the rule below, {sum(row.judgement.two_phases for row in networks)} of {len(networks)} cases with networks have "
    "two phases: "
    + ", ".join(
        f"{sum(j.two_phases for j in of)} of {len(of)} with {a}" for a, of in passed.items()
    )
    + f". In {sum(row.judgement.words == 'two phases, large' for row in networks)} of them the late level is large as well. By the "
    f"step that Adam takes next, where Adam trains, {sum(row.judgement.two_phases for row in following)} of {len(following)} have two phases. "
    f"Where $S_{{\\rm rel}}$ moves at all, it ends at {np.median(shares):.0%} of its start in the median case, and above it in "
    f"{sum(row.rises for row in moved)} of {len(moved)}."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "S_rel and training loss against the step for four predictors: a ReLU and a tanh network, a single gate, a linear model. Thin lines are seeds; the two fitted lines are dashed and the break is marked with its interval."}, "figure": {"name": "fig-phases", "caption": "$S_{\\rm rel}$ of held-out pairs (top) and losses (bottom, logarithmic) while four predictors learn their teacher. Thin: seeds; thick: their mean. Dashed: the two lines of the fit; dotted with grey band: the break and its 95 % interval. Blue line across: a linear model on the same pairs, which is what the linear predictor itself has at every step."}}
shown = {
    f"relu {first.depth}×{first.width}": base["relu"],
    f"tanh {first.depth}×{first.width}": base["tanh"],
    "gate": next(s for s in settings if s.family == "relu_gate" and s.training == "gd"),
    "linear": next(s for s in settings if s.family == "linear"),
}
with style():
    figure, panels = plt.subplots(2, 4, figsize=(10.5, 5.4), sharex="col", layout="constrained")
    for (name, setting), (top, bottom) in zip(shown.items(), panels.T, strict=True):
        row, result = row_of(setting), results[setting]
        steps = result.step.values
        regression.seeds(top, row.case.steps, row.case.curves, OTHERS[0], "$S_{\\rm rel}$")
        top.axhline(row.case.linear.mean(), color=SAME, linewidth=1, label="linear model")
        if row.judgement.fit:
            regression.hinge(top, row.case.steps, row.judgement.fit, row.judgement.checks["breaks"])
        regression.seeds(bottom, steps, result.train_loss.values, SAME, "training")
        bottom.plot(steps, result.held_loss.mean("seed"), color=OTHERS[0], label="held out")
        top.set(title=name, ylim=(0, None))
        bottom.set(xlabel="training step", yscale="log")
    panels[0, 0].set_ylabel("mean $S_{\\rm rel}$")
    panels[1, 0].set_ylabel("loss")
    panels[0, 1].legend(loc="lower right")
    panels[1, 0].legend(loc="upper right")
plt.show()

# %% [markdown]
# A plot can always be read as showing two phases. In a training that converges, any quantity comes to rest if one
# waits, and any curve has a place where it bends most. So this chapter first says what would count for the claim and
# against it, as five questions with numbers in them. They were fixed, as code with tests, before the result
# of any network was seen (`srel_core.book.regression.two_phase_rule`). Then it puts them to networks of
# several kinds, depths and widths, on synthetic and on real data, and to two predictors for which the answer
# is known: a linear model, in which $S_{\rm rel}$ cannot move, and a single ReLU gate, whose motion has a
# closed form.

# %% [markdown]
# ## What is measured
#
# For a predictor $f_w$ with one output and the loss $\frac12 (f_w(x) - y)^2$, take one step of
# stochastic gradient descent on the sample $(x, y)$ alone, with the learning rate $\eta$ of the
# training, $w \to w^+$. The original $S_{\rm rel}$ {cite:p}`he2020local` is
#
# $$
# \begin{aligned}
# S_{\rm rel}(x', x) = \frac{|f_{w^+}(x') - f_w(x')|}{|f_{w^+}(x) - f_w(x)|}
# \;&\xrightarrow{\;\eta \to 0\;}\; \frac{|\Theta(x', x)|}{\Theta(x, x)}, \\
# \Theta(x', x) &= \nabla_w f_w(x') \cdot \nabla_w f_w(x) .
# \end{aligned}
# $$ (eq-original)
#
# The limit is that of the tangent kernel $\Theta$ {cite:p}`jacot2018ntk`. Both points of a pair are
# held out: the network is trained on neither.
#
# :::{prf:proposition} A linear model has no phases
# :label: prop-linear-control
#
# If $f_w(x) = w \cdot x + b$, then $S_{\rm rel}(x', x) = |x' \cdot x + 1| / (\lVert x \rVert^2 + 1)$
# for every step size and all weights, wherever $f_w(x) \neq y$.
# :::
#
# :::{prf:proof}
# The step is $w^+ = w - \eta r x$, $b^+ = b - \eta r$ with $r = f_w(x) - y$. So the prediction at $x'$
# changes by $-\eta r (x \cdot x' + 1)$, and $\eta r$ cancels in the ratio. $\square$
# :::
#
# So where $S_{\rm rel}$ moves, the nonlinearity of the network moves it. And the linear model's
# $S_{\rm rel}$ on the same pairs is a yardstick for *large*: it says how much a step at $x$ moves
# $x'$ if nothing but the inner product of the two inputs counts.

# %% [markdown]
# ## What counts as two phases
#
# The pairs of a setting are averaged to one curve per seed. Two straight lines that meet at a break
# are fitted to the mean over seeds, with a bootstrap interval of the break and a test against one
# line (`fit_two_phase`; it takes several curves, so that neither noise correlated along the steps nor
# differences between seeds spoil the test). The fit is against the step itself, at evenly spaced steps,
# because *rapidly* means per step. Against the logarithm of the step nearly every curve would have a
# break at its first motion, which is not the claim.

# %% tags=["hide-input"]
Markdown(f"""
:::{{prf:definition}} The rule
:label: def-two-phases

A setting has **two phases** if, in this order,

1. *moves*: the range of the mean curve is at least {rule.MOVES:.0%} of its largest value;
2. *breaks*: two lines fit better than one, $p \\le {rule.ALPHA}$, where $p$ is adjusted by Holm's method
   for all rows of the table below {{cite:p}}`holm1979simple`;
3. *rests*: the break lies in the first half of the steps, the slope after it is at most {rule.REST:.0%} of
   that before, and from the break to the end $S_{{\\rm rel}}$ drifts by at most {rule.REST:.0%} of the plateau;
4. *own scale*: the first half of the steps alone gives a break at no less than {rule.OWN_SCALE:.2f} times the
   break of all steps, and the break is late enough for the grid of steps to tell.

The plateau is **large** if, besides,

5. it exceeds the $S_{{\\rm rel}}$ of a linear model on the same pairs (95 % interval of the ratio over seeds
   above 1), and is at least {rule.LIKE_TANGENT:.0%} of the tangent-kernel $S_{{\\rm rel}}$ of the final network.
:::
""")

# %% [markdown]
# The fourth question is there because of curves such as the logarithm. They bend, and two lines fit
# them far better than one, but where they bend depends on when one stops looking: with half the steps,
# the break comes at half the step. A break that belongs to the training stays where it is.
#
# The rule has not been changed since. Four choices around it were made after the first results:
#
# - $S_{\rm rel}$ is measured at finer steps, because the answer to the fourth question had been *too early to tell* in some
#   cases;
# - only pairs that are defined at every step are averaged, because the linear control had seemed to move, when pairs
#   with a residual of exactly zero dropped out;
# - gates have more pairs than the others, because most of their pairs never move;
# - settings with smaller and larger initial weights were added, because $S_{\rm rel}$ seemed to depend on them.
#
# Evidence against the claim would be curves that do not move, that never stop moving, or that rest below the level of a
# linear model. The claim does not say whether $S_{\rm rel}$ rises or falls to its plateau, so the
# direction is no part of the rule; we report it.

# %% [markdown]
# ## The experiments

# %% tags=["hide-input"]
trainings = {s.n_steps for s in settings}
Markdown(
    f"{len(settings)} settings, each from {len(first.seeds)} seeds, which share nothing: a seed draws "
    f"the data, the target, the first weights, the batches and the pairs ({first.n_pairs} of each kind). "
    f"The starting points are a ReLU and a tanh network of depth {first.depth} (layers of weights) and width "
    f"{first.width}, with torch's own initialisation, which learn from {first.n_train} points by SGD in batches of "
    f"{BATCH_SIZE} with $\\eta = {first.lr:g}$ for {first.n_steps:,} steps. "
    "From there, one thing is changed at a time: depth, width (at "
    "depth 2), learning rate, size of the initial weights (×2 means twice as large), the way of training "
    "(gd: all points at every step; adam), target and inputs. Single gates and linear models learn for "
    f"{min(trainings):,} steps. Weights and measurements are in double precision, and changes are "
    "propagated through the layers instead of being subtracted, so that there is no rounding to mistake for motion."
)

# %% tags=["hide-input"]
Markdown(
    "Targets: a *teacher* of the student's own kind, so that the student can learn it exactly; a *noisy "
    f"teacher*, with noise of {NOISE} standard deviations on the labels; a *smooth* function, "
    "$\\sin(2\\,u\\cdot x) + \\frac12 (v \\cdot x)^2$; and real data that ship with scikit-learn: "
    f"*diabetes*, {REAL['diabetes'].dimension} measurements on each of {REAL['diabetes'].n} "
    "patients and the progression of their disease {cite:p}`efron2004lars`; *nuclei*, "
    f"{REAL['nuclei'].dimension} mean properties of the cell nuclei in each of {REAL['nuclei'].n} images of breast masses, and the "
    "compactness of the most compact ones {cite:p}`street1993nuclear`; *wine*, the alcohol of "
    f"{REAL['wine'].n} wines and {REAL['wine'].dimension} other measurements of them {{cite:p}}`aeberhard1992wine`, of which at "
    f"most {REAL['wine'].n_train} are trained on. Drawn inputs have {DIMENSION} dimensions: "
    "Gaussian, or a *mixture* of a near and a far Gaussian, so that the two points of a pair lie *within* "
    "a cluster or *across* the two."
)

# %% tags=["hide-input"]
control = [row for row in rows if row.setting.family == "linear"]
deviation = max(
    float(abs(results[row.setting].s_rel / results[row.setting].s_rel_linear - 1).max())
    for row in control
)
missing = {s: float(r.s_rel.isel(rule=0).isnull().mean()) for s, r in results.items()}
asleep = [share for s, share in missing.items() if s.family == "relu_gate"]
elsewhere = max(share for s, share in missing.items() if s.family != "relu_gate")
digit, power = f"{deviation:.0e}".split("e")
Markdown(
    f"*The control.* In the linear models no pair departs from {{prf:ref}}`prop-linear-control` by more "
    f"than ${digit} \\times 10^{{{int(power)}}}$ of its value at any step, in any of {len(control)} rows. "
    f"*Undefined pairs.* In a gate {min(asleep):.0%} to {max(asleep):.0%} of the values are undefined, because a "
    f"step on a sample at which the gate is shut changes nothing; elsewhere at most {elsewhere:.1%} are. "
    "Only pairs that are defined at every measured step "
    "count: if pairs came and went, their average would move though none of them does."
)

# %% [markdown]
# ## Data and targets

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean S_rel against the step on a logarithmic axis for ReLU networks above and tanh networks below: Gaussian inputs with three targets, mixtures within and across clusters, and three sets of real data."}, "figure": {"name": "fig-targets", "caption": "Mean $S_{\\rm rel}$ over pairs and seeds against the step (logarithmic) for ReLU (top) and tanh (bottom). Dotted: the linear model on the same pairs. In the middle solid lines are pairs within a cluster, dashed ones pairs across."}}
LINES = {"any": "-", "within": "-", "across": "--"}
with style():
    figure, panels = plt.subplots(2, 3, figsize=(10.5, 6), sharex=True, layout="constrained")
    for row_of_panels, (activation, about) in zip(panels, base.items(), strict=True):
        colour = dict(zip(("teacher", "noisy_teacher", "smooth", *REAL),
                          (SAME, *OTHERS[:2], SAME, *OTHERS[:2]), strict=True))  # fmt: skip
        for row in rows:
            s = row.setting
            if (
                replace(
                    s,
                    target="teacher",
                    inputs="gaussian",
                    n_train=about.n_train,
                    more_rules=about.more_rules,
                )
                != about
            ):
                continue
            panel = 1 if s.inputs == "mixture" else 2 if s.target in REAL else 0
            axes = row_of_panels[panel]
            mean = (
                results[s]
                .s_rel.isel(rule=0)
                .where(results[s].kind == row.kind)
                .mean(("seed", "pair"))
            )
            late = slice(1, None)
            label = s.target.replace("_", " ") if row.kind != "across" else None
            axes.plot(
                mean.step[late],
                mean[late],
                color=colour[s.target],
                linestyle=LINES[row.kind],
                label=label,
            )
            axes.axhline(
                row.case.linear.mean(),
                color=colour[s.target] if panel == 2 else "black",
                linestyle=":",
                linewidth=1,
            )
        row_of_panels[0].set_ylabel(f"mean $S_{{\\rm rel}}$, {activation}")
    for axes, title in zip(panels[0], ("Gaussian inputs", "mixture", "real data"), strict=True):
        axes.set_title(title)
        axes.legend(loc="lower left")
    for axes in panels.ravel():
        axes.set(xscale="log", ylim=(0, None))
    for axes in panels[1]:
        axes.set_xlabel("training step")
plt.show()

# %% [markdown]
# ## All settings


# %% tags=["hide-input"]
def number(p):
    return f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


lines = [
    "| setting | $S_{\\rm rel}$: start → plateau (range) | break, step | late / early slope | drift | half / all | $p$ | plateau / linear | plateau / final kernel | verdict |",
    "|---|---|---|---|---|---|---|---|---|---|",
]
for row in all_rows:
    v, fit = row.judgement, row.judgement.fit
    cells = ["—"] * 5
    if fit:
        low, high = fit.interval
        cells = [
            f"{fit.break_step:.0f} [{low:.0f}, {high:.0f}]", f"{v.slopes:.3f}",
            f"{v.drift:.0%}", f"{v.half_break:.2f}", number(v.p_adjusted),
        ]  # fmt: skip
    estimate, low, high = v.to_linear
    lines.append(
        f"| {row.name} | {v.start:.2f} → {v.plateau:.2f} ({v.moved:.0%}) | {' | '.join(cells)} "
        f"| {estimate:.2f} [{low:.2f}, {high:.2f}] | {v.to_tangent:.2f} | {v.words} |"
    )
Markdown(folded(f"All {len(all_rows)} cases", "\n".join(lines)))

# %% [markdown]
# The columns are those of {prf:ref}`def-two-phases`: *range* and *drift* as shares of the largest value and
# of the plateau, $p$ adjusted for all rows, the ratio to the linear model with its 95 % interval over seeds.
# Where there is no fit, the curve is constant up to rounding. Most $p$ are equal: the bootstrap cannot give a
# value below one over its number of curves, and this smallest value is multiplied by the number of rows. Rows
# share seeds, and therefore data; Holm's method allows for any dependence.

# %% [markdown]
# (sec-two-phases)=
# ## What was found

# %% tags=["hide-input"]
groups = {
    "two phases, large": "**Two phases with a large plateau, as claimed,** in",
    "two phases, not large": "Two phases, but **a plateau that is not large,** in",
    "a break too early to tell": "**A break too early** for these steps to place it, in",
    "no scale of its own": "A break that **moves with the length of the training,** in",
    "a break, no rest": "A break, but **no rest after it,** in",
    "one trend, no break": "**No break** that these seeds can tell from one straight trend, in",
    "does not move": "**No motion** to speak of in",
}
for words, said in groups.items():
    found = [row for row in rows if row.judgement.words == words]
    display(Markdown(f"{said} {len(found)} of {len(rows)} rows ({listed(found)})."))

# %% tags=["hide-input"]
moving = [row for row in networks if row.judgement.checks["moves"]]
rising = [row for row in moving if row.rises]
holds = [row for row in networks if row.judgement.words == "two phases, large"]
higher = [row for row in networks if row.judgement.to_linear[1] > 1]
lower = [row for row in networks if row.judgement.to_linear[2] < 1]
if len(holds) == len(networks):
    verdict = "holds in all of them"
elif not holds:
    verdict = "holds as a whole in none of them"
else:
    verdict = f"holds as a whole in {len(holds)}, and in the others it does not"
steep = [r for r in moving if r.judgement.checks["breaks"] and abs(r.judgement.slopes) <= rule.REST]
Markdown(
    f"**Verdict,** on the {len(networks)} rows with networks of more than one layer. By the rule, {sum(row.judgement.two_phases for row in networks)} have two phases, and the claim {verdict}. Its parts fare differently. *An early phase of rapid "
    f"change:* of {len(moving)} in which $S_{{\\rm rel}}$ moves, {len(steep)} have a break after which it "
    f"changes at most {rule.REST:.0%} as fast. *Direction:* it rises in {len(rising)} of the rows that move and falls in {len(moving) - len(rising)}"
    f"{f' (rises: {listed(rising)})' if rising else ''}. *Large:* the late level lies above a linear model's in {len(higher)} of "
    f"{len(networks)} rows, below it in {len(lower)}, and cannot be told from it in {len(networks) - len(higher) - len(lower)}."
)

# %% tags=["hide-input"]
ratio = np.array([row.judgement.plateau / row.judgement.start for row in moving])
to_linear = np.array([row.judgement.to_linear[0] for row in moving])
nearer = np.abs(np.log(to_linear)) < np.abs(np.log(to_linear / ratio))
still = [row for row in networks if not row.judgement.checks["moves"]]


def own_way(row):
    """How far a pair ends from where it began, over the mean S_rel at the start."""
    chosen = results[row.setting].s_rel.isel(rule=0).where(results[row.setting].kind == row.kind)
    gone = abs(chosen.isel(step=-1) - chosen.isel(step=0))
    return float(gone.mean() / chosen.isel(step=0).mean())


pairs_move = [own_way(row) for row in still]
Markdown(
    f"*Remains large* is the weak point. Where $S_{{\\rm rel}}$ moves, the plateau is {ratio.min():.0%} to "
    f"{ratio.max():.0%} of the level at the start ({np.median(ratio):.0%} in the median row)"
    f"{': it is the lowest that the curve gets to, not a height that it keeps' if ratio.max() < 1 else ''}. "
    f"In {nearer.sum()} of {len(moving)} rows the plateau is nearer to the linear model's level, in ratio, than the start was. "
    + (
        f"In the {len(still)} rows whose mean does not move, single pairs end away from where they began, "
        f"by {min(pairs_move):.1%} to {max(pairs_move):.0%} of the mean level."
        if still else ""
    )
)  # fmt: skip

# %% [markdown]
# What moves the break and the plateau, when the break comes compared with the loss, and what the closed forms
# explain of it, is the subject of {doc}`regression_why`.
#
# ### How far this depends on choices
#
# The rule judges the mean over pairs, after an SGD step with the learning rate of the training. The table repeats the judgement
# with the median over pairs, with the limit of small steps, and with weaker conditions for rest.

# %% tags=["hide-input"]
variants = {
    "as above": rows,
    "median over pairs": [
        row for row in judged_rows(results, average=np.median) if not row.next_step
    ],
    "limit of small steps": judged_rows(results, rule="tangent"),
    **{
        f"rests: {limit:.0%} for {rule.REST:.0%}": [
            replace(row, judgement=replace(row.judgement, rest=limit)) for row in rows
        ]
        for limit in (2 * rule.REST, 3 * rule.REST)
    },
}
lines = [f"| | {' | '.join(groups)} | verdicts that differ |", "|---" * (len(groups) + 2) + "|"]
for name, some in variants.items():
    found = Counter(row.judgement.words for row in some)
    differ = sum(a.judgement.words != b.judgement.words for a, b in zip(rows, some, strict=True))
    lines.append(f"| {name} | {' | '.join(str(found[words]) for words in groups)} | {differ} |")
Markdown("\n".join(lines))

# %% tags=["hide-input"]
rests_in_log = 0
for row in networks:
    case = rule.case_of(results[row.setting], row.kind, log_steps=True)
    try:
        fit = fit_two_phase(case.steps, case.curves)
    except NoBreakError:
        continue
    rests_in_log += abs(fit.slope_late) <= rule.REST * abs(fit.slope_early)
rests_in_step = sum(abs(row.judgement.slopes) <= rule.REST for row in networks)
Markdown(
    f"Of the {len(networks)} rows with networks, {rests_in_step} have a late slope of at most {rule.REST:.0%} of the early "
    f"one against the step, and {rests_in_log} against the logarithm of the step. So how *rapid* and *constant* "
    f"are meant {'decides much' if abs(rests_in_step - rests_in_log) > len(networks) / 4 else 'decides little'}: "
    "against the logarithm, a curve that falls as much in the last tenfold of the steps as in the one before has not come to rest."
)

# %% [markdown]
# ## Where these numbers come from

# %% tags=["hide-input"]
attributes = [result.attrs for result in results.values()]
facts = {
    "commit": {varying(plain(a["commit"])) for a in attributes},
    "device": {plain(a["device"]) for a in attributes},
    "threads": {varying(plain(a["threads"])) for a in attributes},
    "PyTorch": {plain(a["torch"]) for a in attributes},
    "computed": {varying(plain(a["created"][:10])) for a in attributes},
    "digest of the code": {plain(a["code_digest"][:12]) for a in attributes},
}
lines = ["| " + " | ".join([*facts, "run time of all trainings"]) + " |", "|---" * 7 + "|"]
total = sum(float(a["wall_seconds"]) for a in attributes)
lines.append(
    "| "
    + " | ".join(", ".join(sorted(map(str, v))) for v in facts.values())
    + f" | {varying(f'{total:.0f} s')} |"
)
Markdown("\n".join(lines))

# %% [markdown]
# The verdict in {doc}`verdicts` is on the committed results of the `laptop` profile:

# %% tags=["hide-input"]
committed = regression_file.load()
Markdown(f"- Regression: {badge(committed)}" if committed is not None else "There are none yet.")
