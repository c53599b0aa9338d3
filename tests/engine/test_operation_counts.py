"""Counts of operations, against sums of ones and against what is known of a network."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from srel_core.engine.layers.operation_counts import layer_costs, multiply_adds, phases_of
from srel_core.experiments.networks import build_model
from tests.support import networks


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.one_of(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.just("same")),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
)
def test_multiply_adds_are_what_ones_add_up_to(size, kernel, stride, padding, dilation, groups):
    stride = 1 if padding == "same" else stride
    conv = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias=False)
    nn.init.ones_(conv.weight)
    example = torch.ones(1, 4, *size)
    try:
        out = conv(example)
    except RuntimeError:
        return  # torch refuses: the kernel is larger than the padded input
    (layer,) = layer_costs(nn.Sequential(conv), example)
    assert layer.multiply_adds == out.sum()
    assert layer.positions == out[0, 0].numel() and layer.outputs == 6
    out.sum().backward()
    assert layer.weights == (conv.weight.grad != 0).sum()
    assert layer.dense_multiply_adds == conv.weight.numel() * layer.positions


def test_the_published_network_by_layer():
    model = build_model("resnet18", 3, seed=0)
    layers = layer_costs(model, torch.zeros(1, 3, 32, 32))
    assert sum(layer.all_weights for layer in layers) == sum(
        w.numel() for w in model.parameters() if w.ndim > 1
    )
    stage4 = [layer for layer in layers if layer.name.startswith("layer4.1.conv")]
    for layer in stage4:
        assert layer.all_weights == 9 * layer.weights == 9 * layer.multiply_adds
    assert [layer.name for layer in layers if not layer.changes_before] == ["conv1"]
    on_meta = layer_costs(model.to("meta"), torch.zeros(1, 3, 32, 32, device="meta"))
    assert on_meta == layers


def test_what_does_not_move_costs_no_step_and_needs_no_gradient():
    model = networks.make("frozen")  # linear layers of 192 × 24, frozen, 24 × 16 and 16 × 3
    layers = layer_costs(model, torch.zeros(1, *networks.SHAPE, dtype=torch.float64))
    assert [layer.moved for layer in layers] == [False, True, True]
    assert [layer.changes_before for layer in layers] == [False, False, True]
    m = 192 * 24, 24 * 16, 16 * 3
    got = multiply_adds(layers, "shared", 5, 7, 3)
    assert got == {
        "output gradients": 5 * (sum(m) + m[2]), "steps": 5 * (m[1] + m[2]),
        "predictions": 35 * sum(m),
    }  # fmt: skip
    got = multiply_adds(layers, "low_rank", 5, 7, 3)
    assert got["predictions"] == 35 * m[2] and got["steps"] == 35 * (24 + 16 + 16 + 3)
    got = multiply_adds(layers, "tangent", 5, 7, 3)
    by_gram = 35 * (24 + 3 * 16 + 16 + 3 * 3)
    assert got["predictions"] == by_gram
    assert got["output gradients"] == 5 * (sum(m) + m[2]) + 7 * (sum(m) + 3 * m[2])


def test_a_layer_called_twice_counts_twice():
    tied = networks.make("tied")
    layers = layer_costs(tied, torch.zeros(1, *networks.SHAPE, dtype=torch.float64))
    assert [layer.multiply_adds for layer in layers] == [192 * 192, 192 * 192, 192 * 3]


def test_unknown_modules_and_methods_are_refused():
    example = torch.zeros(1, *networks.SHAPE, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"module '1' \(BatchNorm2d\) has weights"):
        layer_costs(networks.make("batchnorm"), example)
    layers = layer_costs(networks.make("linear"), example)
    with pytest.raises(ValueError, match="unknown method 'lowrank': the nearest is 'low_rank'"):
        phases_of(layers[0], "lowrank", 1, 1, 1)
