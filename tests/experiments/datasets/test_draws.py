"""The draws made from images, against the obvious way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srel_core.experiments.datasets import DataError, augment, draw_per_class, normalise


def augment_one(image, top, left, flip):
    """One image, the obvious way."""
    padded = torch.zeros(3, 40, 40)
    padded[:, 4:36, 4:36] = image
    crop = padded[:, top : top + 32, left : left + 32]
    return crop.flip(-1) if flip else crop


@given(n=st.integers(0, 20), seed=st.integers(0, 2**63 - 1))
def test_augment_equals_the_loop_with_the_same_draws(n, seed):
    images = torch.rand(n, 3, 32, 32)
    before = torch.random.get_rng_state()
    ours = augment(images, seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    draws = torch.Generator().manual_seed(seed)
    top, left = (torch.randint(9, (n,), generator=draws) for _ in range(2))
    flip = torch.randint(2, (n,), generator=draws)
    for i in range(n):
        assert torch.equal(ours[i], augment_one(images[i], top[i], left[i], flip[i]))
    assert torch.equal(ours, augment(images, seed))


def test_augment_draws_every_offset_and_flip_alike():
    n = 20_000
    ramp = torch.arange(1.0, 33).expand(n, 3, 32, 32)  # a pixel tells its column
    crops = augment(ramp, seed=0)
    flipped = crops[:, 0, 16, 15] > crops[:, 0, 16, 16]
    shift = torch.where(flipped, crops[:, 0, 16, 16], crops[:, 0, 16, 15]).long() - 12
    assert abs(flipped.float().mean() - 0.5) < 0.02
    assert torch.bincount(shift, minlength=9).float().sub(n / 9).abs().max() < 0.1 * n / 9


def test_augment_pads_with_black_and_leaves_its_input():
    images = torch.ones(50, 3, 32, 32)
    assert set(augment(images, 0).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(images, torch.ones(50, 3, 32, 32))


def test_normalise():
    images = torch.rand(4, 3, 32, 32)
    mean, sd = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
    for channel in range(3):
        expected = (images[:, channel] - mean[channel]) / sd[channel]
        assert torch.equal(normalise(images)[:, channel], expected)
    assert normalise(images.double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 32, 32, 3)])
def test_transforms_refuse_other_shapes(shape):
    for transform in (normalise, lambda images: augment(images, 0)):
        with pytest.raises(DataError, match="N, 3, H, W"):
            transform(torch.zeros(shape))


@given(labels=st.lists(st.integers(0, 3)), per_class=st.integers(1, 5), seed=st.integers(0, 9))
def test_draw_per_class(labels, per_class, seed):
    y = torch.tensor([*labels, *[0, 1, 2, 3] * 5])
    before = torch.random.get_rng_state()
    drawn = draw_per_class(y, per_class, seed)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn.dtype == torch.int64
    assert y[drawn].tolist() == [c for c in range(4) for _ in range(per_class)]
    assert len(set(drawn.tolist())) == len(drawn)
    assert torch.equal(drawn, draw_per_class(y, per_class, seed))
    more = draw_per_class(y, 5, seed).reshape(4, 5)
    assert torch.equal(drawn, more[:, :per_class].flatten())


def test_draw_per_class_draws_all_alike():
    counts = sum(
        torch.bincount(draw_per_class(torch.zeros(10).long(), 3, seed), minlength=10)
        for seed in range(1000)
    )
    assert (counts - 300).abs().max() < 75  # five standard deviations


@pytest.mark.parametrize(
    ("labels", "per_class", "words"),
    [
        ([0, 0, 1], 2, "class 1 has 1 samples, 2 asked"),
        ([0, 0, 2, 2], 1, "class 1 has 0 samples, 1 asked"),
        ([0, 1], 0, "per_class ≥ 1"),
        ([], 1, "got 0"),
    ],
)
def test_draw_per_class_refuses(labels, per_class, words):
    with pytest.raises(DataError) as error:
        draw_per_class(torch.tensor(labels, dtype=torch.int64), per_class, 0)
    assert words in str(error.value)
