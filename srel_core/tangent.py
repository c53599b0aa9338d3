"""The infinitesimal limit of one-sample updates: the tangent kernel.

With J(x) = ∂f_w(x)/∂w and Θ(x', x) = J(x') J(x)ᵀ, a vanishing SGD step of learning rate η on
(x, y) changes the prediction at x' by −η Θ(x', x) r(x), r = ∂ℓ/∂f at x. So S_rel has a limit as
η → 0: for a scalar prediction |Θ(x', x)| / Θ(x, x), and under KL

    [δ'ᵀ F(x') δ'] / [δᵀ F(x) δ],   δ' = Θ(x', x) r(x),  δ = Θ(x, x) r(x),  F = diag(p) − p pᵀ.

(Adam has none: its first step is η·sign(g) whatever the size of g.)
"""

from collections.abc import Sequence

from torch import Tensor, nn

from srel_core.engine.methods import Options, measure
from srel_core.engine.setup.inputs import Given
from srel_core.engine.setup.losses import Loss
from srel_core.engine.setup.outputs import Pick
from srel_core.measurement import Influence


def tangent_influence(
    model: nn.Module,
    x: Given,
    y: Tensor | None,
    probes: Given,
    *,
    loss: Loss = "cross_entropy",
    divergences: Sequence[str] = ("kl", "l2_logits"),
    method: str = "auto",
    max_bytes: int | None = None,
    output: Pick | None = None,
    check: bool = True,
    gradients: str = "auto",
    keep_delta: bool | None = None,
    by_position: bool = False,
    weights: Tensor | None = None,
) -> Influence:
    """The limit η → 0 of `influence` under `SGD(η)`, per unit of learning rate.

    Arguments, shapes and errors as in `srel_core.influence`; `method` is "auto", "kernel" (products
    of gradients, layer by layer) or "direct" (the derivative along each sample's gradient).
    `change` and `own` are the leading terms divided by η (norms) or η² (kl, reverse_kl), so that
    their ratios are the limits of S_rel. Linear in the gradient, hence free of cancellation in
    float32.
    """
    options = Options(
        method=method, max_bytes=max_bytes, check=check, gradients=gradients,
        keep_delta=keep_delta, by_position=by_position, weights=weights,
    )  # fmt: skip
    return Influence.of(measure(model, x, y, probes, None, loss, divergences, output, options))
