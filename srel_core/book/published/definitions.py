"""What the published classification notebooks compute, named so, and the figures they print.

Facts about the companion notebooks of Dan, Mukherjee, Das and Gampa (arXiv 2111.01166; repository
Anirbit-AI/Dynamics-of-Local-Elasticity-During-Training-of-Neural-Nets). With p, p⁺ the softmax
outputs before and after a step of a fresh Adam, and ε = 1e-8:

    definition     at a probe x'                        at the sample x
    class-based    mean_c p_c (log p_c − p⁺_c)          the same, + ε
    original       mean_c |p⁺_c − p_c|                  √(mean_c (p⁺_c − p_c)²) + ε

S_rel is the left over the right, and a class curve the mean of it over all pairs of a probe of
class c' and a sample of class c, with x' = x among them. `srel_core.divergence` has the quantities
as the paper's text defines them; `srel_core.book.published.ladder` leads from here to there.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srel_core.choices import check_known
from srel_core.divergence import DIVERGENCES, l1_probs, l2_probs
from srel_core.statistics.by_class import same_and_other

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
Measure = Callable[[Tensor, Tensor], Tensor]
"""Logits z (..., C) before a step and their change δz (..., C) → a number for each, (...)."""

EPSILON = 1e-8


def published_kl(z: Tensor, dz: Tensor) -> Tensor:
    """mean_c p_c (log p_c − p⁺_c) = −(H(p) + ⟨p, p⁺⟩)/C, in nats: (..., C), (..., C) → (...).

    In torch: `F.kl_div(p_new, p_old, reduction="none").mean(-1)`. `kl_div` takes the logarithm
    of the new probabilities and is given the probabilities, so this is no divergence: it is
    negative, and where nothing changes it is −(H(p) + ‖p‖²)/C, which depends on p alone.
    """
    old, new = z.softmax(-1), (z + dz).softmax(-1)
    return (old * (z.log_softmax(-1) - new)).mean(-1)


def published_l1(z: Tensor, dz: Tensor) -> Tensor:
    """mean_c |p⁺_c − p_c|: (..., C), (..., C) → (...)."""
    return l1_probs(z, dz) / z.shape[-1]


def published_l2(z: Tensor, dz: Tensor) -> Tensor:
    """√(mean_c (p⁺_c − p_c)²): (..., C), (..., C) → (...)."""
    return l2_probs(z, dz) / math.sqrt(z.shape[-1])


def range_without_change(n_classes: int) -> tuple[float, float]:
    """Least and largest published class-based S_rel of a step that changes no prediction.

    With nothing changed it is q(p') / q(p) (but for ε), q(p) = H(p) + ‖p‖² = Σ_c p_c (p_c −
    log p_c). As t − log t ≥ 1 on (0, 1], q ≥ 1, and q = 1 for a certain prediction. As
    log C − H(p) = KL(p‖uniform) ≥ ½‖p − 1/C‖₁² (Pinsker) ≥ ‖p − 1/C‖₂² = ‖p‖² − 1/C (the
    differences sum to 0, so none exceeds half of the 1-norm), q ≤ log C + 1/C, which the uniform
    prediction attains. Hence 1/(log C + 1/C) ≤ S_rel ≤ log C + 1/C.
    """
    if n_classes < 2:
        raise ValueError(f"n_classes must be at least 2, not {n_classes}")
    largest = math.log(n_classes) + 1 / n_classes
    return 1 / largest, largest


@dataclass(frozen=True)
class Quantity:
    """A way to compute the numerator and the denominator of S_rel from kept predictions.

    `probe` is taken at each probe, `own` at the sample, `epsilon` added to the latter. For the
    tangent limit, `tangent` stands in for both; None where there is no limit.
    """

    probe: Measure
    own: Measure
    epsilon: float = 0.0
    tangent: Measure | None = None

    @classmethod
    def named(cls, divergence: str) -> "Quantity":
        """One of `srel_core.DIVERGENCES`, above and below."""
        found = DIVERGENCES[divergence]
        return cls(found.finite, found.finite, tangent=found.tangent)

    def of(self, run: "xr.Dataset", rule: str) -> tuple[Array, Array]:
        """change (step, probe, sample) and own (step, sample) of a result of `ClassExperiment.run`.

        ValueError for a rule that was not measured, or the tangent limit of what has none.
        """
        check_known("rule of this result", rule, [str(name) for name in run.rule.values])
        probe, own = self.probe, self.own
        if rule == "tangent":
            if self.tangent is None:
                raise ValueError("what was published has no tangent limit: take a rule with a rate")
            probe = own = self.tangent
        at = run.sel(rule=rule)
        before, own_before, delta, own_delta = (
            torch.from_numpy(at[name].transpose("step", ..., "output").values)
            for name in (
                "prediction", "sample_prediction", "prediction_change", "own_prediction_change"
            )
        )  # fmt: skip
        change = probe(before[:, :, None], delta)
        return change.numpy(), own(own_before, own_delta).numpy() + self.epsilon


QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "class-based": Quantity(published_kl, published_kl, EPSILON),
        "original": Quantity(published_l1, published_l2, EPSILON),
    }
)


def published_class_curves(
    run: "xr.Dataset", definition: str, rule: str = "adam:1e-4"
) -> "xr.Dataset":
    """The published curves, from a result of `ClassExperiment.run` that holds this rule.

    curve (step, probe_class, sample_class)   mean of S_rel over all pairs, x' = x included
    same, other (epoch)   means over the checkpoints of an epoch and over the curves with c' = c,
                          and with c' ≠ c

    definition: "class-based" or "original". In float64; the notebooks subtract float32 outputs.
    ValueError for an unknown definition, or a rule that was not measured or has no step.
    """
    import xarray as xr

    check_known("published definition", definition, QUANTITIES)
    change, own = QUANTITIES[definition].of(run, rule)
    ratio = change / own[:, None]
    names = run.class_name.values
    curve = np.empty((len(ratio), len(names), len(names)))
    for c_probe, c_sample in np.ndindex(curve.shape[1:]):
        rows, columns = run.probe_class.values == c_probe, run.sample_class.values == c_sample
        curve[:, c_probe, c_sample] = ratio[:, rows][:, :, columns].mean((1, 2))
    same, other = same_and_other(curve)
    of_epoch = run.epoch_of_step.values == run.epoch.values[:, None]
    cells = ("step", "probe_class", "sample_class")
    return xr.Dataset(
        {
            "curve": (cells, curve),
            "same": ("epoch", [same[steps].mean() for steps in of_epoch]),
            "other": ("epoch", [other[steps].mean() for steps in of_epoch]),
        },
        {
            "step": run.step.values, "epoch_of_step": ("step", run.epoch_of_step.values),
            "epoch": run.epoch.values, "probe_class": names, "sample_class": names,
        },
        {"definition": definition, "rule": rule},
    )  # fmt: skip


def published_without_change(run: "xr.Dataset", rule: str = "adam:1e-4") -> "xr.Dataset":
    """The published class-based curves of a step that changes no prediction at all: what
    `published_class_curves` gives where the network is evaluated twice and no step is taken."""
    import xarray as xr

    changes = ("prediction_change", "own_prediction_change")
    still = run.assign({name: xr.zeros_like(run[name]) for name in changes})
    return published_class_curves(still, "class-based", rule)
