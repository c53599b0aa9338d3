"""Regression experiments that take a second."""

from dataclasses import replace

from srel_core.experiments.regression.experiment import RegressionExperiment

TINY = RegressionExperiment(
    width=6, n_steps=20, n_points=10, n_train=30, n_pairs=5, seeds=(3, 1, 4),
    more_rules=("tangent", "adam:1e-3"),
)  # fmt: skip


GATE = replace(TINY, family="relu_gate")


LINEAR = replace(TINY, family="linear")
