"""Class experiments: one that takes a second, and that of the first page."""

from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.training import Schedule

TINY = ClassExperiment(
    model="linear", images_per_class=12, augment=True, probes_per_class=2,
    schedule=Schedule(epochs=2, batch_size=12, measure_every=2), divergences=("kl", "l2_logits"),
)  # fmt: skip

(EXPLORED,) = class_experiments(
    "smoke", "digits", (0,), rules=("sgd:1e-4", "sgd:1e-2", "adam:1e-6", "adam:1e-4"),
    divergences=("kl", "l2_logits"),
)  # fmt: skip
"""What the explorer shows, in the order of its switches."""


def run_tiny(path, experiment=TINY):
    return experiment.run(path, device="cpu", progress=False)
