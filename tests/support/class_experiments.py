"""Class experiments: one that takes a second, and that of the first page."""

import shutil

from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.training import Schedule
from tests.support.book import ROOT

TINY = ClassExperiment(
    model="linear", images_per_class=12, augment=True, probes_per_class=2,
    schedule=Schedule(epochs=2, batch_size=12, measure_every=2), divergences=("kl", "l2_logits"),
)  # fmt: skip

(EXPLORED,) = class_experiments(
    "smoke", "digits", (0,), rules=("sgd:1e-4", "sgd:1e-2", "adam:1e-6", "adam:1e-4"),
    divergences=("kl", "l2_logits"),
)  # fmt: skip
"""What the explorer shows, in the order of its switches."""


def kept_for_the_pages(folder, experiments):
    """`folder` with what the chapters have computed of these experiments, if the pages have been
    made: then it is not computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    for experiment in experiments:
        path = ROOT / "_build/results" / experiment.file_name
        if path.is_file():
            shutil.copy(path, folder)
    return folder


def run_tiny(path, experiment=TINY):
    return experiment.run(path, device="cpu", progress=False)
