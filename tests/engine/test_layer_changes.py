"""The change of a layer by a step, in each of the ways it is computed, against the definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from srel_core.engine.layers import full_steps
from srel_core.engine.layers.kinds import convolution, fixed_size_conv
from srel_core.engine.layers.kinds.fixed_size_conv import FixedSizeConv2d
from srel_core.engine.layers.kinds.registry import kind_of
from tests.support import networks


def _of_definition(layer, h, delta, steps, bias_steps):
    """f_{W + ΔW_i, b + Δb_i}(h + Δ_i) − f_{W, b}(h) for each step, W and b being the layer's."""
    at = [h] * len(steps) if delta is None else h + delta
    changes = []
    with torch.no_grad():
        before, weight, bias = layer(h), layer.weight.clone(), layer.bias.clone()
        for x, step, b in zip(at, steps, bias_steps, strict=True):
            layer.weight += step
            layer.bias += b
            changes.append(layer(x) - before)
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return torch.stack(changes)


def _held(way, layer, h, n, positions, moves, with_bias, seed):
    """A way of computing steps of so many positions, and full steps, equal the definition."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    mapped = isinstance(layer, FixedSizeConv2d)
    o = layer.weight.shape[3] if mapped else len(layer.weight)
    a, g = random(n, layer.weight.numel() // o, positions), random(n, o, positions)
    delta = random(n, *h.shape) if moves else None
    if h.ndim == 4:  # channels_last, as the engine has maps
        h = h.contiguous(memory_format=torch.channels_last)
        if delta is not None:
            delta = delta.movedim(2, 4).contiguous().movedim(4, 2)
    matrices = (g @ a.mT).mT if mapped else g @ a.mT
    steps = [m.reshape(layer.weight.shape) for m in matrices]
    bias_steps = g.sum(2) * with_bias
    want = _of_definition(layer, h, delta, steps, bias_steps)
    got = way(layer, h, delta, a, g, with_bias)
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    full = full_steps.change_by_full_steps(layer, h, delta, steps)
    without_bias = _of_definition(layer, h, delta, steps, 0 * bias_steps)
    torch.testing.assert_close(full, without_bias, rtol=1e-9, atol=1e-9)


SIZES = {
    "n": st.integers(1, 5),
    "positions": st.integers(1, 4),
    "moves": st.booleans(),
    "with_bias": st.booleans(),
    "seed": st.integers(0, 2**16),
}


@given(rows=st.integers(1, 20), k=st.integers(1, 9), o=st.integers(1, 9), **SIZES)
def test_a_dense_layer(rows, k, o, n, positions, moves, with_bias, seed):
    torch.manual_seed(seed)
    layer, h = nn.Linear(k, o).double(), torch.randn(rows, k).double()
    _held(_by_low_rank_steps, layer, h, n, positions, moves, with_bias, seed)
    _held(
        _by_low_rank_steps,
        layer,
        h.view(1, rows, k),
        n,
        positions,
        moves,
        with_bias,
        seed,
    )


MAPS = {
    "size": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
}


def _by_low_rank_steps(layer, h, delta, a, g, with_bias):
    kind, new = kind_of(layer), torch.Tensor.new_empty
    return kind.change_by_low_rank_steps(layer, h, delta, a, g, with_bias, new)


def _of_fixed_size(read):
    def change(layer, h, delta, a, g, with_bias):
        at = read(layer, h, delta, a) + with_bias
        return convolution.change_of_maps(kind_of(layer), layer, at, delta, g)

    return change


def _convolution(size, kernel, stride, padding, dilation, seed):
    if not networks.kernel_fits(size, kernel, padding, dilation):
        return None
    torch.manual_seed(seed)
    return nn.Conv2d(3, 4, kernel, stride, padding, dilation).double()


@given(**MAPS, **SIZES)
def test_a_convolution(
    size, kernel, stride, padding, dilation, n, positions, moves, with_bias, seed
):
    conv = _convolution(size, kernel, stride, padding, dilation, seed)
    if conv is None:
        return
    h = torch.randn(2, 3, *size).double()
    _held(_by_low_rank_steps, conv, h, n, positions, moves, with_bias, seed)
    fixed = FixedSizeConv2d(conv, size)
    reads = [fixed_size_conv.read_whole_maps, fixed_size_conv.read_by_kernels]
    ways = [_of_fixed_size(read) for read in reads]
    for way in [_by_low_rank_steps, *ways]:
        _held(way, fixed, h, n, positions, moves, with_bias, seed)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (3, 4, 5, 6)])
def test_concatenated_changes_keep_their_layout(shape):
    parts = [torch.randn(n, *shape) for n in (2, 1, 3)]
    if len(shape) == 4:
        parts = [part.movedim(2, 4).contiguous().movedim(4, 2) for part in parts]
    whole = full_steps.concatenated(parts)
    assert torch.equal(whole, torch.cat(parts))
    if len(shape) == 4:
        assert whole.movedim(2, 4).is_contiguous()
    assert full_steps.concatenated(parts[:1]) is parts[0]
