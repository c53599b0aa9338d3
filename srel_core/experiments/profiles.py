"""Profiles: how large an experiment is, from a smoke test to the published settings."""

import dataclasses
from typing import Any

from srel_core.choices import check_known
from srel_core.experiments import image_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.training import Schedule

PROFILES = ("smoke", "laptop", "paper")

# Published: images per class, batch size.
_PUBLISHED = {"cifar10": (5000, 256), "cifar100": (500, 25), "svhn": (4000, 256)}
_SWEPT = {"smoke": ("digits",), "laptop": ("digits",), "paper": tuple(_PUBLISHED)}


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


def sweep(profile: str) -> tuple[list[ClassExperiment], list[str]]:
    """All experiments of a profile, data set by data set and seed by seed; what had to be left out.

    Left out, and named in the second list, is a data set whose images are not at hand: jobs that
    start together would all download them to one place. ValueError for an unknown profile.
    """
    check_known("profile", profile, PROFILES)
    at_hand = [dataset for dataset in _SWEPT[profile] if _at_hand(dataset)]
    experiments = [e for dataset in at_hand for e in class_experiments(profile, dataset)]
    return experiments, [dataset for dataset in _SWEPT[profile] if dataset not in at_hand]


def _at_hand(dataset: str) -> bool:
    """Whether a data set can be loaded without a download."""
    if dataset == "digits":
        return True
    # Private to `stores`, whose every change gives all results new names.
    root = image_files._data_root()[0].expanduser()
    archive = [image_files._ARCHIVES[dataset].format(split=split) for split in image_files.SPLITS]
    return (root / dataset / "train").is_dir() or all((root / name).exists() for name in archive)


def _base(profile: str, dataset: str) -> ClassExperiment:
    # A mirrored digit is another sign or none: digits are taken as they are.
    augment = dataset != "digits"
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
    images, batch_size = _PUBLISHED.get(dataset, (None, 256))
    return ClassExperiment(
        dataset, images_per_class=images, augment=augment, schedule=Schedule(batch_size=batch_size),
        rules=("adam:1e-4", "sgd:1e-4", "sgd:1e-2", "tangent"),
    )  # fmt: skip
