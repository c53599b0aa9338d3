"""Models drawn at random from a grammar of layers, options, reuse, hooks and wrappers.

All take (B, 3, 8, 8) and give 3 outputs, some of them in a mapping or a tuple. What a model draws
comes from a `random.Random`, so that a number names a model.
"""

import functools
import random

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

WIDTH, N_OUTPUTS = 6, 3


class Apply(nn.Module):
    """A function of a module and its input."""

    def __init__(self, function, **modules) -> None:
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Scaled(nn.Module):
    """A closure over `self` scales the layer's output."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((WIDTH,), 1.3))
        self.layer = layer
        self.then = lambda h: h * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.layer(x))


class Listed(nn.Module):
    """Layers that are also held in a plain list, which forward reads."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.first, self.second = layers
        self.plain = list(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.plain:
            x = torch.tanh(layer(x))
        return x


class Float32Norm(nn.Module):
    """A norm that computes in float32 whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(WIDTH))

    def forward(self, h: Tensor) -> Tensor:
        wide = h.float()
        return self.w * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(
            h.dtype
        )


def _convolution(draw: random.Random) -> nn.Module:
    mode = draw.choice(["zeros", "zeros", "reflect", "replicate", "circular"])
    padding = draw.choice([0, 1, "same", "valid"])
    stride = 1 if padding == "same" else draw.choice([1, 2])
    groups = draw.choice([1, 3])
    layer = nn.Conv2d(3, WIDTH, 3, stride, padding, groups=groups, padding_mode=mode)
    return nn.Sequential(layer, draw.choice([nn.ReLU(), nn.Tanh()]), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten())  # fmt: skip


def _first(draw: random.Random) -> nn.Module:
    if draw.random() < 0.5:
        return _convolution(draw)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, WIDTH))


def _linear(draw: random.Random) -> nn.Module:
    return nn.Linear(WIDTH, WIDTH, bias=draw.random() < 0.8)


def _hooked(draw: random.Random) -> nn.Module:
    layer = _linear(draw)
    layer.register_forward_hook(lambda _, __, out: 1.5 * out + 0.1)
    return layer


def _patched(draw: random.Random) -> nn.Module:
    layer = _linear(draw)
    layer.plain = layer.forward
    layer.forward = functools.partial(lambda own, x: 2 * own.plain(x), layer)
    return layer


def _pruned(draw: random.Random) -> nn.Module:
    layer = _linear(draw)
    prune.l1_unstructured(layer, "weight", 0.5)
    with torch.no_grad():
        layer(torch.zeros(1, WIDTH))
    return layer


def _orthogonal(draw: random.Random) -> nn.Module:
    how = draw.choice(["householder", "matrix_exp", "cayley"])
    return orthogonal(_linear(draw), orthogonal_map=how, use_trivialization=draw.random() < 0.5)


def _twice(draw: random.Random) -> nn.Module:
    layer = _linear(draw)
    return nn.Sequential(layer, nn.Tanh(), layer)


def _outside(draw: random.Random) -> nn.Module:
    return Apply(lambda s, x: torch.tanh(s.a(x)) * s.a.weight.norm(), a=_linear(draw))


def _checkpointed(draw: random.Random) -> nn.Module:
    reentrant = draw.random() < 0.5
    body = nn.Sequential(
        _linear(draw), draw.choice([nn.Identity(), nn.LayerNorm(WIDTH)]), nn.ReLU()
    )

    def run(own: Apply, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_() if reentrant and not x.requires_grad else x
        return checkpoint(own.body, x, use_reentrant=reentrant)

    return Apply(run, body=body)


def _frozen(draw: random.Random) -> nn.Module:
    return _linear(draw).requires_grad_(False)


def _recurrent(draw: random.Random) -> nn.Module:
    cell = draw.choice([nn.LSTM, nn.GRU])(2, WIDTH, batch_first=True)
    return Apply(lambda s, x: s.cell(x.unflatten(1, (3, 2)))[0][:, -1], cell=cell)


def _mixed(draw: random.Random) -> nn.Module:
    def run(own: Apply, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return own.a(x).to(x.dtype)

    return Apply(run, a=_linear(draw))


def _made_on_the_way(draw: random.Random) -> nn.Module:
    return Apply(lambda s, x: s.a(x) - torch.tensor(0.5) + torch.zeros(1), a=_linear(draw))


PARTS = {
    "linear": _linear,
    "relu": lambda draw: nn.Sequential(_linear(draw), nn.ReLU(inplace=draw.random() < 0.5)),
    "gelu": lambda draw: nn.GELU(),
    "prelu": lambda draw: nn.PReLU(WIDTH),
    "layer norm": lambda draw: nn.LayerNorm(WIDTH),
    "batch norm": lambda draw: nn.BatchNorm1d(WIDTH),
    "float32 norm": lambda draw: Float32Norm(),
    "hooked": _hooked,
    "patched": _patched,
    "pruned": _pruned,
    "weight norm": lambda draw: weight_norm(_linear(draw)),
    "spectral norm": lambda draw: spectral_norm(_linear(draw)),
    "orthogonal": _orthogonal,
    "twice": _twice,
    "used outside": _outside,
    "checkpointed": _checkpointed,
    "frozen": _frozen,
    "closure": lambda draw: Scaled(_linear(draw)),
    "listed": lambda draw: Listed(_linear(draw), _linear(draw)),
    "recurrent": _recurrent,
    "mixed precision": _mixed,
    "made on the way": _made_on_the_way,
    "functional": lambda draw: Apply(lambda s, x: F.linear(torch.tanh(x), s.w),
                                     w=nn.Parameter(torch.randn(WIDTH, WIDTH) * 0.4)),
}  # fmt: skip
WRAPPERS = {
    "mapping": lambda m: Apply(lambda s, x: {"logits": s.m(x)}, m=m),
    "tuple": lambda m: Apply(lambda s, x: (s.m(x), x), m=m),
    "data parallel": nn.DataParallel,
}


def draw_model(number: int) -> tuple[str, nn.Module]:
    """Model of this number, in float32 and eval mode, and what it is made of."""
    draw = random.Random(number)
    with torch.random.fork_rng():
        torch.manual_seed(number)
        names = [draw.choice(list(PARTS)) for _ in range(draw.randint(0, 3))]
        parts = [_first(draw), nn.Tanh(), *(PARTS[name](draw) for name in names)]
        model: nn.Module = nn.Sequential(*parts, nn.Linear(WIDTH, N_OUTPUTS))
        if draw.random() < 0.2:
            wrapper = draw.choice(list(WRAPPERS))
            names.append(wrapper)
            model = WRAPPERS[wrapper](model)
    return f"{number}: {', '.join(names) or 'plain'}", model.eval()


def draw_batch(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """x (3, 3, 8, 8), y (3,), probes (3, 3, 8, 8); the last sample is also the first probe."""
    generator = torch.Generator().manual_seed(number)
    x, probes = (torch.randn(3, 3, 8, 8, generator=generator) for _ in range(2))
    probes[0] = x[-1]
    return x, torch.randint(N_OUTPUTS, (3,), generator=generator), probes
