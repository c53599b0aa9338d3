"""Which way round the published quantity is to be read: against slow loops, and by example."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from srel_core.book.published.reading import published_reading
from tests.support.class_experiments import run_tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("run"))


def test_it_equals_a_loop_over_all_pairs(run):
    got = published_reading(run)
    at, labels = run.sel(rule="adam:1e-4"), run.sample_class.values
    n = len(labels)
    found = {name: [] for name in got.data_vars}
    for t in range(run.sizes["step"]):
        z = torch.from_numpy(at.prediction.values[t])
        new = (z[:, None] + torch.from_numpy(at.prediction_change.values[t])).softmax(-1)
        old = z.softmax(-1)
        parts = {"step_part": np.zeros((n, n)), "kl": np.zeros((n, n))}
        overlap = np.zeros((n, n))
        for j, i in np.ndindex(n, n):
            p, q = old[j], new[j, i]
            parts["step_part"][j, i] = p @ (q - p)
            parts["kl"][j, i] = (q * (q / p).log()).sum()
            overlap[j, i] = torch.special.entr(p).sum() + p @ q
        same = labels[:, None] == labels
        apart = ~np.eye(n, dtype=bool)
        for name, values in parts.items():
            found[f"{name}_same"].append(values[same & apart].mean())
            found[f"{name}_other"].append(values[~same].mean())
        ranks = [
            spearmanr(overlap[apart[:, i], i], parts["kl"][apart[:, i], i]).statistic
            for i in range(n)
        ]
        found["rank_correlation"].append(np.mean(ranks))
    for name, by_step in found.items():
        # Checkpoints 1 and 3 are of the first epoch, 4 and 6 of the second.
        want = np.reshape(by_step, (2, 2)).mean(1)
        np.testing.assert_allclose(got[name], want, rtol=1e-7, atol=1e-12, err_msg=name)


def test_of_certain_predictions_the_most_changed_are_published_as_the_least(run):
    """Probes sure of their class, and moved away from it by different amounts."""
    certain = run.copy(deep=True)
    certain["prediction"][:] = np.eye(3)[run.probe_class.values] * 12
    n = run.sizes["probe"]
    away = -(1 + np.arange(n))[:, None] * np.eye(3)[run.probe_class.values]
    certain["prediction_change"][:] = away[:, None]
    found = published_reading(certain)
    np.testing.assert_allclose(found.rank_correlation, -1)
    assert (found.step_part_same < 0).all() and (found.kl_same > 0).all()


def test_without_any_change_there_is_no_correlation(run):
    still = run.copy(deep=True)
    still["prediction_change"][:] = 0
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        found = published_reading(still)
    assert np.isnan(found.rank_correlation).all()
    assert (found.kl_other == 0).all() and (found.step_part_other == 0).all()
