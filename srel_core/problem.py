"""One measurement, checked and laid out: the weights to step from and the places to look at."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from srel_core import checks
from srel_core.names import unknown
from srel_core.rules import Rule

Loss = str | Callable[[Tensor, Tensor], Tensor]
"""A name from `LOSSES`, or (prediction (C,), target) → scalar for one sample."""


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """−log softmax(prediction)[target], in nats, of one sample: (C,), () → ()."""
    return F.cross_entropy(prediction[None], target[None])


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over outputs of (prediction − target)², of one sample: (C,), C numbers → ()."""
    return F.mse_loss(prediction, target.reshape(prediction.shape).to(prediction.dtype))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
}


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Within it, random draws leave the global generators as they were, and attention runs in
    plain operations: the fused kernels know neither stacked weights nor forward derivatives."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    fused = torch.backends.mha.get_fastpath_enabled()
    with torch.random.fork_rng(devices=[d.index for d in devices]), sdpa_kernel(SDPBackend.MATH):
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def predict(
    model: nn.Module, weights: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor
) -> Tensor:
    """The model's predictions (B, C) at inputs (B, ...) with these weights in place of its own."""
    # Copies, for a model that writes to its buffers in passing (a counter of calls, say).
    copies = {name: buffer.clone() for name, buffer in buffers.items()}
    return functional_call(model, {**weights, **copies}, (inputs,))


@dataclass(frozen=True)
class Problem:
    """Checked inputs, moved to the model's device and precision.

    `inputs` (I, ...) holds the probes, then those samples that are not among them; `own_row[i]`
    is the row of sample i. `same_input` (P, S) is True where probe and sample are equal.
    `before` (I, C) are the predictions at the present weights.
    """

    model: nn.Module
    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    x: Tensor
    y: Tensor
    inputs: Tensor
    n_probes: int
    same_input: Tensor
    own_row: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    before: Tensor

    @classmethod
    def make(cls, model: nn.Module, x: Tensor, y: Tensor, probes: Tensor, loss: Loss) -> "Problem":
        """Check everything `influence` promises to check, and lay out the inputs."""
        checks.require_inputs(x, y, probes)
        checks.require_per_sample(model)
        weights = checks.trainable(model)
        like = next(iter(weights.values()))
        x, y, probes = (_to(t, like) for t in (x, y, probes))
        same_input = equal_rows(probes, x)
        new = ~same_input.any(0)
        own_row = torch.where(new, len(probes) + new.cumsum(0) - 1, same_input.int().argmax(0))
        inputs = torch.cat([probes, x[new.to(x.device)]])
        buffers = {n: b.detach() for n, b in model.named_buffers()}
        with torch.no_grad():
            before = predict(model, weights, buffers, inputs)
            checks.require_predictions(before, len(inputs))
            checks.require_independence(before[:1], predict(model, weights, buffers, inputs[:1]))
            loss_of = _loss_function(loss, y, before, own_row)
        laid_out = (model, weights, buffers, x, y, inputs, len(probes), same_input, own_row)
        return cls(*laid_out, loss_of, before)

    def in_float64(self) -> "Problem":
        """The same problem, all of it in double precision."""
        model = copy.deepcopy(self.model).double()
        return Problem.make(model, self.x, self.y, self.inputs[: self.n_probes], self.loss)

    def predict(self, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """f_w at a batch of inputs: (B, ...) → (B, C)."""
        return predict(self.model, weights, self.buffers, inputs)

    def gradient(self, x_i: Tensor, y_i: Tensor) -> dict[str, Tensor]:
        """∇_w ℓ(w; x_i, y_i) by weight name.

        The loss is taken in float64 whatever the model's precision: at a well-fitted sample its
        slope, p − e_y, is a difference that float32 would round away.
        """

        def loss_at(weights: dict[str, Tensor]) -> Tensor:
            return self.loss(self.predict(weights, x_i[None])[0].double(), y_i)

        return grad(loss_at)(self.weights)

    def step(self, rule: Rule, x_i: Tensor, y_i: Tensor) -> dict[str, Tensor]:
        """w⁺ = U(w; x_i, y_i) by weight name."""
        gradient = self.gradient(x_i, y_i)
        return {name: w + rule.change(gradient[name]) for name, w in self.weights.items()}


def _to(values: Tensor, like: Tensor) -> Tensor:
    """On the device of `like` and, if it holds real numbers, in its precision."""
    if values.is_floating_point():
        return values.detach().to(device=like.device, dtype=like.dtype)
    return values.detach().to(like.device)


def equal_rows(a: Tensor, b: Tensor) -> Tensor:
    """(len(a), len(b)), on the CPU: True where a[j] and b[i] hold the same numbers."""
    keys_a, keys_b = ([row.numpy().tobytes() for row in t.cpu()] for t in (a, b))
    return torch.tensor([[key_a == key_b for key_b in keys_b] for key_a in keys_a])


def _loss_function(
    loss: Loss, y: Tensor, before: Tensor, own_row: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as a function of one sample, tried on every sample."""
    if isinstance(loss, str) and loss not in LOSSES:
        raise ValueError(unknown("loss", loss, LOSSES) + "; or give a callable")
    function = LOSSES[loss] if isinstance(loss, str) else loss
    if function is cross_entropy:
        checks.require_labels(y, before.shape[1])
    if function is mse and y[0].numel() != before.shape[1]:
        raise ValueError(
            f"mse needs a target of {before.shape[1]} numbers a sample, as the model predicts, "
            f"but y has shape {tuple(y.shape)}"
        )
    checks.require_losses(
        [function(before[row].double(), y_i) for row, y_i in zip(own_row, y, strict=True)]
    )
    return function
