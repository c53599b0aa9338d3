"""The compiled loops, each against the torch operations it stands for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import srel_core as sc
from srel_core.engine.layers import compiled
from srel_core.engine.propagation import finite_differences
from tests.support import networks

DTYPES = st.sampled_from([torch.float32, torch.float64])
# The first example of a shape compiles.
PATIENT = settings(deadline=None)


@pytest.fixture(autouse=True)
def always(monkeypatch):
    monkeypatch.setattr(compiled, "WORTH_COMPILING", 0)


def _randn(seed, *shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes]


@PATIENT
@given(
    rows=st.integers(1, 9), rank=st.integers(1, 7), columns=st.integers(1, 9), dtype=DTYPES,
    scale=st.sampled_from([0.0, 1e-9, 1.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_adams_step_is_the_rules_own(rows, rank, columns, dtype, scale, seed):
    w, left, right = _randn(
        seed, (rows, columns), (rows, rank), (columns, rank), dtype=dtype
    )  # fmt: skip
    left, rule = left * scale, sc.Adam(1e-3)
    loop = compiled.AdamStep.of(rule.lr, rule.EPS, w)
    out = torch.full_like(w, torch.nan)
    loop.write(w, left, right.T, out)
    want = w + rule.change("", w, left @ right.T)
    if rank == 1:  # one product: nothing is summed, in whatever order
        assert torch.equal(out, want)
    torch.testing.assert_close(out, want, rtol=1e-6, atol=1e-8)


def test_a_step_of_many_weights_is_written_in_blocks(monkeypatch):
    monkeypatch.setattr(compiled, "_BLOCK", 20)
    w, left, right = _randn(0, (11, 7), (11, 6), (6, 7))
    out = torch.full_like(w, torch.nan)
    compiled.AdamStep.of(1e-3, 1e-8, w).write(w, left, right, out)
    torch.testing.assert_close(out, w + sc.Adam(1e-3).change("", w, left @ right))


def _in_layout(h, delta, channels_last):
    """Both channels_last, or as they are."""
    if not channels_last:
        return h, delta
    together = delta.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return h.contiguous(memory_format=torch.channels_last), together


@PATIENT
@given(
    n=st.integers(1, 3), inputs=st.integers(1, 3), channels=st.integers(1, 5),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)), channels_last=st.booleans(), dtype=DTYPES,
    seed=st.integers(0, 99),
)  # fmt: skip
def test_a_relu_in_place_has_the_same_bits(n, inputs, channels, size, channels_last, dtype, seed):
    h, delta = _randn(seed, (inputs, channels, *size), (n, inputs, channels, *size), dtype=dtype)
    h, delta = _in_layout(h, delta, channels_last)
    h[0, 0, 0, 0], delta[-1, 0, 0, 0, 0] = 0.0, torch.nan
    relu = finite_differences.ReluDifference(h)
    want = torch.maximum(delta + relu.below, relu.floor)
    kept = delta.clone()
    assert torch.equal(relu(delta).nan_to_num(nan=-7), want.nan_to_num(nan=-7))
    assert torch.equal(delta.nan_to_num(nan=-7), kept.nan_to_num(nan=-7))
    got = relu(delta, overwrite=True)
    assert torch.equal(got.nan_to_num(nan=-7), want.nan_to_num(nan=-7))
    assert got.data_ptr() == delta.data_ptr()


def test_a_relu_leaves_a_change_of_another_layout_alone():
    h, delta = _randn(0, (2, 3, 4, 5), (2, 2, 3, 4, 5))
    relu, kept = (
        finite_differences.ReluDifference(h.contiguous(memory_format=torch.channels_last)),
        delta.clone(),
    )
    want = torch.maximum(delta + relu.below, relu.floor)
    assert torch.equal(relu(delta, overwrite=True), want) and torch.equal(delta, kept)
    repeated = delta[:1].expand(2, -1, -1, -1, -1)  # the same memory for both steps
    assert torch.equal(finite_differences.ReluDifference(h)(repeated, overwrite=True)[1], want[0])
    assert torch.equal(delta, kept)


@PATIENT
@given(
    n=st.integers(1, 2), inputs=st.integers(1, 2), channels=st.integers(1, 4),
    size=st.tuples(st.integers(3, 7), st.integers(3, 7)), dtype=DTYPES, seed=st.integers(0, 99),
    kernel=st.tuples(st.integers(2, 3), st.integers(2, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), padding=st.integers(0, 1),
    is_nan=st.booleans(),
)  # fmt: skip
def test_a_maximum_over_windows_has_the_same_bits(
    n, inputs, channels, size, dtype, seed, kernel, stride, padding, is_nan
):
    h, delta = _randn(seed, (inputs, channels, *size), (n, inputs, channels, *size), dtype=dtype)
    h, delta = _in_layout(h, delta, True)
    if is_nan:
        delta[0, 0, 0, 1, 1] = torch.nan
    pool = finite_differences.MaxPoolDifference(nn.MaxPool2d(kernel, stride, padding), h)
    assert pool.loop(delta) is not None or channels == 1  # then both layouts are the same
    want = pool._by_pixels(delta)
    assert torch.equal(pool(delta).nan_to_num(nan=-7), want.nan_to_num(nan=-7))
    assert torch.equal(pool(delta.contiguous()).nan_to_num(nan=-7), want.nan_to_num(nan=-7))


class UsesItsSumTwice(nn.Module):
    """A change that is still wanted after the ReLU that could have overwritten it."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(192, 9), nn.Linear(9, 3)

    def forward(self, x):
        z = self.inner(x.flatten(1))
        seen = z[:, :]  # the same memory by another name
        return self.head(torch.relu(z) + torch.relu(seen) + seen)


@pytest.mark.parametrize("rule", [sc.SGD(1e-2), sc.Adam(1e-3)], ids=str)
@pytest.mark.parametrize("name", ["mlp", "resnet18", "batchnorm", "twice"])
def test_measurements_are_the_same_with_loops_and_without(name, rule, monkeypatch):
    monkeypatch.setitem(networks.MODELS, "twice", UsesItsSumTwice)
    model, (x, y, probes) = networks.make(name), networks.batch(3, 4)
    with_loops = sc.influence(model, x, y, probes, rule=rule)
    monkeypatch.setattr(compiled, "WORTH_COMPILING", 2**40)
    without = sc.influence(model, x, y, probes, rule=rule)
    assert with_loops.method == without.method
    scale = without.delta.abs().max()
    torch.testing.assert_close(with_loops.delta / scale, without.delta / scale, rtol=0, atol=1e-12)
    if isinstance(rule, sc.SGD):
        assert torch.equal(with_loops.delta, without.delta)
