"""The published quantities: against torch code for the same formula, and what they are not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from srel_core.book.published import definitions
from srel_core.book.published.definitions import QUANTITIES, published_class_curves
from srel_core.book.published.numbers import PUBLISHED
from srel_core.divergence import kl
from tests.support.class_experiments import run_tiny


def _logits(seed, shape, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * scale


shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 7))


@given(seed=st.integers(0, 2**20), shape=shapes, scale=st.floats(1e-6, 20))
def test_each_quantity_is_what_torch_makes_of_the_probabilities(seed, shape, scale):
    z, dz = _logits(seed, shape, scale), _logits(seed + 1, shape)
    old, new = F.softmax(z, -1), F.softmax(z + dz, -1)
    close = dict(rtol=1e-9, atol=1e-15)
    want = F.kl_div(new, old, reduction="none").mean(-1)
    torch.testing.assert_close(definitions.published_kl(z, dz), want, **close)
    want = F.l1_loss(new, old, reduction="none").mean(-1)
    torch.testing.assert_close(definitions.published_l1(z, dz), want, **close)
    want = F.mse_loss(new, old, reduction="none").mean(-1).sqrt()
    torch.testing.assert_close(definitions.published_l2(z, dz), want, **close)
    entropy = torch.special.entr(old).sum(-1)
    by_entropy = -(entropy + (old * new).sum(-1)) / shape[-1]
    torch.testing.assert_close(definitions.published_kl(z, dz), by_entropy, **close)


def test_the_mean_of_one_prediction_is_what_kl_div_gives_by_default():
    z, dz = _logits(0, (1, 3)), _logits(1, (1, 3))
    with pytest.warns(UserWarning, match="reduction: 'mean' divides"):
        default = F.kl_div((z + dz).softmax(-1), z.softmax(-1))
    torch.testing.assert_close(definitions.published_kl(z, dz)[0], default)


def test_the_published_kl_of_no_change_is_not_zero():
    z = torch.log(torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64))
    nothing = torch.zeros(3, dtype=torch.float64)
    assert kl(z, nothing) == 0
    by_hand = -(0.7 * (0.7 - math.log(0.7)) + 0.2 * (0.2 - math.log(0.2))
                + 0.1 * (0.1 - math.log(0.1))) / 3  # fmt: skip
    assert float(definitions.published_kl(z, nothing)) == pytest.approx(by_hand, rel=1e-12)
    assert by_hand < -0.4


@given(
    seed=st.integers(0, 2**20), n_classes=st.integers(2, 12), scale=st.floats(0, 50)
)  # fmt: skip
def test_without_change_the_published_ratio_stays_in_its_range(seed, n_classes, scale):
    z = _logits(seed, (2, n_classes), scale)
    at_probe, at_sample = definitions.published_kl(z, torch.zeros_like(z))
    low, high = definitions.range_without_change(n_classes)
    assert low * (1 - 1e-12) <= at_probe / at_sample <= high * (1 + 1e-12)


def test_the_range_is_attained_and_is_what_it_is_for_three_classes():
    low, high = definitions.range_without_change(3)
    assert (round(low, 2), round(high, 2)) == (0.70, 1.43)
    uniform, certain = torch.zeros(3).double(), torch.tensor([800.0, 0, 0]).double()
    still = [definitions.published_kl(z, torch.zeros_like(z)) for z in (uniform, certain)]
    assert float(still[0] / still[1]) == pytest.approx(high, rel=1e-12)
    with pytest.raises(ValueError, match="n_classes must be at least 2, not 1"):
        definitions.range_without_change(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("run"))


def _slowly(run, definition, rule):
    """The curves by a loop over steps, classes and pairs, from torch's own functions."""
    at, labels = run.sel(rule=rule), run.sample_class.values
    curve = np.zeros((run.sizes["step"], 3, 3))
    for t in range(run.sizes["step"]):
        z, dz = (
            torch.from_numpy(at[name].values[t]) for name in ("prediction", "prediction_change")
        )
        for c_probe, c_sample in np.ndindex(3, 3):
            ratios = []
            for j in np.flatnonzero(labels == c_probe):
                for i in np.flatnonzero(labels == c_sample):
                    old, new = F.softmax(z[j], -1), F.softmax(z[j] + dz[j, i], -1)
                    own, own_new = F.softmax(z[i], -1), F.softmax(z[i] + dz[i, i], -1)
                    if definition == "class-based":
                        above = F.kl_div(new, old, reduction="none").mean()
                        below = F.kl_div(own_new, own, reduction="none").mean() + 1e-8
                    else:
                        above = torch.sqrt(F.mse_loss(new, old, reduction="none")).mean()
                        below = torch.sqrt(F.mse_loss(own_new, own)) + 1e-8
                    ratios.append(float(above / below))
            curve[t, c_probe, c_sample] = np.mean(ratios)
    return curve


@pytest.mark.parametrize("rule", ["adam:1e-4", "sgd:1e-4"])
@pytest.mark.parametrize("definition", QUANTITIES)
def test_class_curves_equal_a_loop_over_all_pairs(run, definition, rule):
    got = published_class_curves(run, definition, rule)
    want = _slowly(run, definition, rule)
    np.testing.assert_allclose(got.curve.values, want, rtol=1e-8)
    same = np.trace(want, axis1=1, axis2=2) / 3
    other = (want.sum((1, 2)) - 3 * same) / 6
    # Checkpoints 1 and 3 are of the first epoch, 4 and 6 of the second.
    np.testing.assert_allclose(got.same, same.reshape(2, 2).mean(1), rtol=1e-8)
    np.testing.assert_allclose(got.other, other.reshape(2, 2).mean(1), rtol=1e-8)
    assert got.probe_class.values.tolist() == ["0", "2", "4"]


def test_epsilon_bounds_the_ratio_of_a_sample_that_does_not_move(run):
    """With nothing moved at x, the original's ratio is the change at x' over ε alone."""
    still = run.copy(deep=True)
    still.own_prediction_change[:] = 0
    change, own = QUANTITIES["original"].of(still, "adam:1e-4")
    assert (own == 1e-8).all()
    assert (change / own[:, None] > 1e3).any()
    change, own = QUANTITIES["class-based"].of(still, "adam:1e-4")
    exact = definitions.Quantity(definitions.published_kl, definitions.published_kl)
    np.testing.assert_allclose(own, exact.of(still, "adam:1e-4")[1], rtol=1e-7)  # 1e-8 is nothing
    assert (own < 0).all() and (change < 0).all()


def test_self_pairs_are_in_and_are_not_one_under_the_mixed_norms(run):
    """‖v‖₁/(√3‖v‖₂) of three numbers that sum to 0 is at least √(2/3) and at most √8/3."""
    ratios = {}
    for definition, quantity in QUANTITIES.items():
        change, own = quantity.of(run, "adam:1e-4")
        ratios[definition] = np.diagonal(change / own[:, None], axis1=1, axis2=2)
    np.testing.assert_allclose(ratios["class-based"], 1, atol=1e-7)
    assert (ratios["original"] > math.sqrt(2 / 3) - 1e-3).all()
    assert (ratios["original"] < math.sqrt(8) / 3 + 1e-9).all()


def test_bad_input_gets_one_clear_line(run):
    with pytest.raises(ValueError, match="unknown published definition 'orignal': the nearest is"):
        published_class_curves(run, "orignal")
    with pytest.raises(ValueError, match="unknown rule of this result 'adam:1e-3'"):
        published_class_curves(run, "original", "adam:1e-3")
    with pytest.raises(ValueError, match="no tangent limit"):
        published_class_curves(run, "original", "tangent")


def test_the_published_figures_are_whole_and_read_as_published():
    assert set(PUBLISHED) == {"cifar10", "cifar100", "svhn"}
    for figures in PUBLISHED.values():
        for curves in (figures.same, figures.other):
            assert set(curves) == set(QUANTITIES)
            assert all(len(curve) == 7 and min(curve) > 0 for curve in curves.values())
        assert list(figures.train_accuracy) == sorted(figures.train_accuracy)
        # The published reading: `same` above `other` under the one definition, not the other.
        class_based, original = (
            np.divide(figures.same[name], figures.other[name]) for name in QUANTITIES
        )
        assert (class_based > 1).all() and (original < 1).all()
    with pytest.raises(TypeError):
        PUBLISHED["cifar10"].same["original"] = ()
