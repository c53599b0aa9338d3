"""Which way round the published class-based quantity has to be read.

Without its sign and the number of classes, what is published of a prediction p that becomes p⁺ is

    H(p) + ⟨p, p⁺⟩ = q(p) + ⟨p, p⁺ − p⟩,     q(p) = H(p) + ‖p‖².

q is there without any step. The second part is the step's, and it has a sign: it is positive where
the step makes the prediction surer of what it says, negative where it takes it away from it. For
a prediction that is certain, p = e_k, it is −(1 − p⁺_k): the more the prediction changes, the
*smaller* is the published quantity. A divergence grows with the change.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import rankdata

from srel_core.book.published.definitions import published_kl
from srel_core.divergence import kl
from srel_core.statistics.by_class import Array

if TYPE_CHECKING:
    import xarray as xr


def published_reading(run: "xr.Dataset", rule: str = "adam:1e-4") -> "xr.Dataset":
    """What the published quantity and a true KL say of the same changes; a result of
    `ClassExperiment.run`. All (epoch,), means over its checkpoints, over pairs with x' ≠ x.

    step_part_same, step_part_other   ⟨p, p⁺ − p⟩ at probes of the sample's class, and of others
    kl_same, kl_other                 KL(p⁺‖p) there, in nats
    rank_correlation                  Spearman's, over the probes of each sample, of H(p) + ⟨p, p⁺⟩
                                      with KL(p⁺‖p), averaged over samples: −1 where the one is
                                      largest where the other is smallest
    """
    import xarray as xr

    at = run.sel(rule=rule)
    z = torch.from_numpy(at.prediction.transpose("step", "probe", "output").values)[:, :, None]
    change = at.prediction_change.transpose("step", "probe", "sample", "output").values
    dz = torch.from_numpy(change)
    n_classes = z.shape[-1]
    overlap = -n_classes * published_kl(z, dz).numpy()
    step_part = overlap + n_classes * published_kl(z, torch.zeros_like(z)).numpy()
    divergence = kl(z, dz).numpy()
    pair = ~run.same_input.values
    same = run.probe_class.values[:, None] == run.sample_class.values
    steps = {
        f"{name}_{kind}": values[:, pair & where].mean(1)
        for name, values in (("step_part", step_part), ("kl", divergence))
        for kind, where in (("same", same), ("other", ~same))
    }
    steps["rank_correlation"] = _rank_correlation(overlap, divergence, pair)
    by_step = xr.Dataset({name: ("step", values) for name, values in steps.items()})
    of_epoch = run.epoch_of_step.values == run.epoch.values[:, None]
    means = [by_step.isel(step=np.flatnonzero(at_epoch)).mean("step") for at_epoch in of_epoch]
    return xr.concat(means, "epoch").assign_coords(epoch=run.epoch.values)


def _rank_correlation(first: Array, second: Array, pair: Array) -> Array:
    """Spearman's correlation over the probes (axis 1) of each sample (axis 2), averaged over
    the samples: (step,). A sample whose values are all equal has none, and is left out."""
    found = []
    for sample in range(pair.shape[1]):
        ranks = [rankdata(v[:, pair[:, sample], sample], axis=1) for v in (first, second)]
        one, two = (r - r.mean(1, keepdims=True) for r in ranks)
        size = np.sqrt((one**2).sum(1) * (two**2).sum(1))
        found.append(
            np.divide((one * two).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)
        )
    correlation: Array = np.nanmean(found, axis=0)
    return correlation
