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
# # Beyond images: learning by heart, and then not
#
# A small transformer that is to add modulo a prime learns by heart, at once, the pairs it is shown; much later,
# within a few steps, it gets the others right as well {cite:p}`power2022grokking`. Its training loss gives no sign of
# that. Does local elasticity? If the network has found what pairs with the same answer have in common, a step on one
# of them should move the others in a different way from before. And does this show earlier than in the accuracy on
# held-out pairs?

# %% tags=["parameters"]
profile: str = "laptop"  # smoke: two short trainings; laptop, paper: five
results_dir: str = ""  # as in every chapter; here nothing is kept
seed: int = 0  # the first of the seeds

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

from srel_core.book.figures.style import OTHERS, SAME, style
from srel_core.book.text.costs import table
from srel_core.choices import check_known
from srel_core.experiments.modular_addition import DIVERGENCES, ModularAddition, run_all
from srel_core.experiments.profiles import PROFILES
from srel_core.statistics.intervals import mean_interval, side_of

check_known("profile", profile, PROFILES)

# %%
experiment = ModularAddition(n_steps=80) if profile == "smoke" else ModularAddition()
seeds = range(seed, seed + (2 if profile == "smoke" else 5))
courses = run_all(experiment, seeds)

# %% tags=["hide-input"]
Markdown(
    f"Addition modulo {experiment.p}, one layer of width {experiment.width}. Of the pairs, (a, b) and (b, a) together, "
    f"{experiment.trained_share:.0%} are trained on, all at once, by AdamW with learning rate {experiment.lr:g} and "
    f"weight decay {experiment.weight_decay:g}. Every {experiment.measure_every} steps a gradient step of learning rate 1e-3 is "
    f"taken on {experiment.answers * experiment.per_answer} trained pairs with {experiment.answers} different answers, each by itself; "
    "the probes are all held-out pairs with one of these answers. The same-class AUC asks whether it moves the prediction "
    f"more where the answer is the same. {len(courses)} seeds."
)

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "Against the training step: accuracy on trained and held-out pairs, and below the AUC of pairs with the same answer by two divergences, a thin line for each seed and a thick one for their mean."}, "figure": {"name": "fig-grokking", "caption": "Above: accuracy on the pairs that are trained on, and on the others. Below: the AUC of held-out pairs with the same answer, by the divergence of the predictions and by the norm of the change of the raw outputs; one half is where the answer does not matter. Thin: each seed; thick: their mean."}}
steps = courses[0].steps
with style():
    _, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")

    def lines(axes, curves, colour, label):
        axes.plot(steps, np.transpose(curves), color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(steps, np.mean(curves, 0), color=colour, linewidth=2, label=label)

    lines(above, [c.trained for c in courses], OTHERS[0], "trained")
    lines(above, [c.held_out for c in courses], SAME, "held out")
    for name, colour, label in zip(
        DIVERGENCES, (SAME, OTHERS[1]), ("KL", "norm of raw outputs"), strict=True
    ):
        lines(below, [c.auc[name] for c in courses], colour, label)
    below.axhline(0.5, color="grey", linestyle=":")
    above.set_ylabel("accuracy")
    below.set(ylabel="same-answer AUC", xlabel="training step")
    above.legend()
    below.legend()
plt.show()


# %% [markdown]
# When does each curve move? Its *resting value* is its median from the step at which the trained pairs are fitted
# until one held-out pair in ten is right. The curve has moved when, from the first of these steps on, it first goes
# half of the way to where it is farthest from its resting value. The accuracy is treated in the same way, so that
# all curves are asked the same.


# %% tags=["hide-input"]
def moved(curve, course):
    """The step at which a curve has gone half of its way, or NaN without a rest to start from."""
    fitted = np.flatnonzero(course.trained >= 0.99)
    late = np.flatnonzero(course.held_out >= 0.1)
    if not len(fitted) or not len(late) or late[0] <= fitted[0]:
        return np.nan
    rest = np.median(curve[fitted[0] : late[0]])
    way = np.abs(curve - rest)
    way[: fitted[0]] = 0
    return float(course.steps[np.argmax(way >= way.max() / 2)])


def mean_of(values):
    mean, low, high = mean_interval(values)
    return f"{mean:.0f} [{low:.0f}, {high:.0f}]"


NAMES = {"kl": "AUC by KL", "l2_logits": "AUC by the norm"}
whole = [c for c in courses if np.isfinite(moved(c.held_out, c))]
if len(whole) < 2:
    told = (
        f"Of {len(courses)} trainings {len(whole)} went on to generalise within {experiment.n_steps} steps: too few to compare. "
        "The `laptop` profile trains longer."
    )
else:
    accuracy = np.array([moved(c.held_out, c) for c in whole])
    rows = [["accuracy on held-out pairs", mean_of(accuracy), ""]]
    verdicts = []
    for name, words in NAMES.items():
        at = np.array([moved(c.auc[name], c) for c in whole])
        lead = accuracy - at
        said = {
            "above": f"{words} moves earlier than the accuracy",
            "below": f"{words} moves later than the accuracy",
            "undecided": f"{words}: cannot be told",
        }
        verdicts.append(said[side_of(mean_interval(lead)[1:], 0)])
        rows.append([words, mean_of(at), mean_of(lead)])
    told = (
        table(["curve", "half of its way at step", "steps before the accuracy"], rows)
        + f"\n\nOver {len(whole)} of {len(courses)} seeds, intervals of 95 %: {'; '.join(verdicts)}."
    )
Markdown(told)

# %% [markdown]
# This is one problem, one network and one way to train it. What it adds to the chapters on images is a case in which the accuracy
# on what is trained says nothing for most of the training, and what one step does to other inputs still changes.
