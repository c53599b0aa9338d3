"""The definition: the user's own model takes the step, predicts, and has every bit put back.

Not a copy of it: a copy loses what closures over `self`, plain lists, hooks and shared memory refer
to, and then another model is measured than the one that trains. All other ways are optimisations of
this one, and are held to it (`srel_core.engine.checking`).
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import InitVar, dataclass, field

import torch
from torch import Tensor

from srel_core.engine.setup import checks
from srel_core.engine.setup.distributed import trains_with_others
from srel_core.engine.setup.inputs import Inputs
from srel_core.engine.setup.model_state import Kept, left_as_it_was
from srel_core.engine.setup.precision import as_written, is_narrower, widened
from srel_core.engine.setup.task import Computed, Task
from srel_core.rules import Rule, change_of, is_by_number, is_by_weight

Step = dict[str, Tensor]
"""What is added to each weight, by name; a weight that is not named stays."""


def moves(step: Step) -> bool:
    """Whether a step changes any number of any weight."""
    return any(bool(change.any()) for change in step.values())


@contextmanager
def stepping(task: Task, wide: torch.dtype | None) -> Iterator["Stepping"]:
    """The task's own model, to be stepped and predicted with; at the end it is as before.

    With `wide` it computes in that precision (`srel_core.engine.setup.precision`).
    """
    with (
        left_as_it_was(task.model, step_weights=True) as kept,
        widened(task.model, wide) if wide is not None else nullcontext(),
    ):
        yield Stepping(task, wide, kept)


@dataclass
class Stepping:
    """A model that takes steps from the weights it has now, and goes back to them."""

    task: Task
    wide: torch.dtype | None
    kept: InitVar[Kept]
    start: Step = field(init=False)
    x: Inputs = field(init=False)
    inputs: Inputs = field(init=False)

    def __post_init__(self, kept: Kept) -> None:
        like = next(iter(self.task.weights.values()))
        self.x, self.inputs = self.task.x.like(like), self.task.inputs.like(like)
        self.start = {
            name: kept.values_of(p) if self.wide is None else p.data.clone()
            for name, p in self.task.weights.items()
        }
        # All weights are stepped in one operation unless some share memory, which it would mix up.
        places = {p.untyped_storage().data_ptr() for p in self.task.weights.values()}
        self._apart = len(places) == len(self.task.weights)
        self._buffers = [
            (module._buffers, name, buffer, buffer._version, buffer.detach().clone())
            for module in self.task.model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def gradient(self, sample: int) -> tuple[Step, Tensor]:
        """∇_w ℓ(w; x_i, y_i) by name, as a backward pass leaves it, without those weights that it
        does not reach; and the prediction (..., C) at the sample in float64."""
        self.drop_gradients()
        with torch.enable_grad():
            loss, prediction = self.loss_at(sample)
            if not loss.requires_grad:
                return {}, prediction.double()
            with checks.calling_the_model(f"sample {sample} for a backward pass"):
                loss.backward()
        found = {}
        for name, parameter in self.task.weights.items():
            if parameter.grad is not None:
                gradient = parameter.grad.detach()
                found[name] = gradient.to_dense() if gradient.layout != torch.strided else gradient
        checks.require_finite_gradients(sample, found)
        return found, prediction.detach().double()

    def loss_at(self, sample: int) -> tuple[Tensor, Tensor]:
        """ℓ(w; x_i, y_i), a finite number, and the prediction (..., C) at the sample."""
        prediction = self.predictions(self.x[sample : sample + 1])[0]
        loss = self.task.loss(prediction, self.task.y[sample])
        checks.require_finite_loss(sample, loss)
        return loss, prediction

    def require_gradients(self) -> None:
        """ValueError if no sample's loss has a gradient: then nothing would move, in silence."""
        with torch.enable_grad():
            if not any(self.loss_at(i)[0].requires_grad for i in range(len(self.x))):
                raise ValueError(
                    "no sample's loss has a gradient: the model or the loss cuts it off, as by "
                    "detach(), .data, torch.no_grad() or argmax"
                )

    def step_of(self, rule: Rule, gradient: Step) -> Step:
        """What a rule adds to the weights, each a whole tensor, given once; it may use up the
        gradient."""
        if self.task.device.type != "cpu" and is_by_number(rule):
            return dict(zip(gradient, rule.changes(list(gradient.values())), strict=True))
        with as_written():
            return {
                name: change_of(rule, name, self.start[name], g) for name, g in gradient.items()
            }

    def steps_by_weight(self, rule: Rule) -> bool:
        """Whether to step one weight after the other: the step of an optimizer then stays within
        the cache of a CPU. On a GPU it is to take all in few operations."""
        return is_by_number(rule) or (is_by_weight(rule) and self.task.device.type == "cpu")

    def take(self, step: Step, fraction: float = 1) -> None:
        """Add a step, or a part of it, to the weights, in place."""
        weights = [self.task.weights[name].data for name in step]
        if step and self._apart:
            torch._foreach_add_(weights, list(step.values()), alpha=fraction)
        else:
            for weight, change in zip(weights, step.values(), strict=True):
                weight.add_(change, alpha=fraction)

    def take_by_optimizer(self, rule: Rule, gradient: Step) -> None:
        """The step by the rule's own `torch.optim` optimizer, from a copy of the gradient."""
        for name, parameter in self.task.weights.items():
            parameter.grad = gradient[name].clone() if name in gradient else None
        with as_written():
            optimizer = rule.optimizer(list(self.task.weights.values()))
            try:
                optimizer.step()
            except (RuntimeError, TypeError, AttributeError, KeyError, AssertionError) as error:
                raise ValueError(
                    f"the step of {type(optimizer).__name__} ends in {checks.in_one_line(error)}"
                ) from error

    def taken(self) -> Step:
        """How far the weights are from those of the beginning."""
        changes = torch._foreach_sub(self._now, list(self.start.values()))
        return dict(zip(self.start, changes, strict=True))

    def take_as_defined(self, rule: Rule, gradient: Step) -> None:
        """The step by the rule's optimizer, or, for the rules of this package, by themselves, which
        the tests hold to their optimizers. It may use up the gradient."""
        if is_by_number(rule):
            self.take(self.step_of(rule, gradient))
        else:
            self.take_by_optimizer(rule, gradient)

    @property
    def _now(self) -> list[Tensor]:
        """The values of the weights, in the order of those of the beginning."""
        return [p.data for p in self.task.weights.values()]

    @property
    def at_start(self) -> bool:
        return all(torch.equal(p.data, self.start[name]) for name, p in self.task.weights.items())

    def go_back(self) -> None:
        """To the weights of the beginning."""
        self.drop_gradients()
        torch._foreach_copy_(self._now, list(self.start.values()))

    def drop_gradients(self) -> None:
        """Those that a backward pass has left."""
        for parameter in self.task.weights.values():
            parameter.grad = None

    def before(self, at_a_time: int) -> Tensor:
        """The predictions at the weights of the beginning in float64: at the inputs for which the
        task has them, or at all in another precision than its own."""
        if self.wide is None:
            return self.task.before.double()
        return self.predict(self.inputs, at_a_time)

    def predict(self, inputs: Inputs, at_a_time: int) -> Tensor:
        """Predictions (B, ..., C) in float64, without a gradient."""
        with torch.no_grad():
            parts = [self.predictions(part).detach() for part in inputs.split(at_a_time)]
        return torch.cat(parts).double()

    def predictions(self, inputs: Inputs) -> Tensor:
        """(B, ..., C), as the model gives them; buffers that it writes to in passing are as in the
        beginning."""
        for registered, name, buffer, version, values in self._buffers:
            if registered[name] is not buffer:
                registered[name] = buffer
            if buffer._version != version:
                buffer.data.copy_(values)
        with checks.calling_the_model(f"a batch of {len(inputs)}"):
            return self.task.predict(inputs)

    @property
    def rounding_unit(self) -> float:
        """Half the distance of 1 to the next number, in the precision that it computes in."""
        if self.wide is None:
            return self.task.eps / 2
        return max(torch.finfo(w.dtype).eps for w in self.start.values()) / 2

    @property
    def precision(self) -> torch.dtype:
        """float64, float32 or bfloat16, which stands for half precision of either kind."""
        if self.rounding_unit < 1e-6:
            return torch.float64 if self.rounding_unit < 1e-15 else torch.float32
        return torch.bfloat16


def can_be_wide(task: Task, rule: Rule | None, wide: torch.dtype) -> bool:
    """Whether a model is narrower than float64, or float32, and can compute in it without harm to
    those that train it; whether it is then the same function of its weights, with a gradient; and
    whether the rule can step it there.

    Tried at one input, at the weights as they are and all of them changed by a hundredth: what
    holds a weight in another way than as its parameter would not see the change. And by one step.
    """
    if trains_with_others():
        return False
    dtypes = {p.dtype for p in (*task.model.parameters(), *task.model.buffers())}
    precise = torch.finfo(wide).eps
    if task.eps <= precise and not any(is_narrower(dtype, wide) for dtype in dtypes):
        return False  # it is in it already
    # Beside half precision what stays narrow would not show by how far predictions are apart.
    seen = Computed() if task.in_half_precision else None
    try:
        own, own_moved = _seen_by(task, None)
        there, there_moved = _seen_by(task, wide, seen)
        with stepping(task, wide) as stepped:
            # What a checkpoint computes again may be in another thread, where nothing is widened.
            gradient, _ = stepped.gradient(0)
            if rule is not None and not is_by_number(rule):
                stepped.take_as_defined(rule, gradient)
    except (ValueError, RuntimeError):
        return False
    if seen is not None and seen.eps > precise:
        return False
    if not bool(torch.isfinite(there).all() and torch.isfinite(there_moved).all()):
        return False
    rounding = checks.rounding_of(own, task.eps)
    moved = float((there_moved - there).abs().max())
    apart = float((own_moved - own - there_moved + there).abs().max())
    return float((own - there).abs().max()) <= rounding and apart <= rounding + 1e-2 * moved


def _seen_by(
    task: Task, wide: torch.dtype | None, seen: Computed | None = None
) -> tuple[Tensor, Tensor]:
    with stepping(task, wide) as own, seen or nullcontext():
        some = own.inputs[: min(2, len(own.inputs))]
        before = own.predict(some, len(some))
        own.take({name: 1e-2 * weight * signs(weight) for name, weight in own.start.items()})
        return before, own.predict(some, len(some))


def signs(like: Tensor) -> Tensor:
    """+1 and −1 by turns, in the shape of a tensor."""
    found = torch.ones(like.numel(), dtype=like.dtype, device=like.device)
    found[1::2] = -1
    return found.view(like.shape)
