"""The experiments: configs, data, networks, training, and results on disk with provenance.

What users call is in this module, and loaded when it is asked for:

    ClassExperiment, class_experiments           S_rel between classes; those of a profile
    RegressionExperiment, regression_settings    S_rel while a network learns a scalar target
    load_images, augment, normalise, draw_per_class    images, and draws made from them
    Schedule, results_dir                        how to train; where results are kept
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srel_core.experiments.class_experiment import ClassExperiment
    from srel_core.experiments.datasets import augment, draw_per_class, load_images, normalise
    from srel_core.experiments.profiles import class_experiments
    from srel_core.experiments.regression.experiment import RegressionExperiment
    from srel_core.experiments.regression.settings import regression_settings
    from srel_core.experiments.result_files import results_dir
    from srel_core.experiments.training import Schedule

__all__ = [
    "ClassExperiment",
    "RegressionExperiment",
    "Schedule",
    "augment",
    "class_experiments",
    "draw_per_class",
    "load_images",
    "normalise",
    "regression_settings",
    "results_dir",
]

_MODULES = {
    "class_experiment": ("ClassExperiment",),
    "datasets": ("augment", "draw_per_class", "load_images", "normalise"),
    "profiles": ("class_experiments",),
    "regression.experiment": ("RegressionExperiment",),
    "regression.settings": ("regression_settings",),
    "result_files": ("results_dir",),
    "training": ("Schedule",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
