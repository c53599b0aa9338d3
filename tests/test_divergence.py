"""The divergences against mpmath, which keeps 60 digits."""

from itertools import pairwise

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srel_core.divergence import DIVERGENCES, find_divergences

N_CLASSES = 4


def _exact(name: str, z: list[float], dz: list[float]) -> float:
    """Straight from the definition, in 60 digits."""
    with mpmath.workdps(60):
        z, dz = [mpmath.mpf(v) for v in z], [mpmath.mpf(v) for v in dz]
        new = [a + b for a, b in zip(z, dz, strict=True)]
        weights_old, weights_new = [mpmath.exp(v) for v in z], [mpmath.exp(v) for v in new]
        p = [w / sum(weights_old) for w in weights_old]
        q = [w / sum(weights_new) for w in weights_new]
        pairs = list(zip(p, q, strict=True))
        value = {
            "kl": lambda: sum(b * mpmath.log(b / a) for a, b in pairs),
            "reverse_kl": lambda: sum(a * mpmath.log(a / b) for a, b in pairs),
            "l1_probs": lambda: sum(abs(b - a) for a, b in pairs),
            "l2_probs": lambda: mpmath.sqrt(sum((b - a) ** 2 for a, b in pairs)),
            "l1_logits": lambda: sum(abs(v) for v in dz),
            "l2_logits": lambda: mpmath.sqrt(sum(v**2 for v in dz)),
        }[name]()
        return float(value)


logits = st.lists(st.floats(-30, 30), min_size=N_CLASSES, max_size=N_CLASSES)
direction = st.lists(st.floats(-1, 1), min_size=N_CLASSES, max_size=N_CLASSES)
VECTOR = [name for name, divergence in DIVERGENCES.items() if not divergence.scalar]


@pytest.mark.parametrize("name", VECTOR)
@given(z=logits, towards=direction, exponent=st.integers(-12, 2))
def test_agrees_with_sixty_digits(name, z, towards, exponent):
    dz = [v * 10.0**exponent for v in towards]
    got = DIVERGENCES[name].finite(torch.tensor(z).double(), torch.tensor(dz).double())
    want = _exact(name, torch.tensor(z).double().tolist(), torch.tensor(dz).double().tolist())
    # Rounding of dz relative to its largest entry is all that may be lost.
    scale = max(map(abs, dz), default=0.0)
    order = 2 if "kl" in name else 1
    assert float(got) == pytest.approx(want, rel=1e-9, abs=1e-14 * scale**order)


@pytest.mark.parametrize("name", VECTOR)
def test_no_change_is_exactly_zero(name):
    z = torch.randn(50, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 20
    assert torch.equal(DIVERGENCES[name].finite(z, torch.zeros_like(z)), torch.zeros(50).double())


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "l1_probs", "l2_probs"])
def test_a_shift_of_all_logits_is_no_change_of_probabilities(name):
    z = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert float(DIVERGENCES[name].finite(z, torch.full_like(z, 0.3))) < 1e-16


@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_the_tangent_is_the_limit(name):
    generator = torch.Generator().manual_seed(1)
    size = 1 if DIVERGENCES[name].scalar else 4
    z, dz = (torch.randn(20, size, dtype=torch.float64, generator=generator) for _ in range(2))
    order = 2 if "kl" in name else 1
    limit = DIVERGENCES[name].tangent(z, dz)
    errors = [
        (DIVERGENCES[name].finite(z, step * dz) / step**order - limit).abs().max()
        for step in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] <= 1e-1 * max(1.0, float(limit.max()))
    for coarse, fine in pairwise(errors):
        assert fine <= 0.2 * coarse + 1e-11


def test_a_huge_change_stays_finite():
    z = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    dz = torch.tensor([2000.0, -3000.0, 0.0], dtype=torch.float64)
    for name in VECTOR:
        assert torch.isfinite(DIVERGENCES[name].finite(z, dz))
    assert float(DIVERGENCES["kl"].finite(z, dz)) == pytest.approx(-float(z.log_softmax(0)[0]))


def test_names_are_checked():
    with pytest.raises(ValueError, match="unknown divergence 'k1': the nearest is 'kl'"):
        find_divergences(["k1"])
    with pytest.raises(ValueError, match="non-empty"):
        find_divergences([])
    with pytest.raises(ValueError, match="non-empty"):
        find_divergences("kl")
    with pytest.raises(ValueError, match="for a scalar prediction, but the model has 3"):
        find_divergences(["abs"], n_outputs=3)
    with pytest.raises(ValueError, match="needs at least two outputs"):
        find_divergences(["kl"], n_outputs=1)
