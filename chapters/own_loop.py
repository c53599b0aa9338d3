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
# # Local elasticity in your own training loop
#
# The other chapters measure networks of the library's own. This page measures one of *yours*: a
# module written here, trained by a loop written here, on a folder of images. Use it as a pattern;
# what it finds about this small network is not a claim about others.
#
# The images are expected as `PATH/train/CLASS/IMAGE` and `PATH/test/CLASS/IMAGE`. Where the
# parameter `images` names no such folder, one is made of the digits that ship with scikit-learn
# {cite:p}`pedregosa2011sklearn`.

# %% tags=["parameters"]
profile: str = "laptop"  # smoke, laptop or paper
results_dir: str = ""  # as in every chapter; here nothing is kept
images: str = ""  # a folder of images; empty: one is made of digits
seed: int = 0  # of the weights, the batches and the probes

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

import srel_core as sc
from srel_core.book.figures.style import RULES, SAME, style
from srel_core.choices import check_known
from srel_core.experiments import datasets
from srel_core.statistics.by_class import same_class_auc

steps = {"smoke": 20, "laptop": 200, "paper": 1000}
measurements = {"smoke": 5, "laptop": 20, "paper": 20}
check_known("profile", profile, list(steps))


# %% [markdown]
# ## A folder of images


# %%
def digit_folder(root, digits=(0, 2, 4), per_class=100):
    """Write digits as image files, four in five for training."""
    pixels, labels = load_digits(return_X_y=True)
    for digit in digits:
        for i, image in enumerate(pixels[labels == digit][:per_class]):
            folder = root / ("test" if i % 5 == 0 else "train") / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            eight_bit = np.round(image.reshape(8, 8) * 255 / 16).astype(np.uint8)
            Image.fromarray(eight_bit).save(folder / f"{i:03d}.png")


if images:
    train = datasets.load_images(f"folder:{Path(images).resolve()}", None, "train")
else:
    with tempfile.TemporaryDirectory() as made:
        digit_folder(Path(made))
        train = datasets.load_images(f"folder:{made}", None, "train")
inputs = datasets.normalise(train.images)
print(f"{len(inputs)} images of the classes {', '.join(train.classes)}")

# %% [markdown]
# ## A network
#
# Any `torch.nn.Module` will do, as long as it maps a batch to one row of outputs for each input, and treats
# the inputs of a batch one by one. (Batch normalisation in training mode does not; the library says
# so, and names the module.) This one returns its outputs from a `forward` of its own:


# %%
class PatchNetwork(nn.Module):
    """Patches, mixed along the channels and averaged: a small network of one's own."""

    def __init__(self, n_classes, width=32):
        super().__init__()
        self.patches = nn.Conv2d(3, width, kernel_size=8, stride=4)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.head = nn.Linear(width, n_classes)

    def forward(self, pixels):
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        tokens = tokens + self.mix(self.norm(tokens))
        return self.head(tokens.mean(1))


torch.manual_seed(seed)
model = PatchNetwork(len(train.classes))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

# %% [markdown]
# ## The loop, with one line more
#
# The recorder holds its {term}`samples <sample>` and {term}`probes <probe>` fixed. It leaves the model as it is: weights, gradients,
# mode and the random numbers of the loop are those of a loop without it.

# %%
chosen = datasets.draw_per_class(train.labels, 8, seed)
probes, labels = inputs[chosen], train.labels[chosen]
recorder = sc.SrelRecorder(
    model,
    probes,
    labels,
    probes,
    rules={"sgd": sc.SGD(lr=1e-4), "limit": sc.Tangent()},
    divergences=("kl",),
    probe_classes=labels,
    sample_classes=labels,
)

losses = []
for step in range(steps[profile] + 1):
    if step % (steps[profile] // measurements[profile]) == 0:
        recorder.measure(step)  # the line
    batch = torch.randint(len(inputs), (32,))
    loss = nn.functional.cross_entropy(model(inputs[batch]), train.labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
measured = recorder.to_xarray()
measured.sizes

# %% [markdown]
# ## What was measured
#
# `measured` is an `xarray.Dataset`: `change` at every probe, `own` at every sample, and the
# predictions they come from, under each rule and divergence at each step.

# %% tags=["hide-input"]
auc = {}
for rule in ("sgd", "limit"):
    chosen_rule = measured.sel(rule=rule, divergence="kl")
    auc[rule] = [
        float(
            same_class_auc(
                chosen_rule.change.sel(step=step).values,
                measured.probe_class.values,
                measured.sample_class.values,
                exclude=measured.same_input.values,
            ).mean()
        )
        for step in measured.step
    ]

# %% tags=["hide-input"] mystnb={"image": {"alt": "Left: the loss of each batch of the user's own loop falls. Right: the same-class AUC of class-based S_rel in the course of that loop, for a gradient step and for its limit."}, "figure": {"name": "fig-own-loop", "caption": "One training loop, watched. Left: its loss on each batch. Right: same-class AUC of class-based $S_{\\rm rel}$, averaged over samples; dotted, no class structure."}}
with style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(losses, color=SAME, linewidth=1)
    left.set(xlabel="training step", ylabel="cross-entropy (nats)", yscale="log")
    right.plot(measured.step, auc["sgd"], color=RULES["sgd"], label="sgd:1e-4")
    right.plot(measured.step, auc["limit"], "--", color=RULES["tangent"], label="limit")
    right.axhline(0.5, color="black", linestyle=":", linewidth=1)
    right.set(xlabel="training step", ylabel="same-class AUC", ylim=(0, 1.02))
    right.legend(loc="lower right")
plt.show()

# %% tags=["hide-input"]
gap = max(abs(a - b) for a, b in zip(auc["sgd"], auc["limit"], strict=True))
Markdown(
    f"Before training the same-class AUC was {auc['sgd'][0]:.2f}, after {int(measured.step[-1])} steps "
    f"it was {auc['sgd'][-1]:.2f}. The gradient step of $10^{{-4}}$ and its limit differ by "
    f"{gap:.2g} at most. With {len(chosen)} samples and one seed these are illustrations: the "
    "functions of `srel_core.statistics.intervals` give intervals."
)

# %% [markdown]
# ## A language model, in a loop and in a `Trainer`
#
# A model may predict at every position of a sequence and give its predictions in an object with `logits`,
# as the models of `transformers` do; divergences are averaged over the positions. Here a GPT-2
# {cite:p}`radford2019gpt2` of random weights learns to tell the hours on a clock, going on by one hour
# or by five. The second hour, which nothing foretells, is not asked for:

# %%
import warnings

with warnings.catch_warnings(action="ignore"):  # it looks for a progress bar of notebooks
    from transformers import GPT2Config, GPT2LMHeadModel

from srel_core.integrations.transformers import SrelCallback, next_tokens

pace = torch.tensor([1, 5]).repeat(12)
hours = (torch.arange(12).repeat_interleave(2)[:, None] + pace[:, None] * torch.arange(8)) % 12
wanted = next_tokens(hours)
wanted[:, 0] = -100


def small_gpt2():
    torch.manual_seed(seed)
    size = dict(vocab_size=12, n_positions=8, n_embd=32, n_layer=2, n_head=2)
    no_dropout = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return GPT2LMHeadModel(GPT2Config(**size, **no_dropout, bos_token_id=0, eos_token_id=0))


def watched(gpt2):
    given = {"input_ids": hours}
    return sc.SrelRecorder(
        gpt2, given, wanted, given, rules={"sgd": sc.SGD(1e-4)}, divergences=("kl",),
        probe_classes=pace, sample_classes=pace,
    )  # fmt: skip


def loss_of(outputs, labels, **_):
    return nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())


gpt2 = small_gpt2()
in_loop, optimizer = watched(gpt2), torch.optim.AdamW(gpt2.parameters(), lr=1e-3)
for step in range(steps[profile] + 1):
    if step % (steps[profile] // 4) == 0:
        in_loop.measure(step)  # the line
    optimizer.zero_grad()
    loss_of(gpt2(input_ids=hours), wanted).backward()
    optimizer.step()

# %% [markdown]
# In a `Trainer` the line becomes a callback, which can also measure the step that the trainer's own optimizer
# would take next (`srel_core.integrations.lightning` has the same for Lightning):

# %%
from transformers import PrinterCallback, Trainer, TrainingArguments

gpt2 = small_gpt2()
in_trainer = watched(gpt2)
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model=gpt2,
        args=TrainingArguments(
            folder, max_steps=steps[profile], per_device_train_batch_size=24, learning_rate=1e-3,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
            use_cpu=True, dataloader_pin_memory=False, seed=seed,
        ),
        train_dataset=[{"input_ids": i, "labels": y} for i, y in zip(hours, wanted, strict=True)],
        compute_loss_func=loss_of,
        callbacks=[SrelCallback(in_trainer, every=steps[profile] // 4, optimizer_step=True)],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()

# %% tags=["hide-input"]
lines = [
    "| | rule | before training | "
    + " | ".join(f"step {s}" for s in in_loop.to_xarray().step.values[1:])
    + " |"
]
lines.append("|---" * (lines[0].count("|") - 1) + "|")
for where, recorder in (("loop", in_loop), ("`Trainer`", in_trainer)):
    of_gpt2 = recorder.to_xarray().sel(divergence="kl")
    for rule in of_gpt2["rule"].values:
        aucs = [
            same_class_auc(
                of_gpt2.change.sel(rule=rule, step=step).values, pace.numpy(), pace.numpy(),
                exclude=of_gpt2.same_input.values,
            ).mean()
            for step in of_gpt2.step
        ]  # fmt: skip
        lines.append(f"| {where} | `{rule}` | {' | '.join(f'{auc:.2f}' for auc in aucs)} |")
Markdown(
    "How often a step on a sequence moves the predictions for one of the same pace farther than for one "
    "of the other (same-class AUC, mean over the sequences):\n\n" + "\n".join(lines)
)
