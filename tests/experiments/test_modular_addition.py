"""Addition modulo p: what is trained and measured, and the same numbers on other processes."""

import numpy as np
import pytest
import torch

import srel_core as sc
from srel_core.experiments import modular_addition
from srel_core.experiments.modular_addition import (
    DIVERGENCES,
    ModularAddition,
    Transformer,
    run_all,
)

SMALL = ModularAddition(
    p=11, trained_share=0.5, width=8, n_steps=4, measure_every=2, answers=3, per_answer=2
)


@pytest.fixture
def seen(monkeypatch):
    """What is measured, and what with: the arguments of every `influence`."""
    calls, true = [], sc.influence

    def influence(*given, **options):
        calls.append(given)
        return true(*given, **options)

    monkeypatch.setattr(modular_addition, "influence", influence)
    return calls


def test_samples_are_trained_and_probes_held_out_with_their_mirror_images(seen):
    SMALL.run(0)
    _, x, y, probes = seen[0]
    assert ((x[:, 0] + x[:, 1]) % 11 == y).all() and (x[:, 2] == 11).all()
    assert x.shape == (6, 3) and len(set(y.tolist())) == 3
    rows = {tuple(row) for row in probes.tolist()}
    assert rows == {(b, a, sign) for a, b, sign in rows}
    assert not rows & {tuple(row) for row in x.tolist()}
    assert {(a + b) % 11 for a, b, _ in rows} <= set(y.tolist())


def test_it_learns_by_heart():
    course = ModularAddition(p=11, trained_share=0.5, width=32, n_steps=150, measure_every=150).run(
        0
    )
    assert course.steps.tolist() == [0, 150]
    assert course.trained[-1] == 1 > course.trained[0]
    assert set(course.auc) == {*DIVERGENCES}
    assert all(((a >= 0) & (a <= 1)).all() for a in course.auc.values())


@pytest.mark.usefixtures("untouched_global_rng")
def test_each_seed_is_the_same_in_a_process_of_its_own():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = [SMALL.run(seed) for seed in (0, 1)]
    finally:
        torch.set_num_threads(threads)
    for alone, found in zip(here, run_all(SMALL, (0, 1)), strict=True):
        np.testing.assert_array_equal(alone.held_out, found.held_out)
        for name in DIVERGENCES:
            np.testing.assert_array_equal(alone.auc[name], found.auc[name])
    assert not np.array_equal(here[0].auc["kl"], here[1].auc["kl"])


def test_the_network_reads_the_order_of_its_tokens():
    torch.manual_seed(0)
    model = Transformer(5, 8).eval()
    x = torch.tensor([[1, 2, 5], [2, 1, 5]])
    assert model(x).shape == (2, 5) and not torch.allclose(*model(x))


def test_without_held_out_pairs_there_is_one_clear_line():
    with pytest.raises(ValueError, match="trained_share 1.0 leaves no held-out pair"):
        ModularAddition(p=5, trained_share=1.0, answers=2).run(0)
