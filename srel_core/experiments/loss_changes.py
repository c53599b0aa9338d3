"""Whether a step on a sample helps or harms the prediction at a probe: signed, as stiffness is.

S_rel takes the size of a change. The loss of the probe itself, ℓ(x') = −log p_y'(x'), also says
which way it goes: stiffness (Fort, Nowak, Jastrzębski & Narayanan 2019) is the sign of its change,
or the cosine of the gradients that gives it to first order.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from srel_core.divergence import log_prob_changes
from srel_core.statistics.by_class import Array

if TYPE_CHECKING:
    import xarray as xr


def loss_changes(run: "xr.Dataset", rule: str) -> Array:
    """ℓ(x') after the step less ℓ(x') before, (step, probe, sample), of a result of
    `ClassExperiment.run`; in the tangent limit its derivative by the learning rate.

    With z the logits, p = softmax(z), δz their change and y the class of the probe it is
    log Σ_c p_c e^{δz_c} − δz_y, and to first order ⟨p, δz⟩ − δz_y.
    """
    at = run.sel(rule=rule)
    z = torch.from_numpy(at.prediction.transpose("step", "probe", "output").values)[:, :, None]
    dz = torch.from_numpy(
        at.prediction_change.transpose("step", "probe", "sample", "output").values
    )
    if rule == "tangent":
        of_classes = dz - (z.softmax(-1) * dz).sum(-1, keepdim=True)
    else:
        of_classes = log_prob_changes(z, dz)
    own_class = run.probe_class.values[None, :, None, None]
    found: Array = -np.take_along_axis(of_classes.numpy(), own_class, -1)[..., 0]
    return found


def share_that_rises(run: "xr.Dataset", rule: str) -> Array:
    """At each step of training, the share of pairs with x' ≠ x at which the step on x raises the
    loss of x', (kind, step): for x' of the sample's class, and of another one."""
    rises = loss_changes(run, rule) > 0
    same = run.probe_class.values[:, None] == run.sample_class.values
    pair = ~run.same_input.values
    return np.stack([rises[:, pair & kind].mean(1) for kind in (same, ~same)])
