"""From raw measurements to what a figure shows: class-level values with bootstrap intervals."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from srel_core.statistics import by_class
from srel_core.statistics.intervals import (
    BOUNDS,
    Finish,
    Variables,
    check_comparable,
    input_weights,
    log_ratio,
    mean_over_epochs,
    over_runs,
    share,
)

if TYPE_CHECKING:
    import xarray as xr


def class_summary(
    runs: "Sequence[xr.Dataset]",
    *,
    reduce: by_class.Reduce | Sequence[by_class.Reduce] = "ratio_of_means",
    n_resamples: int = 500,
    level: float = 0.95,
) -> "xr.Dataset":
    """Class matrix, same-class preference and AUC of runs that differ in their seed alone.

    runs: results of `ClassExperiment.run`. Each quantity Q below is the mean over runs, and
    Q_interval (bound, …) its interval by a hierarchical bootstrap, over runs and over samples and
    probes within each class (`intervals.interval_over_seeds`).

    matrix      (rule, divergence, step, probe_class, sample_class)   S[c', c]
    preference  (rule, divergence, step)   mean S[c, c] / mean S[c' ≠ c, c]: above 1, a step moves
                the predictions of its sample's own class more. Runs are averaged on the log scale
    auc         (rule, divergence, step)   same-class AUC; 0.5 is no class structure
    epoch_preference, epoch_auc (rule, divergence, epoch)   the same from the means of S[c, c], of
                S[c' ≠ c, c] and of the AUC over the checkpoints of an epoch
    auc_gain    (rule, divergence, epoch)   epoch_auc less that of l2_logits, sample by sample on
                the same resamples; there only if l2_logits was measured
    undefined   (rule, divergence, step)   fraction of samples with own = 0

    With several aggregates, what depends on them has a first dimension `aggregate`. ValueError for
    no runs, or runs that do not belong together.
    """
    import xarray as xr

    check_comparable(runs)
    aggregates = (reduce,) if isinstance(reduce, str) else tuple(reduce)
    first = runs[0]
    dims = ("rule", "divergence", "step")
    # per run, one (1 + n_resamples, …) array per cell of `dims`
    matrices: dict[str, list[list[by_class.Array]]] = {a: [[] for _ in runs] for a in aggregates}
    aucs: list[list[by_class.Array]] = [[] for _ in runs]
    for r, run in enumerate(runs):
        labels = (run.probe_class.values, run.sample_class.values)
        exclude = run.same_input.values
        of_probe, of_sample = input_weights(*labels, exclude, n_resamples, seed=r)
        changes = run.change.transpose(*dims, "probe", "sample").values
        owns = run.own.transpose(*dims, "sample").values
        for cell in np.ndindex(changes.shape[:3]):
            for aggregate in aggregates:
                matrix = by_class.class_matrix(
                    changes[cell], owns[cell], *labels, exclude=exclude, reduce=aggregate,
                    weights=of_sample, probe_weights=of_probe,
                )  # fmt: skip
                matrices[aggregate][r].append(matrix)
            auc = by_class.same_class_auc(
                changes[cell], *labels, exclude=exclude, probe_weights=of_probe
            )
            aucs[r].append(by_class.mean_of_known(auc, of_sample))
    auc = np.array(aucs)
    data: Variables = {
        **over_runs("auc", auc, dims, tuple(first.sizes[d] for d in dims), (), level, share),
        **_auc_by_epoch(first, auc, level),
        "undefined": (
            dims,
            np.mean([(r.own.transpose(*dims, "sample") == 0).mean("sample") for r in runs], 0),
        ),
    }
    of_each = [_of_matrices(first, found, level) for found in matrices.values()]
    if isinstance(reduce, str):
        data |= of_each[0]
    else:
        data |= {
            name: (("aggregate", *along), np.stack([found[name][1] for found in of_each]))
            for name, (along, _) in of_each[0].items()
        }
    names = first.class_name.values
    coords = {
        **{d: first[d].values for d in dims},
        "bound": list(BOUNDS), "probe_class": names, "sample_class": names,
        "epoch_of_step": ("step", first.epoch_of_step.values), "epoch": first.epoch.values,
        **({} if isinstance(reduce, str) else {"aggregate": list(aggregates)}),
    }  # fmt: skip
    attributes = {"reduce": ", ".join(aggregates), "level": level, "runs": len(runs)}
    return xr.Dataset(data, coords, attributes)


def _of_matrices(
    run: "xr.Dataset", matrices: list[list[by_class.Array]], level: float
) -> Variables:
    """The class matrix and the preferences of `class_summary`, by one aggregate."""
    dims = ("rule", "divergence", "step")
    shape = tuple(run.sizes[d] for d in dims)
    same, other = by_class.same_and_other(np.array(matrices))  # (R, cells of `shape`, 1 + B) each
    by_epoch = log_ratio(_by_epoch(run, same), _by_epoch(run, other))
    return {
        **over_runs(
            "matrix", matrices, dims, shape, ("probe_class", "sample_class"), level, positive=True
        ),
        **over_runs("preference", log_ratio(same, other), dims, shape, (), level, np.exp),
        **_over_epochs("epoch_preference", by_epoch, level, np.exp),
    }


def _auc_by_epoch(run: "xr.Dataset", auc: by_class.Array, level: float) -> Variables:
    """epoch_auc and auc_gain of `class_summary`."""
    by_epoch = _by_epoch(run, auc)
    data = _over_epochs("epoch_auc", by_epoch, level, share)
    names = [str(name) for name in run.divergence.values]
    if "l2_logits" in names:
        gain = by_epoch - by_epoch[:, :, [names.index("l2_logits")]]
        data |= _over_epochs("auc_gain", gain, level, partial(np.clip, a_min=-1, a_max=1))
    return data


def _by_epoch(run: "xr.Dataset", values: by_class.Array) -> by_class.Array:
    """(R, cells, 1 + B) as means over epochs, (R, rules, divergences, epochs, 1 + B)."""
    sizes = run.sizes["rule"], run.sizes["divergence"], run.sizes["step"]
    return mean_over_epochs(run, values.reshape(len(values), *sizes, -1), axis=3)


def _over_epochs(
    name: str, values: by_class.Array, level: float, finish: Finish = np.asarray
) -> Variables:
    """`over_runs` of what `_by_epoch` gives."""
    flat = values.reshape(len(values), -1, values.shape[-1])
    dims = ("rule", "divergence", "epoch")
    return over_runs(name, flat, dims, values.shape[1:4], (), level, finish)


def learning_curves(runs: "Sequence[xr.Dataset]") -> "xr.Dataset":
    """Accuracy and loss, (seed, epoch): train_ averaged over the epoch's batches, and test_."""
    import xarray as xr

    check_comparable(runs)
    n_epochs = runs[0].sizes["epoch"]
    train = {
        name: np.stack([run[name].values.reshape(n_epochs, -1).mean(1) for run in runs])
        for name in ("train_loss", "train_accuracy")
    }
    test = {
        name: np.stack([run[name].values for run in runs])
        for name in ("test_loss", "test_accuracy")
    }
    dims = ("seed", "epoch")
    data = {name: (dims, values) for name, values in {**train, **test}.items()}
    return xr.Dataset(data, {"epoch": runs[0].epoch.values})
