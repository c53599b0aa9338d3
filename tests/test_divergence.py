"""The divergences against mpmath, which keeps 60 digits."""

from itertools import pairwise

import mpmath
import pytest
import torch
from hypothesis import given, settings
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
    order = DIVERGENCES[name].order
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
    order = DIVERGENCES[name].order
    limit = DIVERGENCES[name].tangent(z, dz)
    errors = [
        (DIVERGENCES[name].finite(z, step * dz) / step**order - limit).abs().max()
        for step in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] <= 1e-1 * max(1.0, float(limit.max()))
    for coarse, fine in pairwise(errors):
        assert fine <= 0.2 * coarse + 1e-11


def _log_softmax(z):
    """In mpmath; a class more than 3000 below the largest adds nothing to the sum."""
    z = [v - max(z) for v in z]
    return [v - mpmath.log(mpmath.fsum(mpmath.exp(w) for w in z if w > -3000)) for v in z]


def _exact_far(name: str, z: list[float], dz: list[float]) -> float:
    """From log-probabilities in 700 digits; those below e^{−3000} are of no class that is there."""
    with mpmath.workdps(700):
        z, dz = [mpmath.mpf(v) for v in z], [mpmath.mpf(v) for v in dz]
        old, new = _log_softmax(z), _log_softmax([a + b for a, b in zip(z, dz, strict=True)])
        p, q = ([mpmath.exp(v) if v > -3000 else mpmath.mpf(0) for v in log] for log in (old, new))
        both = list(zip(p, q, old, new, strict=True))
        value = {
            "kl": lambda: sum(b * (log_b - log_a) for a, b, log_a, log_b in both),
            "reverse_kl": lambda: sum(a * (log_a - log_b) for a, b, log_a, log_b in both),
            "l1_probs": lambda: sum(abs(b - a) for a, b, *_ in both),
            "l2_probs": lambda: mpmath.sqrt(sum((b - a) ** 2 for a, b, *_ in both)),
            "l1_logits": lambda: sum(abs(v) for v in dz),
            "l2_logits": lambda: mpmath.sqrt(sum(v**2 for v in dz)),
        }[name]()
        return float(value)


FAR_LOGITS = [0.0, 1.0, -30.0, 700.0, -745.0, 1e5, 1e17, -1e17, 1e300, -1e300]
FAR_CHANGES = [
    0.0,
    1e-320,
    -1e-160,
    1e-8,
    -0.3,
    0.99,
    1.01,
    -50.0,
    745.0,
    -1e4,
    1e17,
    1e300,
    -1e300,
]


def _without_rounding(values: list[float]) -> list[float]:
    """Beside 1e17, 1 is a rounding: but where two classes tie, it decides which is the larger."""
    largest = max(map(abs, values))
    return [v if largest < 1e10 or abs(v) > 1e-10 * largest else 0.0 for v in values]


@pytest.mark.parametrize("name", VECTOR)
@settings(max_examples=80)
@given(
    st.lists(st.sampled_from(FAR_LOGITS), min_size=3, max_size=3),
    st.lists(st.sampled_from(FAR_CHANGES), min_size=3, max_size=3),
    st.sampled_from([0.0, 0.0, 1e17, -1e300]),
)
def test_agrees_with_700_digits_at_any_size(name, z, dz, shift):
    z, dz = _without_rounding(z), _without_rounding(dz)
    if max(map(abs, dz)) < 1e5:
        dz = [v + shift for v in dz]
    tensors = (torch.tensor(v, dtype=torch.float64) for v in (z, dz))
    got, want = float(DIVERGENCES[name].finite(*tensors)), _exact_far(name, z, dz)
    if name.endswith("logits"):
        assert got == pytest.approx(want, rel=1e-14, abs=0)
        return
    # Changes are known to a rounding of their spread; p below the smallest float counts as 0.
    spread, order = max(dz) - min(dz), DIVERGENCES[name].order
    rounding = 1e-14 * spread if spread >= 1 else (1e-14 * spread) * spread ** (order - 1)
    assert got == pytest.approx(want, rel=1e-9, abs=max(rounding, 1e-307 * spread, 1e-320))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_norm_of_a_change_whose_square_no_float_holds(dtype):
    z = torch.zeros(2, dtype=dtype)
    for size in (torch.finfo(dtype).tiny, torch.finfo(dtype).max / 8):
        dz = torch.tensor([3 * size, -4 * size], dtype=dtype)
        for of in (DIVERGENCES["l2_logits"].finite, DIVERGENCES["l2_logits"].tangent):
            assert float(of(z, dz) / size) == pytest.approx(5, rel=1e-6)


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
