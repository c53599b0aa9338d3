"""Class summaries of runs, and the figures drawn from them."""

import matplotlib

matplotlib.use("Agg")

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import Normalize

from srel_core.book.figures import classification
from srel_core.book.figures.style import style
from srel_core.statistics import by_class
from srel_core.statistics.class_summary import class_summary, learning_curves
from tests.support.class_experiments import TINY, run_tiny


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [run_tiny(folder, dataclasses.replace(TINY, seed=seed)) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def summary(runs):
    return class_summary(runs, n_resamples=200)


def _cell(run, **where):
    chosen = run.sel(**where)
    labels = run.probe_class.values, run.sample_class.values
    return (chosen.change.values, chosen.own.values, *labels), run.same_input.values


@pytest.mark.parametrize("reduce", ["ratio_of_means", "mean", "median"])
def test_estimates_are_means_over_runs_of_the_single_run_values(runs, reduce):
    summary = class_summary(runs, reduce=reduce, n_resamples=10)
    where = {"rule": "sgd:1e-4", "divergence": "kl", "step": 3}
    matrices, ratios, aucs = [], [], []
    for run in runs:
        arrays, exclude = _cell(run, **where)
        matrix = by_class.class_matrix(*arrays, exclude=exclude, reduce=reduce)
        same, other = by_class.same_and_other(matrix)
        matrices.append(matrix)
        ratios.append(same / other)
        change, _, *labels = arrays
        aucs.append(by_class.same_class_auc(change, *labels, exclude=exclude).mean())
    got = summary.sel(**where)
    np.testing.assert_allclose(got.matrix.values, np.mean(matrices, 0), rtol=1e-12)
    np.testing.assert_allclose(got.preference, np.exp(np.mean(np.log(ratios))), rtol=1e-12)
    np.testing.assert_allclose(got.auc, np.mean(aucs), rtol=1e-12)
    assert summary.attrs == {"reduce": reduce, "level": 0.95, "runs": 3}


def test_intervals_hold_their_estimates_and_are_not_points(summary):
    for name in ("auc", "preference"):
        low, high = summary[f"{name}_interval"].values
        # A percentile interval need not hold the estimate, but at 95 % it nearly always does.
        assert np.mean((low <= summary[name].values) & (summary[name].values <= high)) > 0.9
        assert (high >= low).all() and (high > low).any()


def test_the_summary_is_the_same_every_time(runs, summary):
    assert class_summary(runs, n_resamples=200).identical(summary)


def test_learning_curves_average_the_batches_of_an_epoch(runs):
    curves = learning_curves(runs)
    first = runs[0].train_loss.values.reshape(2, -1)
    np.testing.assert_allclose(curves.train_loss.values[0], first.mean(1))
    assert curves.sizes == {"seed": 3, "epoch": 2}


def test_runs_must_belong_together(runs):
    with pytest.raises(ValueError, match="no runs"):
        class_summary([])
    with pytest.raises(ValueError, match="differ in step"):
        class_summary([runs[0], runs[1].isel(step=slice(1))])


def test_figures_draw_what_the_summary_holds(runs, summary):
    with style():
        figure, axes = plt.subplots(1, 4)
        classification.class_curves(axes[0], summary, "sgd:1e-4", "kl", "2")
        image = classification.class_heatmap(axes[1], summary, "sgd:1e-4", "kl", 3, Normalize(0, 1))
        classification.over_training(axes[2], summary, "auc", "tangent", "kl", "limit", "black")
        classification.learning(axes[3], learning_curves(runs), "loss")
        figure.canvas.draw()
    at = summary.sel(rule="sgd:1e-4", divergence="kl")
    drawn = {line.get_label(): line.get_ydata() for line in axes[0].lines}
    assert set(drawn) == {"0", "2 (same)", "4"}
    want = at.matrix.sel(probe_class="2", sample_class="2")
    np.testing.assert_array_equal(drawn["2 (same)"], want)
    np.testing.assert_array_equal(image.get_array(), at.matrix.sel(step=3))
    auc = summary.auc.sel(rule="tangent", divergence="kl")
    np.testing.assert_array_equal(axes[2].lines[0].get_ydata(), auc)
    plt.close(figure)


@pytest.mark.parametrize("reduce", ["ratio_of_means", "median"])
def test_an_epoch_averages_its_checkpoints(runs, reduce):
    summary = class_summary(runs, reduce=reduce, n_resamples=100)
    ratios, aucs = [], []
    for run in runs:
        matrices, samples = [], []
        for step in (4, 6):  # the checkpoints of the second epoch
            (change, own, *labels), exclude = _cell(
                run, rule="sgd:1e-4", divergence="kl", step=step
            )
            matrices.append(
                by_class.class_matrix(change, own, *labels, exclude=exclude, reduce=reduce)
            )
            samples.append(by_class.same_class_auc(change, *labels, exclude=exclude))
        same, other = by_class.same_and_other(np.stack(matrices))
        ratios.append(np.log(same.mean() / other.mean()))
        aucs.append(np.mean(samples))
    at = summary.sel(rule="sgd:1e-4", divergence="kl", epoch=2)
    assert float(at.epoch_preference) == pytest.approx(np.exp(np.mean(ratios)), rel=1e-9)
    assert float(at.epoch_auc) == pytest.approx(np.mean(aucs), rel=1e-9)
    for name in ("epoch_preference", "epoch_auc"):
        low, high = at[f"{name}_interval"].values
        assert low <= at[name] <= high and low < high


def test_the_gain_of_a_divergence_is_paired(summary):
    """Over l2_logits itself there is none, and no interval either."""
    own = summary.sel(divergence="l2_logits")
    assert (own.auc_gain == 0).all() and (own.auc_gain_interval == 0).all()
    kl = summary.sel(divergence="kl")
    np.testing.assert_allclose(kl.auc_gain, kl.epoch_auc - own.epoch_auc, atol=1e-12)
    low, high = kl.auc_gain_interval.values
    assert (low < high).any()
    assert (low <= kl.auc_gain + 1e-12).all() and (kl.auc_gain <= high + 1e-12).all()
