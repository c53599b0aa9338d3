"""A training loop that pauses where S_rel is to be measured, and resumes to the same bits.

Everything random is drawn from a named stream of the run's seed (`stream`), so that a run is
determined by its seed alone and no generator has to be saved with it.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.choices import check_known

OPTIMIZERS = ("adam", "sgd")


def stream(seed: int, purpose: str) -> int:
    """A seed for one purpose ("weights", "batches/3", ...), independent of every other's."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:7], "big")


@dataclass(frozen=True)
class Schedule:
    """Training on cross-entropy, batches drawn anew each epoch, the last incomplete one dropped.

    `optimizer` "adam" keeps its learning rate `lr`; "sgd" has momentum 0.9, and of T steps the one
    after t steps has learning rate lr (1 + cos(π t / T)) / 2. Weight decay is torch's, added to the
    gradient. Measurements come after the steps 1, 1 + measure_every, 1 + 2·measure_every, … of each
    epoch. Defaults are the published settings for CIFAR-10.
    """

    epochs: int = 7
    batch_size: int = 256
    lr: float = 1e-4
    weight_decay: float = 1e-4
    measure_every: int = 9
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        check_known("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("epochs", "batch_size", "measure_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be a positive, finite number, not {self.lr!r}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be 0 or positive, not {self.weight_decay!r}")

    def steps_per_epoch(self, n_images: int) -> int:
        """Whole batches per epoch; ValueError if there is none."""
        if n_images < self.batch_size:
            raise ValueError(
                f"batch_size is {self.batch_size} but there are only {n_images} training images: "
                "take a smaller batch or more images"
            )
        return n_images // self.batch_size

    def make_optimizer(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh one, of the first step's learning rate."""
        if self.optimizer == "adam":
            return torch.optim.Adam(weights, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(weights, lr=self.lr, momentum=0.9, weight_decay=self.weight_decay)

    def lr_after(self, steps: int, n_images: int) -> float:
        """The learning rate of the step that comes after so many."""
        if self.optimizer == "adam":
            return self.lr
        whole = self.epochs * self.steps_per_epoch(n_images)
        return self.lr * (1 + math.cos(math.pi * steps / whole)) / 2

    def measured_steps(self, n_images: int) -> list[int]:
        """All steps after which to measure, counted from 1 through the whole run."""
        per_epoch = self.steps_per_epoch(n_images)
        return [
            epoch * per_epoch + step + 1
            for epoch in range(self.epochs)
            for step in range(0, per_epoch, self.measure_every)
        ]


@dataclass(frozen=True)
class Pause:
    """Training stands still after this step (counted from 1): to be measured, at an epoch's end,
    or both."""

    step: int
    measure: bool
    epoch_ended: bool


class Trainer:
    """Trains `model` in place on images (N, ...) and labels (N,), on the model's device."""

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, schedule: Schedule, seed: int
    ) -> None:
        device = next(model.parameters()).device
        self.model, self.schedule, self.seed = model, schedule, seed
        self.images, self.labels = images.to(device), labels.to(device)
        self.steps_per_epoch = schedule.steps_per_epoch(len(images))
        self.optimizer = schedule.make_optimizer(model.parameters())
        self.step = 0
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def run(self) -> Iterator["Pause"]:
        """Train on from the present step, pausing to be measured and at the end of each epoch."""
        measured = set(self.schedule.measured_steps(len(self.images)))
        ordered = None
        while self.step < self.schedule.epochs * self.steps_per_epoch:
            epoch, batch = divmod(self.step, self.steps_per_epoch)
            if epoch != ordered:
                order, ordered = self._order(epoch), epoch
            chosen = order[batch * self.schedule.batch_size :][: self.schedule.batch_size]
            self._take_step(self.images[chosen], self.labels[chosen])
            ended = self.step % self.steps_per_epoch == 0
            if ended or self.step in measured:
                yield Pause(self.step, self.step in measured, ended)

    def _order(self, epoch: int) -> Tensor:
        """The order of the images in this epoch: the same whenever it is asked for."""
        generator = torch.Generator().manual_seed(stream(self.seed, f"batches/{epoch}"))
        return torch.randperm(len(self.images), generator=generator).to(self.images.device)

    def _take_step(self, images: Tensor, labels: Tensor) -> None:
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        predictions = self.model(images)
        loss = F.cross_entropy(predictions, labels)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        self._set_lr()
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            raise ValueError(
                f"the training loss is {self.losses[-1]} at step {self.step}: "
                f"a smaller learning rate than {self.schedule.lr} may help"
            )
        self.accuracies.append(float((predictions.argmax(1) == labels).float().mean()))

    def _set_lr(self) -> None:
        """As the next step will have it, which may be measured before it is taken."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr_after(self.step, len(self.images))

    def state(self) -> dict[str, Tensor]:
        """Weights, optimizer moments and curves so far, as plain tensors: for `restore`."""
        state = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer/{index}/{name}": t for name, t in moments.items()}
        curves = torch.tensor([self.losses, self.accuracies], dtype=torch.float64)
        return {**state, "curves": curves}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to where `state` was taken; the next step is the one that came after it."""
        groups = self.optimizer.state_dict()["param_groups"]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            if key.startswith("optimizer/"):
                _, index, name = key.split("/")
                moments.setdefault(int(index), {})[name] = tensor
        weights = {k.removeprefix("model/"): t for k, t in state.items() if k.startswith("model/")}
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.losses, self.accuracies = (curve.tolist() for curve in state["curves"])
        self.step = len(self.losses)
        self._set_lr()


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cross-entropy in nats and accuracy of `model` on images (N, ...), labels (N,)."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    predictions = torch.cat([model(part.to(device)) for part in images.split(1000)])
    model.train(training)
    labels = labels.to(device)
    loss = F.cross_entropy(predictions, labels)
    return float(loss), float((predictions.argmax(1) == labels).float().mean())
