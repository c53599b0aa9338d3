"""A class experiment that takes a second."""

from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.training import Schedule

TINY = ClassExperiment(
    model="linear", images_per_class=12, augment=True, probes_per_class=2,
    schedule=Schedule(epochs=2, batch_size=12, measure_every=2), divergences=("kl", "l2_logits"),
)  # fmt: skip


def run_tiny(path, experiment=TINY):
    return experiment.run(path, device="cpu", progress=False)
