"""What in a committed file follows from the rest of it, computed once more.

Much stands there twice, or is a mean of something else: epochs are means over their checkpoints,
the last rungs of a ladder are cells of the class summary, the first ones the published curves.
So an altered number contradicts others, whatever the digest of the file says.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from srel_core.book.committed.files import ladder_in
from srel_core.book.published.ladder import LADDERS
from srel_core.statistics.by_class import Array, same_and_other

if TYPE_CHECKING:
    import xarray as xr

Pair = tuple[str, Array, Array]
"""A name, what the file holds under it, and what follows from the rest."""

_RELATIVE, _ABSOLUTE = 1e-5, 1e-6  # what is kept in single precision was computed in double
_DEFINED = {"class-based": ("true KL", "kl"), "original": ("logits", "l2_logits")}
"""From this rung on, a ladder's quantity is this divergence."""


def contradiction(summary: "xr.Dataset") -> str:
    """The first thing in a summary that does not follow from the rest, in words; "" if all does."""
    for pairs in (_epochs, _published, _defined):
        for name, held, expected in pairs(summary):
            if not np.allclose(held, expected, _RELATIVE, _ABSOLUTE, equal_nan=True):
                return f"{name} does not follow from the rest"
    return ""


def _epochs(summary: "xr.Dataset") -> Iterator[Pair]:
    """Means over the checkpoints of an epoch."""
    for name, of_steps in (
        ("epoch_auc", "auc"), ("rung_epoch_same", "rung_same"), ("rung_epoch_other", "rung_other")
    ):  # fmt: skip
        steps = summary[of_steps].transpose("step", ...).values
        yield name, summary[name].transpose("epoch", ...).values, _by_epoch(summary, steps)
    auc = summary.epoch_auc
    gain = (auc - auc.sel(divergence="l2_logits")).transpose(*summary.auc_gain.dims)
    yield "auc_gain", summary.auc_gain.values, gain.values


def _published(summary: "xr.Dataset") -> Iterator[Pair]:
    """The published curves, their means, and the first rungs of the ladders."""
    curves = summary.published_curve.transpose("step", "definition", "probe_class", "sample_class")
    means = same_and_other(curves.values.astype(float))
    first = {definition: ladder_in(summary, definition).isel(rung=0) for definition in LADDERS}
    for name, steps in zip(("same", "other"), means, strict=True):
        held = summary[f"published_{name}"].mean("seed").transpose("epoch", "definition")
        yield f"published_{name}", held.values, _by_epoch(summary, steps)
        for definition, rung in first.items():
            published = held.sel(definition=definition).values
            yield f"rung_epoch_{name}", rung[f"rung_epoch_{name}"].values, np.abs(published)
    preferences = [rung.rung_epoch_preference.values.astype(float) for rung in first.values()]
    yield "published_gain", summary.published_gain.values, preferences[0] / preferences[1]


def _defined(summary: "xr.Dataset") -> Iterator[Pair]:
    """The rungs that are cells of the class summary, with their intervals."""
    for definition, rungs in LADDERS.items():
        begins, divergence = _DEFINED[definition]
        names = [rung.name for rung in rungs]
        for rung in rungs[names.index(begins) :]:
            held = ladder_in(summary, definition).sel(rung=rung.name)
            cell = summary.sel(rule=rung.rule, divergence=divergence, aggregate=rung.reduce)
            matrix = cell.matrix.transpose("step", "probe_class", "sample_class")
            for name, mean in zip(("same", "other"), same_and_other(matrix.values), strict=True):
                yield f"rung_{name}", held[f"rung_{name}"].values, mean
            yield "rung_undefined", held.rung_undefined.values, cell.undefined.values
            for name in ("preference", "epoch_preference"):
                for suffix in ("", "_interval"):
                    expected = cell[name + suffix].transpose(*held[f"rung_{name}{suffix}"].dims)
                    yield name + suffix, expected.values, held[f"rung_{name}{suffix}"].values


def _by_epoch(summary: "xr.Dataset", steps: Array) -> Array:
    """Means over the checkpoints of each epoch of values (step, …): (epoch, …)."""
    epochs = summary.epoch_of_step.values
    return np.stack([steps[epochs == e].astype(float).mean(0) for e in summary.epoch.values])
