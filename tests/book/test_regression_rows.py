"""What the chapter on regression reads off the results."""

from dataclasses import replace

import numpy as np
import pytest

from srel_core.book.regression.rows import gate_movement, judged_rows
from srel_core.experiments.regression.experiment import RegressionExperiment

SETTING = RegressionExperiment(
    width=6, n_steps=60, n_points=20, n_train=30, n_pairs=8, seeds=(0, 1, 2)
)


def test_a_row_for_each_setting_and_kind_of_pairs(tmp_path):
    settings = [SETTING, replace(SETTING, inputs="mixture", activation="tanh")]
    rows = judged_rows({s: s.run(tmp_path) for s in settings})
    assert [row.name for row in rows] == [
        "relu 3×6, teacher, sgd 0.02",
        "tanh 3×6, teacher, mixture, sgd 0.02 [across]",
        "tanh 3×6, teacher, mixture, sgd 0.02 [within]",
    ]
    assert [row.setting for row in rows] == [settings[0], settings[1], settings[1]]


def test_learning_is_read_off_the_training_loss(tmp_path):
    result = SETTING.run(tmp_path)
    steps = result.step.values
    # Seeds whose loss falls along a parabola, along another, and at once.
    share = (steps / 60) ** 2
    falls = [1 - share, 5 - 2 * share, np.where(steps < 3, 2.0, 1.0)]
    result.train_loss[:] = np.array(falls)
    (row,) = judged_rows({SETTING: result})
    assert row.learnt_at.tolist() == [57, 57, 3]
    at = (row.judgement.fit.break_step / 60) ** 2
    np.testing.assert_allclose(row.at_break, [at, at, 1], atol=1e-3)
    assert row.rises == (row.judgement.plateau > row.judgement.start)


def test_the_median_over_pairs_is_another_curve(tmp_path):
    results = {SETTING: SETTING.run(tmp_path)}
    (by_mean,), (by_median,) = judged_rows(results), judged_rows(results, average=np.median)
    values = results[SETTING].s_rel.isel(rule=0, step=0).values
    assert by_mean.judgement.start == pytest.approx(values.mean(1).mean())
    assert by_median.judgement.start == pytest.approx(np.median(values, axis=1).mean())


def test_a_gates_pairs_move_as_their_flow_says(tmp_path):
    gate = replace(
        SETTING, family="relu_gate", training="gd", n_train=5000, lr=0.05, n_steps=200, n_pairs=200
    )
    found = gate_movement(gate, gate.run(tmp_path))
    assert found.measured.shape == found.predicted.shape == (3, 21)
    assert (found.measured[:, 0] == 0).all() and found.times[-1] == pytest.approx(10)
    assert np.abs(found.measured - found.predicted).mean() < 0.03 * found.predicted.max()
    low, high = found.fit_measured.interval
    assert low < found.fit_predicted.break_step < high
