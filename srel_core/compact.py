"""The same convolutional predictor with less to compute: without the taps that only see padding.

At tap t of a kernel, output o reads the input at stride·o + dilation·t − padding. Where that lies
outside the input for every o, the tap multiplies zeros: its gradient is exactly zero and a step
that leaves unmoved what has no gradient leaves it alone. In the last stage of a ResNet-18 on
32×32 images, where maps are 1×1, eight of nine taps are of this kind: 62 % of all its weights.
`compact` gives the same predictor without them, on inputs laid out as convolution likes them.
"""

import copy
import dataclasses
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.checks import rounding_of
from srel_core.problem import Problem
from srel_core.rules import Rule


class LiveTaps(nn.Module):
    """A convolution of one input size by the block of its kernel that ever meets the input."""

    def __init__(self, conv: nn.Conv2d, spans: list["Span"]) -> None:
        super().__init__()
        rows, columns = spans
        weight = conv.weight.detach()[:, :, rows.first : rows.end, columns.first : columns.end]
        self.weight = nn.Parameter(weight.clone(), requires_grad=conv.weight.requires_grad)
        self.bias = conv.bias
        self.stride, self.dilation, self.groups = conv.stride, conv.dilation, conv.groups
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.pads = (*columns.pads, *rows.pads)  # in the order of F.pad; negative ones cut

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.pads) if any(self.pads) else x
        return F.conv2d(
            x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Span:
    """Along one axis: the live taps first..end−1, and what to add to the input's two ends."""

    first: int
    end: int
    pads: tuple[int, int]

    @classmethod
    def of(
        cls, n_in: int, n_out: int, taps: int, stride: int, padding: int, dilation: int
    ) -> "Span":
        def reads(tap: int) -> list[int]:
            return [stride * o + dilation * tap - padding for o in range(n_out)]

        every = list(range(taps))
        live = [tap for tap in every if any(0 <= at < n_in for at in reads(tap))] or every
        first, last = live[0], live[-1]
        return cls(first, last + 1, (-reads(first)[0], reads(last)[-1] - (n_in - 1)))


def compact(problem: Problem, rule: Rule | None = None) -> Problem:
    """The same problem on a copy of the model that holds live taps only.

    The problem itself if the model is none of images and convolutions, or if `rule` moves a
    weight without gradient.
    """
    convolves = any(type(module) is nn.Conv2d for module in problem.model.modules())
    if problem.inputs.ndim != 4 or not convolves:
        return problem
    zero = torch.zeros(1, dtype=problem.before.dtype, device=problem.before.device)
    if rule is not None and rule.change(zero).any():
        return problem
    model = copy.deepcopy(problem.model)
    replacements = _replacements(model, problem)
    for name, module in replacements.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module)
    weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    # Pooling, and small convolutions, run faster where the channels of a pixel lie together.
    inputs = problem.inputs.contiguous(memory_format=torch.channels_last)
    smaller = dataclasses.replace(problem, model=model, weights=weights, inputs=inputs)
    # A model that uses a layer in some other way than by calling it shows here, by an error of any
    # kind or by other predictions: the whole model is always right.
    try:
        with torch.no_grad():
            difference = (smaller.predict(weights, inputs) - problem.before).abs().max()
    except Exception:
        return problem
    return smaller if difference <= rounding_of(problem.before) else problem


def _replacements(model: nn.Module, problem: Problem) -> dict[str, LiveTaps]:
    """By name, for every plain convolution with dead taps, called with one input size alone."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    convs = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Conv2d
        and name
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and uses[id(module.weight)] == 1
    }
    sizes: dict[str, set[tuple[torch.Size, torch.Size]]] = {name: set() for name in convs}

    def note(name: str, given: tuple[Tensor, ...], out: Tensor) -> None:
        size_in = given[0].shape[-2:] if given else torch.Size()
        sizes[name].add((size_in, out.shape[-2:]))

    hooks = [
        module.register_forward_hook(lambda _, given, out, name=name: note(name, given, out))
        for name, module in convs.items()
    ]
    with torch.no_grad():
        model(problem.inputs[:1])
    for hook in hooks:
        hook.remove()
    found = {}
    for name, seen in sizes.items():
        if len(seen) == 1:
            ((size_in, size_out),) = seen
            if not size_in:  # given by keyword
                continue
            conv = convs[name]
            spans = [
                Span.of(
                    size_in[axis], size_out[axis], conv.kernel_size[axis], conv.stride[axis],
                    int(conv.padding[axis]), conv.dilation[axis],
                )
                for axis in (0, 1)
            ]  # fmt: skip
            if any(s.end - s.first < conv.kernel_size[a] for a, s in enumerate(spans)):
                found[name] = LiveTaps(conv, spans)
    return found
