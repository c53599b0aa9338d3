"""What tests of `influence` measure, and how they compare results."""

import torch
from torch import nn

import srel_core as sc
from srel_core.divergence import DIVERGENCES

VECTOR = [name for name, divergence in DIVERGENCES.items() if not divergence.scalar]


NOT_FOR_IT = "ignore:method=.* does not apply to this model:RuntimeWarning"


def relative_error(got, want):
    return max(
        float(((a - b).abs() / (b.abs() + 1e-300)).max())
        for name in want.change
        for a, b in [(got.change[name], want.change[name]), (got.own[name], want.own[name])]
    )


def call(**changes):
    generator = torch.Generator().manual_seed(0)
    arguments = dict(
        model=nn.Linear(4, 3),
        x=torch.randn(2, 4, generator=generator),
        y=torch.tensor([0, 2]),
        probes=torch.randn(5, 4, generator=generator),
        rule=sc.SGD(0.1),
    )
    arguments.update(changes)
    positional = [arguments.pop(name) for name in ("model", "x", "y", "probes")]
    return sc.influence(*positional, **arguments)
