"""S_rel while a Hugging Face `Trainer` trains.

    recorder = sc.SrelRecorder(model, x, y, probes, rules={"sgd": sc.SGD(1e-4)})
    trainer = Trainer(model=model, ..., callbacks=[SrelCallback(recorder, every=100)])
    trainer.train()
    recorder.to_xarray()

Inputs are what the tokenizer gives, without labels: {"input_ids": ..., "attention_mask": ...}. For
a causal language model the targets y (S, T) are the token ids one to the left, with −100 where
there is none.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from srel_core.integrations.measurements import Measuring


class SrelCallback(Measuring, TrainerCallback):
    """Measures before the first step, every so many steps of the optimizer, and at the end.

    recorder  of the model that is trained; it keeps what is measured
    every     steps of the optimizer from one measurement to the next
    optimizer_step  whether the step that the trainer's own optimizer would take next is measured
              too, under the name "optimizer"

    The model is measured in eval mode, and left in the mode that it was in. ValueError where
    `every` is no whole number of at least 1, or the recorder is of another model.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._require_part_of(kwargs["model"])
        if self.optimizer_step:
            optimizer = kwargs["optimizer"]
            # accelerate wraps the optimizer: its step may be skipped, and is none of torch's
            self._watch(getattr(optimizer, "optimizer", optimizer))
        self._measure_at(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._measure_after(state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._measure_at(state.global_step)


def next_tokens(input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The targets (S, T) of a causal language model for token ids (S, T): at each position the next
    token, and −100 at the last one and where the mask leaves it out."""
    targets = torch.full_like(input_ids, -100)
    targets[:, :-1] = input_ids[:, 1:]
    if attention_mask is not None:
        following = torch.zeros_like(attention_mask)
        following[:, :-1] = attention_mask[:, 1:]
        targets[(following * attention_mask) == 0] = -100
    return targets
