"""Each kind of layer, held to autograd; and that nobody else tests the type of a layer."""

import ast
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from srel_core import engine
from srel_core.engine.layers.kinds.fixed_size_conv import FixedSizeConv2d
from srel_core.engine.layers.kinds.registry import KINDS, is_known, kind_of
from tests.support import networks

TYPES = {kind.__name__ for kind in KINDS}


def _names(tree):
    """Every class of a layer that code mentions, but for annotations and what it is made by."""
    skipped = set()
    for node in ast.walk(tree):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            skipped |= set(ast.walk(part)) if part is not None else set()
    found = (
        getattr(node, "attr", getattr(node, "id", "")) for node in set(ast.walk(tree)) - skipped
    )
    return TYPES & set(found)


def test_no_type_of_a_layer_stands_outside_of_its_kind():
    folder = Path(engine.__file__).parent
    mentions = {
        str(path.relative_to(folder)): found
        for path in folder.rglob("*.py")
        if (found := _names(ast.parse(path.read_text())))
    }
    assert {path.rpartition("/")[0] for path in mentions} == {"layers/kinds"}, mentions


def test_a_kind_is_known_by_its_exact_type():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    assert is_known(nn.Linear(2, 2)) and not is_known(Doubled(2, 2))
    with pytest.raises(KeyError):
        kind_of(Doubled(2, 2))


def _dense(groups, size, rows):
    return nn.Linear(5, 4), torch.randn(2, *rows, 5)


def _convolution(groups, size, rows):
    conv = nn.Conv2d(4, 6, (2, 3), (1, 2), (1, 2), (2, 1), groups)
    return conv, torch.randn(2, 4, *size)


def _channels_last(groups, size, rows):
    conv, x = _convolution(groups, size, rows)
    return conv.to(memory_format=torch.channels_last), x


def _fixed_size(groups, size, rows):
    conv, x = _convolution(groups, size, rows)
    return FixedSizeConv2d(conv, size), x


@pytest.mark.parametrize("make", [_dense, _convolution, _channels_last, _fixed_size])
@given(
    groups=st.sampled_from([1, 2]), rows=st.sampled_from([(), (3,), (2, 3)]),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_kind_has_the_gradients_of_its_layer(make, groups, rows, size, seed):
    if not networks.kernel_fits(size, (2, 3), (1, 2), (2, 1)):
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer, x = make(groups, size, rows)
        layer, x = layer.double(), x.double()
        out = layer(x)
        at_outputs = torch.randn_like(out)
    weight, bias = torch.autograd.grad(
        out, [layer.weight, layer.bias], at_outputs, allow_unused=True, materialize_grads=True
    )
    kind = kind_of(layer)
    a, g = kind.patches(layer, x), kind.output_gradients(layer, at_outputs)
    assert a.shape[1] == g.shape[1] and a.shape[3] == g.shape[3]
    left, right = kind.factors(a, g)
    matrices = (left @ right.mT).sum(0)
    torch.testing.assert_close(kind.in_weight_shape(layer, matrices), weight)
    torch.testing.assert_close(kind.matrices(layer, weight), matrices)
    torch.testing.assert_close(g.sum((0, 3)).flatten(), bias)
    view = kind.matrices(layer, layer.weight.detach())
    assert view.untyped_storage().data_ptr() == layer.weight.untyped_storage().data_ptr()
    applied = kind.apply(layer, x, layer.weight) + kind.along_outputs(layer.bias)
    torch.testing.assert_close(applied, out)


@given(size=st.tuples(st.integers(1, 6), st.integers(1, 6)), groups=st.sampled_from([1, 2]))
def test_a_layer_for_one_size_costs_what_the_whole_one_does(size, groups):
    conv, x = _convolution(groups, size, ())
    if not networks.kernel_fits(size, conv.kernel_size, conv.padding, conv.dilation):
        return
    out, fixed = conv(x), FixedSizeConv2d(conv, size)
    assert kind_of(fixed).cost(fixed, x, out) == kind_of(conv).cost(conv, x, out)
