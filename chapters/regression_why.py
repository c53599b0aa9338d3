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
# # Regression: what moves S_rel
#
# {doc}`regression_two_phase` judges whether the original $S_{\rm rel}$ has two phases. Here the same trainings are
# asked what its motion depends on: the network and its first weights, the loss, the step that is
# measured, and, in a single gate, the flow itself. Definitions, rule, settings and where the results come
# from are there, and a table with the numbers of every setting.

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

from srel_core.book.figures import regression
from srel_core.book.figures.style import OTHERS, SAME, style
from srel_core.book.regression import two_phase_rule as rule
from srel_core.book.regression.rows import LEARNT, gate_movement, judged_rows
from srel_core.experiments.regression.settings import bases, varied
from srel_core.experiments.regression.side_by_side import run_profile
from srel_core.rules import OPTIMIZER

results = run_profile(profile, seeds, results_dir or None, device)
settings = list(results)
all_rows = judged_rows(results)
following = [row for row in all_rows if row.next_step]
by_setting = {(row.setting, row.kind): row for row in all_rows if not row.next_step}
networks = [row for row in by_setting.values() if row.setting.family == "mlp"]
base = bases(settings)
first = base["relu"]


def swept(about, field):
    """(label, row) for each value of a field."""
    centre = replace(about, depth=2) if field == "width" else about
    found = varied(settings, centre, field)
    if field == "training":
        found += [
            s for s in settings
            if (s.training, s.activation, s.target) == ("adam", about.activation, "teacher")
        ]  # fmt: skip
    values = [getattr(s, field) for s in found]
    labels = values if field == "training" else [f"{value:g}" for value in values]
    return list(zip(labels, (by_setting[s, "any"] for s in found), strict=True))


def at_values(activation, field, value):
    """Value → a number of the row, for the rows of a sweep."""
    return {label: value(row.judgement) for label, row in swept(base[activation], field)}


# %% tags=["hide-input", "code-below"]
ranges = {a: at_values(a, "width", lambda v: v.moved) for a in base}
narrow, *_, widest = ranges["relu"]
Markdown(
    f"From width {narrow} to width {widest}, the range of $S_{{\\rm rel}}$ during training goes from "
    + ", and from ".join(
        f"{of[narrow]:.0%} to {of[widest]:.0%} of its largest value with {a}"
        for a, of in ranges.items()
    )
    + ". Trained by Adam, "
    f"{sum(row.judgement.two_phases for row in following)} of {len(following)} networks have two phases by the step that "
    "Adam takes next."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Six pairs of panels, one for each quantity varied: width, depth, learning rate, size of the initial weights, training, step rule. Above the break of S_rel with its interval, below S_rel at the start and at the plateau over that of a linear model."}, "figure": {"name": "fig-sweeps", "caption": "One thing changed at a time, for ReLU and tanh networks that learn a teacher. In each pair, above: the break with its 95 % interval (hollow where the row does not move or has no break by the rule). Below: $S_{\\rm rel}$ over that of a linear model, at the start (hollow) and on the plateau (with its 95 % interval). The last pair measures one and the same training under three steps."}}
FIELDS = {
    "width": "width (depth 2)",
    "depth": "depth",
    "lr": "learning rate",
    "gain": "initial weights ×",
    "training": "training",
}
under_rule = {  # judged by themselves: the same training, another step
    activation: dict(
        zip(
            ("sgd", "limit", "adam"),
            rule.judge({n: rule.case_of(results[s], "any", n) for n in s.rules}).values(),
            strict=True,
        )
    )
    for activation, s in base.items()
}
columns = {
    title: {a: [(label, row.judgement) for label, row in swept(s, field)] for a, s in base.items()}
    for field, title in FIELDS.items()
} | {"step rule": {a: list(v.items()) for a, v in under_rule.items()}}  # fmt: skip
with style():
    figure, panels = plt.subplots(4, 3, figsize=(10.5, 9), sharey="row", layout="constrained")
    panels[2, 0].sharey(panels[0, 0])
    panels[3, 0].sharey(panels[1, 0])
    tops, bottoms = panels[::2].flat, panels[1::2].flat
    for top, bottom, (title, lines) in zip(tops, bottoms, columns.items(), strict=True):
        for shift, (activation, points) in zip((-0.08, 0.08), lines.items(), strict=True):
            regression.sweep(top, bottom, points, regression.COLOURS[activation], activation, shift)
        bottom.axhline(1, color="black", linestyle=":", linewidth=1)
        top.set(title=title, yscale="log")
        top.sharex(bottom)
        top.tick_params(labelbottom=False)
    for above, below in panels[:, 0].reshape(2, 2):
        above.set_ylabel("break (step)")
        below.set_ylabel("$S_{\\rm rel}$ / linear model")
    panels[0, 0].legend(loc="upper left")
plt.show()

# %% tags=["hide-input"]
sentences = []
for activation in base:
    breaks = at_values(
        activation, "lr", lambda v: v.fit.break_step if v.checks["breaks"] else np.nan
    )
    times = [float(lr) * b for lr, b in breaks.items() if np.isfinite(b)]
    starts = at_values(activation, "gain", lambda v: v.start)
    moved = at_values(activation, "gain", lambda v: v.moved)
    wide = ranges[activation]
    deep = at_values(activation, "depth", lambda v: v.start)
    sgd, _, adam = under_rule[activation].values()
    spread = (
        f"Over learning rates, the break comes at a time $\\eta s$ between {min(times):.1f} and {max(times):.1f}, "
        f"a factor of {max(times) / min(times):.1f} where the learning rate itself varies by a factor of "
        f"{max(map(float, breaks)) / min(map(float, breaks)):.0f}. "
        if len(times) > 1 else ""
    )  # fmt: skip
    sentences.append(
        f"*{activation}.* {spread}"
        f"With larger initial weights, $S_{{\\rm rel}}$ starts "
        f"{'lower' if [*starts.values()] == sorted(starts.values(), reverse=True) else 'at'} "
        f"({', '.join(f'×{g}: {v:.2f}' for g, v in starts.items())}) and moves "
        f"by {', '.join(f'{v:.0%}' for v in moved.values())} of its largest value. "
        f"At depths {', '.join(deep)} it starts at {', '.join(f'{v:.2f}' for v in deep.values())}. "
        f"From width {narrow} to width {widest}, the range of the curve goes from {wide[narrow]:.0%} to {wide[widest]:.0%} of its largest value. "
        f"The same training measured with the first step of a fresh Adam gives {adam.start:.2f} → {adam.plateau:.2f} "
        f"({adam.words}), where the SGD step gives {sgd.start:.2f} → {sgd.plateau:.2f} ({sgd.words})."
    )
display(Markdown("\n\n".join(sentences)))

# %% [markdown]
# The wider such a network, the less its tangent kernel changes while it learns
# {cite:p}`jacot2018ntk`, and where the kernel stays, {eq}`eq-original` stays: a wide network is as
# inelastic as a linear model, from the first step on.

# %% [markdown]
# ## When the break comes, compared with the loss

# %% tags=["hide-input"] mystnb={"image": {"alt": "Break of S_rel with its interval against the step by which ninety percent of the fall of the loss is done, logarithmic axes, with the line of equality."}, "figure": {"name": "fig-loss", "caption": "The break of $S_{\\rm rel}$, with its 95 % interval, against the step by which 90 % of the fall of the training loss is done (median over seeds), for networks that move and break. The line is equality."}}
broken = [row for row in networks if row.judgement.checks["breaks"]]
with style():
    figure, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
    for activation, colour in regression.COLOURS.items():
        some = [r for r in broken if r.setting.activation == activation]
        regression.against(
            axes, [float(np.median(r.learnt_at)) for r in some], [r.judgement.fit.break_step for r in some],
            np.array([r.judgement.fit.interval for r in some]), colour, activation,
        )  # fmt: skip
    ends = np.array([first.n_steps / 100, first.n_steps])
    axes.plot(ends, ends, color="black", linewidth=1)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=ends,
        ylim=ends,
        xlabel="90 % of the fall of the loss done by step",
        ylabel="break of $S_{\\rm rel}$ (step)",
    )
    axes.legend(loc="lower right")
plt.show()

# %% tags=["hide-input"]
if broken:
    before = [r for r in broken if r.judgement.fit.break_step < np.median(r.learnt_at)]
    share = np.array([np.median(r.at_break) for r in broken])
    text = (
        f"Of {len(broken)} rows with networks that move and break, the break comes before {LEARNT:.0%} of the fall of the loss is done in "
        f"{len(before)}, and after it in {len(broken) - len(before)}. At the break the loss has done "
        f"{np.median(share):.0%} of its fall in the median row, between {share.min():.0%} and {share.max():.0%} in all of them."
    )
else:
    text = "No row moves and breaks, so there is nothing to compare with the loss."
Markdown(text)

# %% [markdown]
# ## By the step that Adam takes next
#
# A network trained by SGD takes the very step that is measured here. One trained by Adam does not: in the step that
# Adam takes next, moments and all, a sample's own gradient makes up a tenth of the numerator; the rest comes from
# earlier batches, and moves every prediction, whatever the sample. So the same trainings are measured twice.

# %% tags=["hide-input"] mystnb={"image": {"alt": "S_rel of the median pair against the step for networks trained by Adam on five targets, ReLU above and tanh below: by an SGD step, and by Adam's next step, which moves up and down."}, "figure": {"name": "fig-next-step", "caption": "$S_{\\rm rel}$ of the median pair, averaged over seeds, in networks that Adam trains, by an SGD step (blue) and by the step that Adam takes next (orange). Dotted: the linear model on the same pairs."}}
medians = judged_rows(results, average=np.median)
by_step, median_by_step = (
    {(row.setting, row.next_step): row for row in some if OPTIMIZER in row.setting.more_rules}
    for some in (all_rows, medians)
)
trained = [row.setting for row in following]
targets = list(dict.fromkeys(s.target for s in trained))
with style():
    figure, panels = plt.subplots(
        2, len(targets), figsize=(10.5, 5), sharex=True, sharey="row", layout="constrained"
    )
    for axes_of, activation in zip(panels, base, strict=True):
        for axes, target in zip(axes_of, targets, strict=True):
            (s,) = (s for s in trained if (s.activation, s.target) == (activation, target))
            for rule_at, colour, label in (
                (0, SAME, "SGD step"),
                (list(s.rules).index(OPTIMIZER), OTHERS[0], "Adam's next"),
            ):
                median = results[s].s_rel.isel(rule=rule_at).median("pair").mean("seed")[1:]
                axes.plot(median.step, median, color=colour, label=label)
            linear = median_by_step[s, False].case.linear.mean()
            axes.axhline(linear, color="black", linestyle=":", linewidth=1)
            axes.set(xscale="log")
        axes_of[0].set_ylim(bottom=0)
        axes_of[0].set_ylabel(f"median $S_{{\\rm rel}}$, {activation}")
    for axes, target in zip(panels[0], targets, strict=True):
        axes.set_title(target.replace("_", " "))
    for axes in panels[1]:
        axes.set_xlabel("training step")
    panels[0, 0].legend(loc="lower left")
plt.show()

# %% tags=["hide-input"]
by_sgd, by_next, by_median = (
    [of[s, next_step].judgement for s in trained]
    for of, next_step in ((by_step, False), (by_step, True), (median_by_step, True))
)


def spread(judgements):
    moved = [judgement.moved for judgement in judgements]
    return f"{min(moved):.0%} to {max(moved):.0%}"


Markdown(
    f"Of {len(trained)} trainings by Adam, {sum(j.two_phases for j in by_sgd)} have two phases by the SGD step, and "
    f"{sum(j.two_phases for j in by_next)} by the step that is taken "
    f"({', '.join(f'{w}: {n}' for w, n in Counter(j.words for j in by_next).most_common())}). "
    f"By that step the range of the mean curve is {spread(by_next)} of its largest value, where it was {spread(by_sgd)}; its late level "
    f"lies above a linear model's in {sum(j.to_linear[1] > 1 for j in by_next)} of {len(trained)}. "
    "Single pairs dominate such a mean: "
    "$S_{\\rm rel}$ is large wherever the prediction at the sample itself happens to stay put, as it may under a "
    "step that the sample does not decide. By the median pair in place of the mean, "
    f"{sum(j.two_phases for j in by_median)} of {len(trained)} have two phases, the range is "
    f"{spread(by_median)}, and the late level lies above a linear model's in {sum(j.to_linear[1] > 1 for j in by_median)}."
)

# %% [markdown]
# ## Why: what the closed forms predict
#
# For a single gate whose inputs are standard normal, {doc}`flow_gate` solves the gradient flow: a pair
# switches on or off when $w(t)$ crosses the hyperplane of its probe, at a time known beforehand, and the
# crossings thin out like $e^{-t/2}$. Where $S_{\rm rel}$ switches on as often as off, the mean over pairs
# says little. So here we take how far the pairs have moved, $|S_{\rm rel}(t) - S_{\rm rel}(0)|$, and compare
# the network's own training (on many points, all of them at every step) with the flow, with $t = \eta s$, for
# the same pairs and the same initial weights.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Mean distance moved by the pairs of a gate against time, as measured and as the closed form predicts, for three learning rates; the breaks of both marked."}, "figure": {"name": "fig-gate-flow", "caption": "How far the pairs of a gate have moved, against time, for three learning rates. Colour: measured (thin: seeds), with the interval of its break as a band; dashed: the closed form for the same pairs; dotted: its break."}}
gates = [
    s for s in settings if s.family == "relu_gate" and s.training == "gd" and s.target == "teacher"
]
motions = {s: gate_movement(s, results[s]) for s in sorted(gates, key=lambda s: s.lr)}
with style():
    figure, panels = plt.subplots(
        1, len(motions), figsize=(10.5, 3.6), sharey=True, layout="constrained"
    )
    for axes, (s, motion) in zip(panels, motions.items(), strict=True):
        regression.movement(axes, motion, OTHERS[0], "network")
        axes.set(title=f"$\\eta$ = {s.lr:g}", xlabel="time $t = \\eta s$")
    panels[0].set_ylabel("mean $|S_{\\rm rel}(t) - S_{\\rm rel}(0)|$")
    panels[0].legend(loc="upper left")
plt.show()

# %% tags=["hide-input"]
lines = [
    "| $\\eta$ | steps | break, measured (time) | break, closed form (time) | inside the interval | largest difference of the mean curves |",
    "|---|---|---|---|---|---|",
]
agree, found = 0, []
for s, motion in motions.items():
    found.append(motion.fit_measured.break_step)
    low, high = motion.fit_measured.interval
    inside = low <= motion.fit_predicted.break_step <= high
    agree += inside
    gap = (
        np.abs(motion.measured.mean(0) - motion.predicted.mean(0)).max()
        / motion.predicted.mean(0).max()
    )
    lines.append(
        f"| {s.lr:g} | {s.n_steps:,} | {motion.fit_measured.break_step:.2f} [{low:.2f}, {high:.2f}] "
        f"| {motion.fit_predicted.break_step:.2f} | {'yes' if inside else 'no'} | {gap:.1%} |"
    )
display(Markdown("\n".join(lines)))
display(
    Markdown(
        f"The break that the closed form predicts lies in the interval of the measured one in {agree} of {len(motions)} trainings. "
        "The time scale of $e^{-t/2}$ is 2; two lines put the break at "
        f"{min(found) / 2:.1f} to {max(found) / 2:.1f} times that, at every learning rate. "
        "The linear control has no break to predict: by {prf:ref}`prop-linear-control` its time scales, "
        "those of the loss, do not touch $S_{\\rm rel}$."
    )
)

# %% [markdown]
# $S_{\rm rel}$ moves while the *kernel* moves, and rests when it does. The fall of the loss as such plays no
# part in it, as the linear model shows. In a gate the kernel moves on the time scale of the training, because
# the weights that fit the target also decide which points are active.
#
# For deeper networks there is no closed form here, but the same reading fits what was found. Where
# $S_{\rm rel}$ begins is decided by the initial weights: small ones, and many layers of them, make all
# inputs look alike to the last layer, so that a step moves the prediction everywhere. Learning tells the
# inputs apart, and $S_{\rm rel}$ comes down.
