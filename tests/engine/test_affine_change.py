"""The change of a layer by a step, in each of the ways it is computed, against the definition."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from srel_core.engine.layers import affine_change
from srel_core.engine.layers.fixed_size_conv import MapConv
from tests.support import networks


def _of_definition(layer, h, delta, steps, of_bias):
    """f_{W + ΔW_i, b + Δb_i}(h + Δ_i) − f_{W, b}(h) for each step, W and b being the layer's."""
    at = [h] * len(steps) if delta is None else h + delta
    changes = []
    with torch.no_grad():
        before, weight, bias = layer(h), layer.weight.clone(), layer.bias.clone()
        for x, step, b in zip(at, steps, of_bias, strict=True):
            layer.weight += step
            layer.bias += b
            changes.append(layer(x) - before)
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return torch.stack(changes)


def _held(way, layer, h, n, places, moves, with_bias, seed):
    """A way of computing steps of so many places, and steps written out, equal the definition."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    mapped = isinstance(layer, MapConv)
    o = layer.weight.shape[3] if mapped else len(layer.weight)
    a, slope = random(n, layer.weight.numel() // o, places), random(n, o, places)
    delta = random(n, *h.shape) if moves else None
    if h.ndim == 4:  # channels together, as the engine lays maps out
        h = h.contiguous(memory_format=torch.channels_last)
        if delta is not None:
            delta = delta.movedim(2, 4).contiguous().movedim(4, 2)
    matrices = (slope @ a.mT).mT if mapped else slope @ a.mT
    steps = [m.reshape(layer.weight.shape) for m in matrices]
    of_bias = slope.sum(2) * with_bias
    want = _of_definition(layer, h, delta, steps, of_bias)
    got = way(layer, h, delta, a, slope, with_bias)
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    written = affine_change.of_written_out(layer, h, delta, steps)
    without_bias = _of_definition(layer, h, delta, steps, 0 * of_bias)
    torch.testing.assert_close(written, without_bias, rtol=1e-9, atol=1e-9)


SIZES = {
    "n": st.integers(1, 5),
    "places": st.integers(1, 4),
    "moves": st.booleans(),
    "with_bias": st.booleans(),
    "seed": st.integers(0, 2**16),
}


@given(rows=st.integers(1, 20), k=st.integers(1, 9), o=st.integers(1, 9), **SIZES)
def test_a_dense_layer(rows, k, o, n, places, moves, with_bias, seed):
    torch.manual_seed(seed)
    layer, h = nn.Linear(k, o).double(), torch.randn(rows, k).double()
    _held(affine_change.of_low_rank, layer, h, n, places, moves, with_bias, seed)
    _held(affine_change.of_low_rank, layer, h.view(1, rows, k), n, places, moves, with_bias, seed)


MAPS = {
    "size": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
}


def _convolution(size, kernel, stride, padding, dilation, seed):
    if not networks.kernel_fits(size, kernel, padding, dilation):
        return None
    torch.manual_seed(seed)
    return nn.Conv2d(3, 4, kernel, stride, padding, dilation).double()


@given(**MAPS, **SIZES)
def test_a_convolution(size, kernel, stride, padding, dilation, n, places, moves, with_bias, seed):
    conv = _convolution(size, kernel, stride, padding, dilation, seed)
    if conv is None:
        return
    h = torch.randn(2, 3, *size).double()
    _held(affine_change.of_low_rank, conv, h, n, places, moves, with_bias, seed)
    mapped = MapConv(conv, size)
    reads = [affine_change._reads_of_whole_maps, affine_change._reads_by_convolution]
    ways = [partial(affine_change._of_maps, of_maps) for of_maps in reads]
    for way in [affine_change.of_low_rank, *ways]:
        _held(way, mapped, h, n, places, moves, with_bias, seed)


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (3, 4, 5, 6)])
def test_changes_come_together_as_they_are_laid_out(shape):
    parts = [torch.randn(n, *shape) for n in (2, 1, 3)]
    if len(shape) == 4:
        parts = [part.movedim(2, 4).contiguous().movedim(4, 2) for part in parts]
    together = affine_change.together(parts)
    assert torch.equal(together, torch.cat(parts))
    if len(shape) == 4:
        assert together.movedim(2, 4).is_contiguous()
    assert affine_change.together(parts[:1]) is parts[0]
