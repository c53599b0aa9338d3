"""One measurement, checked and laid out: the weights to step from and the places to look at."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srel_core.choices import unknown
from srel_core.engine.setup import checks
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


def losses(
    loss: Callable[[Tensor, Tensor], Tensor], predictions: Tensor, targets: Tensor
) -> Sequence[Tensor]:
    """The loss of each sample, (S, C), (S, ...) → S numbers; those from `LOSSES` all at once."""
    if loss is cross_entropy:
        return F.cross_entropy(predictions, targets, reduction="none").unbind()
    if loss is mse:
        wanted = targets.reshape(predictions.shape).to(predictions.dtype)
        return F.mse_loss(predictions, wanted, reduction="none").mean(1).unbind()
    return [loss(p, t) for p, t in zip(predictions, targets, strict=True)]


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Within it, random draws leave the global generators as they were, the caller's gradient and
    autocast modes do not count, float32 is float32 (no TF32), and attention runs in plain
    operations: the fused kernels know neither stacked weights nor forward derivatives."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    fused, tf32 = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.matmul.allow_tf32
    with (
        torch.random.fork_rng(devices=[d.index for d in devices]),
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.cudnn.flags(deterministic=True, allow_tf32=False),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cuda" if devices else "cpu", enabled=False),
    ):
        torch.backends.mha.set_fastpath_enabled(False)
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            torch.backends.cuda.matmul.allow_tf32 = tf32


def own_modules(model: nn.Module) -> nn.Module:
    """A copy of a model, buffers and all, around the same weights."""
    return copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})


def put_weights(model: nn.Module, in_place_of: Mapping[int, nn.Parameter]) -> None:
    """Give a model other weights in the place of those of these ids, under each of their names."""
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(p) in in_place_of:
                setattr(module, name, in_place_of[id(p)])


def predict(
    model: nn.Module, weights: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor
) -> Tensor:
    """The model's predictions (B, C) at inputs (B, ...) with these weights in place of its own."""
    # Copies, for a model that writes to its buffers in passing (a counter of calls, say).
    copies = {name: buffer.clone() for name, buffer in buffers.items()}
    return functional_call(model, {**weights, **copies}, (inputs,))


class OutputBytes(TorchDispatchMode):
    """Adds up the bytes of every tensor that is computed inside the block; views cost nothing."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        tensors = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.total += sum(t.nbytes for t in tensors if t.untyped_storage().data_ptr() not in given)
        return out


@dataclass(frozen=True)
class Problem:
    """Checked inputs, moved to the model's device and precision.

    `inputs` (I, ...) holds the probes, then those samples that are not among them; `own_row[i]`
    is the row of sample i. `same_input` (P, S) is True where probe and sample are equal.
    `before` (I, C) are the predictions at the present weights, and `activation_bytes` what the
    operations on the way to one of them give. `precise` is the same problem in float64, if
    gradients are to be taken there.
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
    activation_bytes: int
    precise: "Problem | None" = None

    @classmethod
    def make(cls, model: nn.Module, x: Tensor, y: Tensor, probes: Tensor, loss: Loss) -> "Problem":
        """Check everything `influence` promises to check, and lay out the inputs."""
        checks.require_inputs(x, y, probes)
        checks.require_per_sample(model)
        weights = checks.trainable(model)
        like = next(iter(weights.values()))
        x, y, probes = (to_model(t, like) for t in (x, y, probes))
        same_input = equal_rows(probes, x)
        new = ~same_input.any(0)
        own_row = torch.where(new, len(probes) + new.cumsum(0) - 1, same_input.int().argmax(0))
        inputs = torch.cat([probes, x[new.to(x.device)]])
        buffers = {n: b.detach() for n, b in model.named_buffers()}
        with torch.no_grad():
            generators = _generator_states(like.device)
            with OutputBytes() as count:
                before = predict(model, weights, buffers, inputs)
            checks.require_no_draws(generators, _generator_states(like.device))
            checks.require_predictions(before, len(inputs))
            for row in {0, len(inputs) // 2, len(inputs) - 1}:
                alone = predict(model, weights, buffers, inputs[row : row + 1])
                checks.require_independence(before[row : row + 1], alone)
            loss_of = _loss_function(loss, y, before, own_row)
        laid_out = (model, weights, buffers, x, y, inputs, len(probes), same_input, own_row)
        return cls(*laid_out, loss_of, before, max(1, count.total // len(inputs)))

    def in_float64(self) -> "Problem":
        """The same problem in double precision; `before` keeps the values it has."""
        like = self.before.double()
        # Widened on the way: a deep copy first would copy them all once more.
        wide = {
            id(p): nn.Parameter(p.detach().to(like.dtype), p.requires_grad)
            for p in self.model.parameters()
            if p.is_floating_point()
        }
        model = copy.deepcopy(self.model, wide).double()
        weights = {n: p.detach() for n, p in model.named_parameters() if n in self.weights}
        buffers = {n: to_model(b, like) for n, b in self.buffers.items()}
        x, y, inputs = (to_model(t, like) for t in (self.x, self.y, self.inputs))
        return replace(
            self, model=model, weights=weights, buffers=buffers, x=x, y=y, inputs=inputs,
            before=like, activation_bytes=2 * self.activation_bytes, precise=None,
        )  # fmt: skip

    def with_precise_gradients(self) -> "Problem":
        """The same problem with gradients taken in float64.

        A gradient is discontinuous where a ReLU is at rest: rounding can put a unit on the wrong
        side, and then much of the gradient is wrong, not only its last digits.
        """
        if self.before.dtype == torch.float64:
            return self
        return replace(self, precise=self.in_float64())

    def with_own_predictions(self) -> "Problem":
        """The same problem with `before` computed anew, in its present precision."""
        with torch.no_grad():
            return replace(self, before=self.predict(self.weights, self.inputs))

    def rounding(self) -> Tensor:
        """How large the rounding errors of `before` may be, (I,).

        The largest relative error against float64 at a few inputs, spread over all and with the
        largest among them, times the size of each prediction. Needs `with_precise_gradients`.
        """
        assert self.precise is not None
        scale = self.before.abs().amax(1)
        scale = scale.maximum(scale.median()).double()
        some = torch.cat([spread_rows(scale, 7), scale.argmax()[None]])
        with torch.no_grad():
            exact = self.precise.predict(self.precise.weights, self.precise.inputs[some])
        relative = (self.before[some] - exact).abs().amax(1) / scale[some].clamp_min(1e-300)
        return relative.max() * scale

    def predict(self, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """f_w at a batch of inputs: (B, ...) → (B, C)."""
        return predict(self.model, weights, self.buffers, inputs)

    def gradient(self, x_i: Tensor, y_i: Tensor) -> dict[str, Tensor]:
        """∇_w ℓ(w; x_i, y_i) by weight name.

        The loss is taken in float64 whatever the model's precision: at a well-fitted sample its
        slope, p − e_y, is a difference that float32 would round away.
        """
        exact = self.precise or self

        def loss_at(weights: dict[str, Tensor]) -> Tensor:
            prediction = exact.predict(weights, to_model(x_i, exact.before)[None])[0]
            return self.loss(prediction.double(), y_i)

        gradient = grad(loss_at)(exact.weights)
        return {name: g.to(self.before.dtype) for name, g in gradient.items()}

    def stepped(self, rule: Rule, gradient: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights w⁺ by name, from the gradient, whose memory is used up."""
        return {name: rule.change(gradient[name]).add_(w) for name, w in self.weights.items()}


def _generator_states(device: torch.device) -> list[Tensor]:
    states = [torch.random.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def to_model(values: Tensor, like: Tensor) -> Tensor:
    """On the device of `like` and, if it holds real numbers, in its precision."""
    values = values.clone() if values.is_inference() else values.detach()
    dtype = like.dtype if values.is_floating_point() else values.dtype
    return values.to(device=like.device, dtype=dtype)


def spread_rows(values: Tensor, at_most: int) -> Tensor:
    """A few rows of values (n, ...), spread over all: at most so many indices, on their device."""
    last, n = len(values) - 1, min(at_most, len(values))
    return torch.linspace(0, last, n).long().to(values.device)


def equal_rows(a: Tensor, b: Tensor) -> Tensor:
    """(len(a), len(b)), on the CPU: True where a[j] and b[i] hold the same numbers."""
    rows_a, rows_b = (_as_bytes(t) for t in (a, b))
    at_b: dict[bytes, list[int]] = {}
    for i, row in enumerate(rows_b):
        at_b.setdefault(row, []).append(i)
    equal = torch.zeros(len(rows_a), len(rows_b), dtype=torch.bool)
    for j, row in enumerate(rows_a):
        if row in at_b:
            equal[j, at_b[row]] = True
    return equal


def _as_bytes(values: Tensor) -> list[bytes]:
    """What each row holds."""
    rows = values.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    return [row.tobytes() for row in rows]


def _loss_function(
    loss: Loss, y: Tensor, before: Tensor, own_row: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss as a function of one sample, tried on every sample."""
    if isinstance(loss, str) and loss not in LOSSES:
        raise ValueError(unknown("loss", loss, LOSSES) + "; or give a callable")
    if not isinstance(loss, str) and not callable(loss):
        raise ValueError(f"loss must be {' or '.join(LOSSES)}, or a callable, not {loss!r}")
    function = LOSSES[loss] if isinstance(loss, str) else loss
    if isinstance(function, nn.Module):  # predictions come to the loss in float64
        function = copy.deepcopy(function).double()
    if function is cross_entropy:
        checks.require_labels(y, before.shape[1])
    if function is mse and y[0].numel() != before.shape[1]:
        raise ValueError(
            f"mse needs a target of {before.shape[1]} numbers a sample, as the model predicts, "
            f"but y has shape {tuple(y.shape)}"
        )
    checks.require_losses(losses(function, before[own_row].double(), y))
    return function
