"""Discrepancies D(new, old) between two predictions, exact for changes of any size.

Each takes the logits z before a step and their change δz, not the two predictions: KL is of
second order in the change, so a difference of rounded predictions has nothing left of it. With
p = softmax(z) before the step, the change of the log-probabilities is

    d = δz − log1p(Σ_c p_c expm1(δz_c)),

    KL(new‖old) = Σ_c p_c φ(d_c),  φ(d) = 1 + e^d (d − 1)
    KL(old‖new) = Σ_c p_c ψ(d_c),  ψ(d) = e^d − 1 − d,

where φ, ψ ≥ 0 and both are ≈ d²/2 for small d. The limit of an infinitely small step is there
as well (`tangent`): KL → ½ δᵀFδ, F = diag(p) − p pᵀ, and every norm is its own limit.
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


def _change_of_log_probs(z: Tensor, dz: Tensor) -> Tensor:
    """d = log p_new − log p_old, (..., C), free of cancellation for small δz."""
    p = z.softmax(-1)
    dz = dz - (p * dz).sum(-1, keepdim=True)  # d does not see a shift common to all classes
    small = dz.abs().amax(-1, keepdim=True) < 1
    safe = torch.where(small, dz, 0)
    by_change = safe - torch.log1p((p * torch.expm1(safe)).sum(-1, keepdim=True))
    by_difference = (z + dz).log_softmax(-1) - z.log_softmax(-1)
    return torch.where(small, by_change, by_difference)


def kl(z: Tensor, dz: Tensor) -> Tensor:
    """KL(new‖old) of the class probabilities, in nats: (..., C), (..., C) → (...)."""
    d, log_p = _change_of_log_probs(z, dz), z.log_softmax(-1)
    p_old, p_new = log_p.exp(), (log_p + d).exp()
    terms = torch.where(
        d.abs() < _SERIES_BELOW, p_old * _power_series(d, _PHI), p_old + p_new * (d - 1)
    )
    return terms.sum(-1).clamp_min(0)


def reverse_kl(z: Tensor, dz: Tensor) -> Tensor:
    """KL(old‖new) of the class probabilities, in nats: (..., C), (..., C) → (...)."""
    d, log_p = _change_of_log_probs(z, dz), z.log_softmax(-1)
    p_old, p_new = log_p.exp(), (log_p + d).exp()
    terms = torch.where(
        d.abs() < _SERIES_BELOW, p_old * _power_series(d, _PSI), p_new - p_old - p_old * d
    )
    return terms.sum(-1).clamp_min(0)


def _change_of_probs(z: Tensor, dz: Tensor) -> Tensor:
    d, log_p = _change_of_log_probs(z, dz), z.log_softmax(-1)
    return torch.where(
        d < 1, log_p.exp() * torch.expm1(d.clamp_max(1)), (log_p + d).exp() - log_p.exp()
    )


def l1_probs(z: Tensor, dz: Tensor) -> Tensor:
    """Σ_c |p_new,c − p_old,c|: (..., C), (..., C) → (...)."""
    return _change_of_probs(z, dz).abs().sum(-1)


def l2_probs(z: Tensor, dz: Tensor) -> Tensor:
    """√Σ_c (p_new,c − p_old,c)²: (..., C), (..., C) → (...)."""
    return torch.linalg.vector_norm(_change_of_probs(z, dz), dim=-1)


def l1_logits(z: Tensor, dz: Tensor) -> Tensor:
    """Σ_c |δz_c|: (..., C), (..., C) → (...)."""
    return dz.abs().sum(-1)


def l2_logits(z: Tensor, dz: Tensor) -> Tensor:
    """√Σ_c δz_c²: (..., C), (..., C) → (...)."""
    return torch.linalg.vector_norm(dz, dim=-1)


def _fisher_product(z: Tensor, dz: Tensor) -> Tensor:
    """F δ = p ∘ (δ − ⟨p, δ⟩): the first-order change of the class probabilities."""
    p = z.softmax(-1)
    return p * (dz - (p * dz).sum(-1, keepdim=True))


def _tangent_kl(z: Tensor, dz: Tensor) -> Tensor:
    p = z.softmax(-1)
    return 0.5 * (p * (dz - (p * dz).sum(-1, keepdim=True)).square()).sum(-1)


def _tangent_l1_probs(z: Tensor, dz: Tensor) -> Tensor:
    return _fisher_product(z, dz).abs().sum(-1)


def _tangent_l2_probs(z: Tensor, dz: Tensor) -> Tensor:
    return torch.linalg.vector_norm(_fisher_product(z, dz), dim=-1)


@dataclass(frozen=True)
class Divergence:
    """A named D: its value for a finite change and its leading term for a vanishing one."""

    name: str
    finite: Callable[[Tensor, Tensor], Tensor]
    tangent: Callable[[Tensor, Tensor], Tensor]
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
    Divergence("kl", kl, _tangent_kl),
    Divergence("reverse_kl", reverse_kl, _tangent_kl),
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
