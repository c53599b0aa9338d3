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
# # What decides little
#
# More differences between the published notebooks and the definitions, after those of {doc}`audit`: one that is no
# difference for most networks, some that change the bands and not the curves, and some that cost nothing but
# time.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper: the size of the runs made for this page
results_dir: str = ""  # where these runs are kept; empty: the book's own
committed_dir: str = ""  # where the committed results are; empty: results/ of the book
dataset: str = (
    "digits"  # of the runs made for this page: digits, cifar10, cifar100, svhn, folder:PATH
)
seeds: list[int] = []  # one run for each; empty: as the profile says
device: str = "auto"  # cpu, cuda; auto: a GPU if there is one

# %% tags=["hide-input"]

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from torch.nn import functional as F

import srel_core as sc
from srel_core.book.claims.evidence import digits
from srel_core.book.committed.files import load_all
from srel_core.book.committed.write import summary_of
from srel_core.book.figures import paper
from srel_core.book.figures.style import OTHERS, SAME, style
from srel_core.book.figures.words import literal
from srel_core.book.published.numbers import NOT_RUN, PUBLISHED, title_of, with_published
from srel_core.book.text import result_tables
from srel_core.book.text.markup import code, plain, varying, without_folders
from srel_core.experiments.networks import build_model, mlp
from srel_core.experiments.profiles import class_experiments, require_rules
from srel_core.statistics.class_summary import class_summary

rules = ("adam:1e-4", "sgd:1e-4", "tangent")
experiments = class_experiments(profile, dataset, tuple(seeds) or None)
require_rules(experiments, rules)
runs = [experiment.run(results_dir or None, device) for experiment in experiments]
here = summary_of(runs)
shown = load_all(committed_dir or None)
HERE = f"{without_folders(dataset)}, this page"
everything = {**{title_of(name): part for name, part in shown.items()}, HERE: here}

# %% tags=["hide-input", "code-below"]
sentences = []
for title, summary in everything.items():
    mean = summary.limit_distance.sel(divergence="kl").mean("seed")
    for rule in (str(r) for r in summary.rule.values if str(r).startswith("sgd")):
        half, most = (mean.sel(rule=rule, quantile=q) for q in (0.5, 0.9))
        worst = int(half.values.argmax())
        sentences.append(
            f"**{plain(title)}, {code(rule)}.** At the checkpoint where it is farthest (step "
            f"{int(summary.step[worst])}) the median pair is off its limit by a factor of "
            f"{digits(float(np.exp(half[worst])))}, and one pair in ten by more than "
            f"{digits(float(np.exp(most[worst])))}; at the last checkpoint by {digits(float(np.exp(half[-1])))} "
            f"and {digits(float(np.exp(most[-1])))}."
        )
Markdown("\n\n".join(sentences))

# %% tags=["hide-input", "code-below"] mystnb={"image": {"alt": "For each data set, distance between the logarithm of S_rel of a gradient step and of its limit against the training step, for the median pair and for the 90 percent quantile."}, "figure": {"name": "fig-distance", "caption": "Distance of $S_{\\rm rel}$ (KL) of a gradient step from its limit, |log ratio|: 0.1 is about 10 %. Solid: the median pair; dotted: nine pairs in ten are nearer. Mean over seeds."}}
with style():
    figure, panels = plt.subplots(
        1,
        len(everything),
        figsize=(3.5 * len(everything), 3.2),
        squeeze=False,
        layout="constrained",
    )
    for axes, (title, summary) in zip(panels[0], everything.items(), strict=True):
        steps = [str(r) for r in summary.rule.values if str(r).startswith("sgd")]
        paper.distance(axes, summary, "kl", steps)
        axes.set_title(literal(title), fontsize=10)
    panels[0, 0].set_ylabel(r"$|\log S_{\rm rel} - \log \mathrm{limit}|$")
    panels[0, 0].legend(fontsize=8)
plt.show()

# %% [markdown]
# (sec-limit)=
# ## How far a step is from its limit
#
# The last rung replaces the gradient step by its limit for a vanishing length. Where the two differ,
# the step is *not small*: it changes the network beyond first order. For any given network the
# distance must vanish in proportion to the length of the step; here is one where it does.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Largest relative difference between S_rel of a gradient step and its limit against the learning rate, on logarithmic axes, with a line of slope one."}, "figure": {"name": "fig-limit", "caption": "A small network: $S_{\\rm rel}$ of a gradient step approaches its limit in proportion to the step's length. Dotted: proportional to the learning rate."}}
with torch.random.fork_rng():
    torch.manual_seed(1)
    small = mlp(10, (64, 64), 3).double()
    samples, probes = torch.randn(2, 12, 10, dtype=torch.float64)
labels = torch.arange(12) % 3
limit = sc.tangent_influence(small, samples, labels, probes)
rates = 10.0 ** np.arange(-6, 0.5, 0.5)
apart = {
    name: [
        float(
            (
                sc.influence(small, samples, labels, probes, rule=sc.SGD(float(rate))).s_rel(name)
                / limit.s_rel(name)
                - 1
            )
            .abs()
            .median()
        )
        for rate in rates
    ]
    for name in ("kl", "l2_logits")
}
with style():
    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for (name, values), colour in zip(apart.items(), (SAME, OTHERS[0]), strict=True):
        axes.loglog(rates, values, "o-", color=colour, label=name, markersize=4)
    axes.loglog(rates, values[0] * rates / rates[0], ":", color="black", linewidth=1)
    axes.set(xlabel="learning rate of the step", ylabel="median relative difference")
    axes.legend()
plt.show()

# %% [markdown]
# For the trained networks of the experiments, {numref}`fig-distance` shows the same distance, pair by pair, through
# the training.

# %% [markdown]
# A factor near 1 says that the learning rate plays no part in $S_{\rm rel}$, and that the tangent
# kernel {cite:p}`jacot2018ntk` describes it. A factor far from 1 says that the step is a large
# one for this network, however small the learning rate may look; its $S_{\rm rel}$ then depends on
# the step's length too.

# %% [markdown]
# ## What changes the band but not the curve
#
# ### The same seeds in both notebooks
#
# The notebooks for the two definitions use the same seeds, so they train the same networks twice. For
# a comparison of the definitions that is welcome. But there are three independent trainings for each
# data set, not six, and a finding that both notebooks share has been made three times.

# %%
first, second = (build_model("linear", 3, seed=0) for _ in range(2))
same = all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
print(f"same seed, same weights: {same}")

# %% [markdown]
# ### Three runs, and the standard deviation of three
#
# The published bands are the mean plus and minus one standard deviation, by `np.std` with its default,
# which divides by the number of runs. For three runs that is smaller than the usual estimate, and it is
# neither an interval for the mean nor one for the next run:

# %%
draws = np.random.default_rng(0).normal(size=(100_000, 3))
band = np.std(draws, axis=1)
middle = draws.mean(1)
print(
    f"np.std of 3 over the estimate with n − 1:  {band.mean() / np.std(draws, axis=1, ddof=1).mean():.3f}"
)
print(f"bands that hold the true mean:             {(np.abs(middle) < band).mean():.0%}")

# %% [markdown]
# ### Probes drawn once
#
# The indices of the probes are drawn once and used in every run. So the spread over runs does not
# show how much depends on *which* images were drawn. In our runs each seed draws its own. How much is
# at stake is seen within single runs, by drawing their samples again with replacement:

# %% tags=["hide-input"]
lines = [
    "| seed | preference, last epoch (KL, `sgd:1e-4`, ratio of means) | 95 % interval over samples alone |",
    "|---|---|---|",
]
each = []
for run in runs:
    alone = class_summary([run]).sel(rule="sgd:1e-4", divergence="kl").isel(epoch=-1)
    lower, upper = alone.epoch_preference_interval.values
    each.append((float(alone.epoch_preference), float(lower), float(upper)))
for experiment, (value, lower, upper) in zip(experiments, each, strict=True):
    lines.append(f"| {experiment.seed} | {digits(value)} | [{digits(lower)}, {digits(upper)}] |")
within = np.mean([np.log(upper / lower) / 4 for _, lower, upper in each])
between = np.std([np.log(value) for value, _, _ in each], ddof=1) if len(each) > 1 else np.nan
lines.append("")
lines.append(
    f"The standard deviation over the choice of samples is about {np.expm1(within):.0%}, that over "
    f"seeds, which includes it, {np.expm1(between):.0%}."
    if np.isfinite(between)
    else f"The standard deviation over the choice of samples is about {np.expm1(within):.0%}."
)
Markdown(f"{plain(HERE)}:\n\n" + "\n".join(lines))

# %% [markdown]
# ## "Test" images from the training set
#
# The notebooks' test loader draws from the training set, with the training's random crops and flips. Its
# accuracy says how well the network does on images it was trained on, and cannot show overfitting. An
# extreme case: a network that learns random labels by heart.

# %%
with torch.random.fork_rng():
    torch.manual_seed(0)
    memory = mlp(20, (256,), 3)
    inputs, fresh = torch.randn(2, 90, 20)
    answers, fresh_answers = torch.randint(3, (2, 90))
optimizer = torch.optim.Adam(memory.parameters(), lr=1e-2)
for _ in range(200):
    optimizer.zero_grad()
    F.cross_entropy(memory(inputs), answers).backward()
    optimizer.step()
for name, given, wanted in (("training", inputs, answers), ("new", fresh, fresh_answers)):
    print(f"accuracy on {name} points: {(memory(given).argmax(1) == wanted).float().mean():.2f}")

# %% tags=["hide-input"]
lines = [
    '| data set | published "test", last epoch | ours, training | ours, test images of the data set |',
    "|---|---|---|---|",
]
for name in with_published(shown):
    if name not in shown:
        cells = [NOT_RUN, NOT_RUN]
    else:
        cells = [
            digits(float(shown[name][f"{split}_accuracy"].mean("seed").isel(epoch=-1)))
            for split in ("train", "test")
        ]
    lines.append(
        f"| {plain(title_of(name))} | {digits(PUBLISHED[name].test_accuracy) if name in PUBLISHED else '—'} | {' | '.join(cells)} |"
    )
Markdown("\n".join(lines))

# %% [markdown]
# $S_{\rm rel}$ itself is measured at training images, in the published code and here, so this
# touches the accuracies alone.

# %% [markdown]
# ## Measuring changes what is measured
#
# For each step on a sample the notebooks construct a new network and copy the weights into it. Its
# first, random weights are thrown away, but drawing them moves PyTorch's global generator, from
# which the next epoch's batches come. So a training with measurements is not the same training as one
# without:


# %%
def next_batch(construct):
    torch.manual_seed(0)
    if construct:
        torch.nn.Linear(2, 2)
    return torch.randperm(8).tolist()


with torch.random.fork_rng():
    print("next batch, nothing measured: ", next_batch(construct=False))
    print("after one network constructed:", next_batch(construct=True))
    torch.manual_seed(0)
    sc.influence(
        torch.nn.Linear(10, 3), samples[:2].float(), labels[:2], probes.float(), rule=sc.SGD(1e-4)
    )
    torch.manual_seed(0)
    untouched = torch.random.get_rng_state()
    sc.influence(
        first, torch.zeros(1, 3, 32, 32), labels[:1], torch.ones(1, 3, 32, 32), rule=sc.SGD(1e-4)
    )
    print(
        "generator after sc.influence: ",
        "untouched" if torch.equal(untouched, torch.random.get_rng_state()) else "moved",
    )

# %% [markdown]
# Either training is as good as the other; but two notebooks that measure different amounts would no longer
# share it. In `srel_core` every random number comes from a stream of its own, and measuring takes none.

# %% [markdown]
# ## Work done twice
#
# The prediction before the step does not depend on the sample, yet the notebooks compute it again for every
# sample and every class of probes. This costs time and changes no number.

# %% [markdown]
# ## The ridge flow
#
# The notebooks for gradient flow on ridge regression have differences of their own: a penalty on
# another scale in the trajectory than in the loss, a factor in the numerator alone, and an average that
# is divided twice. {doc}`flow_ridge` computes that experiment both ways.

# %% [markdown]
# ## Where these numbers come from

# %% tags=["hide-input"]
Markdown(
    "\n\n".join(
        [
            result_tables.provenance_table(shown),
            f"The runs made for this page: {plain(without_folders(dataset))}, {profile} profile, seeds {', '.join(str(e.seed) for e in experiments)}, "
            f"commit {varying(code(runs[0].attrs['commit']))}, {plain(runs[0].attrs['device'])}, "
            f"{varying(result_tables.hours(sum(float(run.attrs['wall_seconds']) for run in runs)))} in all.",
        ]
    )
)
