"""One measurement, checked: the user's own model, the samples to step on and where to look."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from srel_core.engine.setup import checks
from srel_core.engine.setup.distributed import require_whole, without_others
from srel_core.engine.setup.float32 import exact_float32, holding
from srel_core.engine.setup.inputs import Given, Inputs, as_tensor, read_pairs, to_model
from srel_core.engine.setup.losses import Loss, SampleLoss
from srel_core.engine.setup.model_state import left_as_it_was
from srel_core.engine.setup.outputs import Pick, picking

# Some of torch's settings below are of the whole process: threads that measure take turns, or one
# would keep for the user's what another had set, and leave it set.
_TURN = threading.RLock()


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Within it the model may be run and changed, and is put back; the caller's gradient and
    autocast modes do not count, and float32 is float32."""
    on_gpu = any(p.device.type == "cuda" for p in model.parameters())
    require_whole(model)
    with (
        _TURN,
        left_as_it_was(model),
        exact_float32(model),
        holding(parametrize, _cache_enabled=0),  # as `parametrize.cached()` has it: of old weights
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cuda" if on_gpu else "cpu", enabled=False),
    ):
        without_others(model)
        yield


@contextmanager
def plain_attention() -> Iterator[None]:
    """Within it attention runs in plain operations: the fused kernels know neither stacked weights
    nor forward derivatives."""
    fused = torch.backends.mha.get_fastpath_enabled()
    with sdpa_kernel(SDPBackend.MATH):
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


# Operations of a forward pass: up to the first, trying one more takes no time, and float64 costs
# little; above the second, each pass counts, and the fast ways, whose gradients are in float64,
# gain nothing.
CHEAP, LARGE = 20_000_000, 100_000_000


@dataclass(frozen=True)
class ForwardCost:
    """What predicting one input takes: floating-point operations, the bytes of all that the
    operations give together, and of the largest of these; and the distance of 1 to the next number
    in the least precise of them, 0 where that is not known."""

    operations: int
    activations: int
    largest: int
    eps: float = 0.0


def _of_recurrence(inputs: Sequence[int], *weights: Sequence[int], **_: Any) -> int:
    """Operations of a fused recurrent layer: at each row of its inputs all of its weights."""
    return 2 * math.prod(inputs[:-1]) * sum(math.prod(w) for w in weights)


# What torch's own counter takes for nothing.
_FUSED = {
    torch.ops.aten.mkldnn_rnn_layer: lambda inputs, w, v, *_, **__: _of_recurrence(inputs, w, v),
    torch.ops.aten._cudnn_rnn: lambda inputs, weights, *_, **__: _of_recurrence(inputs, *weights),
}
_PRODUCTS = {*flop_registry, *_FUSED}


class Computed(TorchDispatchMode):
    """Adds up the bytes of every tensor that is computed inside the block, where views cost
    nothing; and sees how precise products are, convolutions among them, or what is less than in
    float32."""

    total = largest = 0
    eps = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        tensors = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        new = [t.nbytes for t in tensors if t.untyped_storage().data_ptr() not in given]
        self.total += sum(new)
        self.largest = max([self.largest, *new])
        product = func.overloadpacket in _PRODUCTS
        for t in tensors:
            # A mask in float32 makes no model in float64 less precise.
            if t.is_floating_point() and (product or t.itemsize < 4):
                self.eps = max(self.eps, torch.finfo(t.dtype).eps)
        return out


@dataclass(frozen=True)
class Task:
    """Checked samples, targets and inputs, on the model's device and in its precision.

    `inputs` (I) holds the probes, then those samples that are not among them; `own_row[i]` is the
    row of sample i. `same_input` (P, S) is True where probe and sample are equal. `weights` are the
    parameters that a step moves, by name. `gives_tensor`: whether predictions are all that the
    model gives. `before` (n, ..., C) are those at the first n inputs at the present weights: at all
    of them, or, for a model with more operations than `LARGE`, at the probes; and `cost` what one
    of them takes. `eps` is the distance of 1 to the next number in the least precise of weights,
    operations and predictions.
    """

    model: nn.Module
    weights: dict[str, nn.Parameter]
    x: Inputs
    y: Tensor
    inputs: Inputs
    n_probes: int
    same_input: Tensor
    own_row: Tensor
    loss: SampleLoss
    pick: Pick
    gives_tensor: bool
    before: Tensor
    cost: ForwardCost
    eps: float

    @classmethod
    def make(
        cls,
        model: nn.Module,
        x: Given,
        y: Any,
        probes: Given,
        loss: Loss,
        output: Pick | None = None,
        rows_within: Any = None,
    ) -> "Task":
        """Check everything that `influence` promises to check, and lay out the inputs.

        `rows_within(cost)` says how many inputs to predict at a time; None: all.
        """
        x, y, probes = _read(x, y, probes)
        samples, at = Inputs.of("x", x), Inputs.of("probes", probes)
        samples.require_like(at)
        targets = as_tensor("y", y)
        checks.require_targets(len(samples), targets)
        checks.require_per_sample(model)
        weights = checks.trainable(model)
        like = next(iter(weights.values()))
        samples, at, targets = samples.like(like), at.like(like), to_model(targets, like)
        same_input = at.equal_rows(samples)
        new = ~same_input.any(0)
        own_row = torch.where(new, len(at) + new.cumsum(0) - 1, same_input.int().argmax(0))
        inputs = at.joined(samples[new.to(like.device)])
        sample_loss, pick = SampleLoss.of(loss), picking(output)
        with torch.no_grad():
            alone, gives_tensor, cost = _first_prediction(model, inputs[:1], pick)
            at_a_time = len(inputs) if rows_within is None else rows_within(cost)
            # Samples of a costly model are predicted on the way to their gradients.
            n = len(at) if cost.operations > LARGE else len(inputs)
            inputs, before = _predicted(model, inputs, n, pick, cost, at_a_time, alone)
        if before.ndim > 2 and targets.ndim == 1 and sample_loss.is_named:
            raise ValueError(
                f"the model predicts {tuple(before.shape[1:])} for each input, so y must hold a "
                f"target for each position, but has shape {tuple(targets.shape)}"
            )
        all_of_them = n == len(inputs)
        some = own_row if all_of_them else torch.zeros_like(own_row)
        targets = sample_loss.checked_targets(targets, before[some.to(before.device)], all_of_them)
        kinds = {before.dtype, *(weight.dtype for weight in weights.values())}
        eps = max(cost.eps, *(torch.finfo(kind).eps for kind in kinds))
        checked = (model, weights, samples, targets, inputs, len(at), same_input, own_row)
        return cls(*checked, sample_loss, pick, gives_tensor, before, cost, eps)

    @property
    def device(self) -> torch.device:
        return self.before.device

    @property
    def in_half_precision(self) -> bool:
        """Whether anything of it is less precise than float32."""
        return self.eps > torch.finfo(torch.float32).eps

    def predict(self, inputs: Inputs) -> Tensor:
        """The model's predictions (B, ..., C) at some inputs, as it is now."""
        return self.pick(inputs.call(self.model))


def _read(x: Any, y: Any, probes: Any) -> tuple[Given, Any, Given]:
    """The same with Datasets and DataLoaders read."""
    pairs, of_probes = read_pairs("x", x), read_pairs("probes", probes)
    if pairs is not None:
        x, targets = pairs
        y = targets if y is None else y
    if y is None:
        raise ValueError("y is None: give one target per sample, or a Dataset of pairs as x")
    return x, y, probes if of_probes is None else of_probes[0]


def _first_prediction(
    model: nn.Module, inputs: Inputs, pick: Pick
) -> tuple[Tensor, bool, ForwardCost]:
    """The prediction at one input, whether it is all that the model gives, and what it takes.
    ValueError if the model cannot be called."""
    generator = torch.random.get_rng_state()
    shapes = ", ".join(str(tuple(t.shape)) for t in inputs.tensors)
    try:
        with (
            plain_attention(),  # a fused block of it counts for nothing
            FlopCounterMode(display=False, custom_mapping=_FUSED) as operations,
            Computed() as seen,
        ):
            whole = inputs.call(model)
        flops = operations.get_total_flops()
        cost = ForwardCost(flops, max(1, seen.total), seen.largest, seen.eps)
    except Exception:  # a model that cannot be looked into while it runs can still be run
        size = sum(p.nbytes for p in model.parameters())
        cost = ForwardCost(operations=100 * size, activations=size, largest=size)
        torch.random.set_rng_state(generator)
        with checks.calling_the_model(f"an input of shape {shapes}"):
            whole = inputs.call(model)
    alone = pick(whole)
    checks.require_predictions(alone, 1)
    checks.require_no_draws([generator], [torch.random.get_rng_state()])
    return alone, alone is whole, cost


def _predicted(
    model: nn.Module, inputs: Inputs, n: int, pick: Pick, cost: ForwardCost, at_a_time: int,
    alone: Tensor,
) -> tuple[Inputs, Tensor]:  # fmt: skip
    """The inputs, in the layout in which they are predicted, and the predictions (n, ..., C) at the
    first n of them.

    Images for a large network on a CPU are channels_last, in which convolutions run faster; as they
    were if the model cannot take them so.
    """
    on_cpu = all(t.device.type == "cpu" for t in inputs.tensors)
    if cost.operations >= LARGE and on_cpu and any(t.ndim == 4 for t in inputs.tensors):
        turned = inputs.channels_last()
        try:
            return turned, _per_input(model, turned[:n], pick, at_a_time, alone, cost.eps)
        except Exception:  # a view of what does not lie side by side, say; it is judged below
            pass
    with checks.calling_the_model(f"a batch of {min(at_a_time, len(inputs))}"):
        return inputs, _per_input(model, inputs[:n], pick, at_a_time, alone, cost.eps)


def _per_input(
    model: nn.Module, inputs: Inputs, pick: Pick, at_a_time: int, alone: Tensor, eps: float
) -> Tensor:
    """Predictions (I, ..., C). ValueError unless each input's is its own: that of the first is the
    same by itself as in a batch, with others before and after it."""
    middle = min(at_a_time, len(inputs)) // 2
    order = torch.tensor([*range(1, middle + 1), 0, *range(middle + 1, len(inputs))])
    mixed = inputs[order.to(inputs.tensors[0].device)]
    found = torch.cat([pick(rows.call(model)) for rows in mixed.split(at_a_time)])
    checks.require_predictions(found, len(inputs))
    checks.require_independence(found[middle : middle + 1], alone, eps)
    return torch.cat([found[middle : middle + 1], found[:middle], found[middle + 1 :]])
