"""Discrepancies D(new, old) between two predictions, exact for changes of any size.

Each takes the logits z before a step and their change δz, not the two predictions: KL is of
second order in the change, so a difference of rounded predictions has nothing left of it. With
p = softmax(z) before the step, the change of the log-probabilities is

    d = δz − log1p(Σ_c p_c expm1(δz_c)),

    KL(new‖old) = Σ_c p_c φ(d_c),  φ(d) = 1 + e^d (d − 1)
    KL(old‖new) = Σ_c p_c ψ(d_c),  ψ(d) = e^d − 1 − d,

where φ, ψ ≥ 0 and both are ≈ d²/2 for small d. The limit of an infinitely small step is there
as well (`tangent`): KL → ½ δᵀFδ, F = diag(p) − p pᵀ, and every norm is its own limit.

z and δz may be of any size up to a quarter of the largest float: D is right for z and δz that
differ by a rounding of their largest entry. A class whose p is below the smallest float counts as
one of probability 0. D is infinite where it is beyond the largest float, and NaN where a logit is
not finite, which no measurement lets pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from srel_core.choices import check_known

# Below this |d| the series of φ and ψ, cut after d⁹, is exact to float64; above it the closed
# forms lose at most two digits.
_SERIES_BELOW = 0.05


def _power_series(d: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Σ_k coefficients[k] d^(k+2) by Horner's rule."""
    total = torch.zeros_like(d)
    for coefficient in reversed(coefficients):
        total = total * d + coefficient
    return total * d * d


_FACTORIALS = (2, 6, 24, 120, 720, 5040, 40320, 362880)
_PHI = [(k + 1) / f for k, f in enumerate(_FACTORIALS)]  # (k − 1)/k! from k = 2
_PSI = [1 / f for f in _FACTORIALS]  # 1/k! from k = 2


def _without_shift(p: Tensor, dz: Tensor) -> Tensor:
    """δz less that of the likeliest class: D does not see a shift common to all classes."""
    return dz - dz.gather(-1, p.argmax(-1, keepdim=True).expand(*dz.shape[:-1], 1))


def _centred(p: Tensor, dz: Tensor) -> Tensor:
    """δz − Σ_c p_c δz_c."""
    dz = _without_shift(p, dz)
    return dz - (p * dz).sum(-1, keepdim=True)


def _log_probs(z: Tensor, dz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """d = log p_new − log p_old, free of cancellation for small δz, and these two: (..., C)."""
    old = z - z.amax(-1, keepdim=True)
    log_sum_old = old.logsumexp(-1, keepdim=True)
    log_old = old - log_sum_old
    p = log_old.exp()
    dz = _without_shift(p, dz)
    small = dz.abs().amax(-1, keepdim=True) < 1
    safe = torch.where(small, dz - (p * dz).sum(-1, keepdim=True), 0)
    by_change = safe - torch.log1p((p * torch.expm1(safe)).sum(-1, keepdim=True))
    # Not log_old + d: where d is huge, its rounding is all of log p_new.
    new = old + dz
    by_sums = dz - (new.logsumexp(-1, keepdim=True) - log_sum_old)
    log_new = torch.where(small, log_old + by_change, new.log_softmax(-1))
    return torch.where(small, by_change, by_sums), log_old, log_new


def log_prob_changes(z: Tensor, dz: Tensor) -> Tensor:
    """log p_new,c − log p_old,c of each class probability: (..., C), (..., C) → (..., C)."""
    return _log_probs(z, dz)[0]


def _times(p: Tensor, factor: Tensor) -> Tensor:
    """p · factor, 0 where p = 0: whatever the factor, its class is not there."""
    return torch.where(p > 0, p * factor, 0)


def kl(z: Tensor, dz: Tensor) -> Tensor:
    """KL(new‖old) of the class probabilities, in nats: (..., C), (..., C) → (...)."""
    d, log_old, log_new = _log_probs(z, dz)
    p_old = log_old.exp()
    terms = torch.where(
        d.abs() < _SERIES_BELOW,
        p_old * _power_series(d, _PHI),
        p_old + _times(log_new.exp(), d - 1),
    )
    return terms.sum(-1).clamp_min(0)


def reverse_kl(z: Tensor, dz: Tensor) -> Tensor:
    """KL(old‖new) of the class probabilities, in nats: (..., C), (..., C) → (...)."""
    d, log_old, log_new = _log_probs(z, dz)
    p_old = log_old.exp()
    terms = torch.where(
        d.abs() < _SERIES_BELOW,
        p_old * _power_series(d, _PSI),
        log_new.exp() - _times(p_old, d + 1),
    )
    return terms.sum(-1).clamp_min(0)


def _change_of_probs(z: Tensor, dz: Tensor) -> Tensor:
    d, log_old, log_new = _log_probs(z, dz)
    p_old = log_old.exp()
    return torch.where(d < 1, p_old * torch.expm1(d.clamp_max(1)), log_new.exp() - p_old)


def _norm(v: Tensor) -> Tensor:
    """√Σ_c v_c², which neither over- nor underflows where its square does: (..., C) → (...)."""
    largest = v.abs().amax(-1, keepdim=True)
    ratio = v / torch.where(largest > 0, largest, 1)
    return largest.squeeze(-1) * torch.linalg.vector_norm(ratio, dim=-1)


def l1_probs(z: Tensor, dz: Tensor) -> Tensor:
    """Σ_c |p_new,c − p_old,c|: (..., C), (..., C) → (...)."""
    return _change_of_probs(z, dz).abs().sum(-1)


def l2_probs(z: Tensor, dz: Tensor) -> Tensor:
    """√Σ_c (p_new,c − p_old,c)²: (..., C), (..., C) → (...)."""
    return _norm(_change_of_probs(z, dz))


def l1_logits(z: Tensor, dz: Tensor) -> Tensor:
    """Σ_c |δz_c|: (..., C), (..., C) → (...)."""
    return dz.abs().sum(-1)


def l2_logits(z: Tensor, dz: Tensor) -> Tensor:
    """√Σ_c δz_c²: (..., C), (..., C) → (...)."""
    return _norm(dz)


def _fisher_product(z: Tensor, dz: Tensor) -> Tensor:
    """F δ = p ∘ (δ − ⟨p, δ⟩): the first-order change of the class probabilities."""
    p = z.softmax(-1)
    return p * _centred(p, dz)


def _tangent_kl(z: Tensor, dz: Tensor) -> Tensor:
    p = z.softmax(-1)
    return 0.5 * (p.sqrt() * _centred(p, dz)).square().sum(-1)


def _tangent_l1_probs(z: Tensor, dz: Tensor) -> Tensor:
    return _fisher_product(z, dz).abs().sum(-1)


def _tangent_l2_probs(z: Tensor, dz: Tensor) -> Tensor:
    return _norm(_fisher_product(z, dz))


@dataclass(frozen=True)
class Divergence:
    """A named D: its value for a finite change and its leading term for a vanishing one.

    `order` is the power of the change that the leading term is of: 1 for a norm, 2 for KL.
    """

    name: str
    finite: Callable[[Tensor, Tensor], Tensor]
    tangent: Callable[[Tensor, Tensor], Tensor]
    order: int = 1
    scalar: bool = False  # for predictions of one number; the others need at least two classes

    def check(self, n_outputs: int) -> None:
        """Raise ValueError unless it is defined for predictions of `n_outputs` numbers."""
        if self.scalar and n_outputs != 1:
            raise ValueError(
                f"divergence {self.name!r} is for a scalar prediction, but the model has "
                f"{n_outputs} outputs: use l2_logits or kl"
            )
        if not self.scalar and n_outputs < 2:
            raise ValueError(
                f"divergence {self.name!r} needs at least two outputs, but the model has one: "
                "use abs"
            )


_ALL = (
    Divergence("kl", kl, _tangent_kl, order=2),
    Divergence("reverse_kl", reverse_kl, _tangent_kl, order=2),
    Divergence("l1_probs", l1_probs, _tangent_l1_probs),
    Divergence("l2_probs", l2_probs, _tangent_l2_probs),
    Divergence("l1_logits", l1_logits, l1_logits),
    Divergence("l2_logits", l2_logits, l2_logits),
    Divergence("abs", l1_logits, l1_logits, scalar=True),
)
DIVERGENCES = {divergence.name: divergence for divergence in _ALL}


def find_divergences(names: Sequence[str], n_outputs: int | None = None) -> list[Divergence]:
    """The divergences of these names; ValueError for none, an unknown one or an unfit one."""
    if isinstance(names, str) or not names:
        raise ValueError(f"divergences must be a non-empty sequence of names, not {names!r}")
    for name in names:
        check_known("divergence", name, DIVERGENCES)
        if list(names).count(name) > 1:
            raise ValueError(f"divergences names {name!r} twice")
    found = [DIVERGENCES[name] for name in names]
    if n_outputs is not None:
        for divergence in found:
            divergence.check(n_outputs)
    return found
