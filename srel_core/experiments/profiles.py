"""Profiles: how large an experiment is, from a smoke test to the published settings."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from srel_core.choices import check_known
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.datasets.by_name import at_hand
from srel_core.experiments.datasets.catalogue import DATA_SETS
from srel_core.experiments.training import Schedule
from srel_core.rules import OPTIMIZER

PROFILES = ("smoke", "laptop", "paper")


def class_experiments(
    profile: str = "laptop",
    dataset: str = "digits",
    seeds: tuple[int, ...] | None = None,
    **changes: Any,
) -> list[ClassExperiment]:
    """The class-based experiment of a profile on a data set, one for each seed.

    smoke   an MLP on a few images: seconds
    laptop  the published network on at most 500 images and 8 probes per class: minutes
    paper   the published settings (7 epochs, 20 probes per class): hours on a CPU
    changes: fields of `ClassExperiment` or of its `Schedule` to set otherwise; None leaves the
    profile's value. ValueError for an unknown profile or field.
    """
    check_known("profile", profile, PROFILES)
    fields = {f.name for f in dataclasses.fields(ClassExperiment)} - {"schedule", "seed"}
    schedule_fields = {f.name for f in dataclasses.fields(Schedule)}
    for name in changes:
        check_known("setting", name, sorted(fields | schedule_fields))
    wanted = {name: value for name, value in changes.items() if value is not None}
    base = _base(profile, dataset)
    schedule = dataclasses.replace(
        base.schedule, **{n: v for n, v in wanted.items() if n in schedule_fields}
    )
    changed = dataclasses.replace(
        base, schedule=schedule, **{n: v for n, v in wanted.items() if n in fields}
    )
    seeds = seeds or ((0, 1) if profile == "smoke" else (0, 1, 2))
    return [dataclasses.replace(changed, seed=seed) for seed in seeds]


def require_rules(experiments: Sequence[ClassExperiment], rules: Sequence[str]) -> None:
    """ValueError, naming them, if the experiments of a profile do not measure some step rules."""
    if missing := [rule for rule in rules if rule not in experiments[0].rules]:
        raise ValueError(f"this profile does not measure {', '.join(missing)}")


def sweep(profile: str) -> tuple[list[ClassExperiment], list[str]]:
    """All experiments of a profile, data set by data set and seed by seed; what had to be left out.

    Left out, and named in the second list, is a data set whose images are not at hand: jobs that
    start together would all download them to one place. ValueError for an unknown profile.
    """
    check_known("profile", profile, PROFILES)
    swept = [record.name for record in DATA_SETS.values() if profile in record.swept]
    left_out = [dataset for dataset in swept if not at_hand(dataset)]
    experiments = [
        e
        for dataset in swept
        if dataset not in left_out
        for e in class_experiments(profile, dataset)
    ]
    return experiments, left_out


def _base(profile: str, dataset: str) -> ClassExperiment:
    record = DATA_SETS.get(dataset)  # None: a user's folder, or a name that the run will refuse
    augment = record is None or record.augment
    if profile == "smoke":
        return ClassExperiment(
            dataset, model="mlp", images_per_class=60, augment=augment, probes_per_class=4,
            schedule=Schedule(epochs=3, batch_size=30, measure_every=3),
        )  # fmt: skip
    if profile == "laptop":
        return ClassExperiment(
            dataset, images_per_class=500, augment=augment, probes_per_class=8,
            schedule=Schedule(batch_size=32),
        )  # fmt: skip
    images = record.images_per_class if record else None
    schedule = Schedule(batch_size=record.batch_size) if record else Schedule()
    return ClassExperiment(
        dataset, images_per_class=images, augment=augment, schedule=schedule,
        rules=("adam:1e-4", "sgd:1e-4", "sgd:1e-2", "tangent", OPTIMIZER),
    )  # fmt: skip
