"""A model whose passes cost enough to be saved: its samples are predicted on the way to their
gradients, and images are channels_last."""

import pytest
import torch
from torch import nn

import srel_core as sc
from srel_core.engine.setup.task import LARGE, Task


class Large(nn.Sequential):
    """More operations in a pass than `LARGE`, of images (B, 3, 80, 80)."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(3, 64, 7, padding=3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(256, 3),
        )  # fmt: skip


class OnlyContiguous(Large):
    """Refuses images that are channels_last, by an error of a kind of its own."""

    def forward(self, x):
        assert x.is_contiguous(), "rows of pixels are expected"
        return super().forward(x)


def batch():
    torch.manual_seed(1)
    x, probes = torch.randn(3, 3, 80, 80), torch.randn(2, 3, 80, 80)
    probes[1] = x[2]  # one sample is a probe, two are not
    return x, torch.tensor([0, 2, 1]), probes


def measure(model, rule, x, y, probes, **options):
    if rule is None:
        return sc.tangent_influence(model, x, y, probes, **options)
    return sc.influence(model, x, y, probes, rule=rule, **options)


@pytest.mark.parametrize("rule", [sc.SGD(1e-2), sc.Adam(1e-4), None])
@pytest.mark.parametrize("kind", [Large, OnlyContiguous])
def test_a_large_model_is_measured_as_the_definition_has_it(kind, rule):
    x, y, probes = batch()
    got = measure(kind(), rule, x, y, probes)
    want = measure(kind().double(), rule, x.double(), y, probes.double(), method="direct")
    assert got.gradients == "model" and got.cause == "it is large"
    torch.testing.assert_close(got.before, want.before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.own_before, want.own_before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.delta, want.delta, rtol=2e-3, atol=1e-6)
    torch.testing.assert_close(got.own_delta, want.own_delta, rtol=2e-3, atol=1e-6)


def test_only_the_probes_are_predicted_ahead():
    x, y, probes = batch()
    task = Task.make(Large(), x, y, probes, "cross_entropy")
    assert task.cost.operations > LARGE and len(task.inputs) == 4 and len(task.before) == 2


def test_a_sample_without_a_loss_is_named_on_the_way():
    x, y, probes = batch()

    def lossless(prediction, target):
        return prediction[target] * (torch.nan if target == 2 else 1)

    with pytest.raises(ValueError, match="the loss of sample 1 is nan: it must be finite"):
        sc.influence(Large(), x, y, probes, rule=sc.SGD(1e-2), loss=lossless)


def test_a_large_model_that_mixes_its_batch_is_refused():
    class Mixes(Large):
        def forward(self, x):
            return super().forward(x) + 1e-2 * x.mean()

    with pytest.raises(ValueError, match="changes with the rest of its batch"):
        sc.influence(Mixes(), *batch(), rule=sc.SGD(1e-2))
