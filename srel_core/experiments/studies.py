"""Studies: what becomes of the published experiment when one of its choices is another one.

A study is a table of experiments, a row for those that differ in their seed alone. All are of the
published size, but measured at two checkpoints of each epoch in place of seven, with the step that
training takes next among the rules. Which classes, seeds and networks was decided before any was
run: `triples` says by what rule.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType
from typing import Any

from srel_core.choices import check_known
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.profiles import class_experiments
from srel_core.rules import OPTIMIZER

VEHICLES = ("airplane", "automobile", "ship", "truck")
ANIMALS = ("bird", "deer", "horse")
PUBLISHED_TRIPLE = ("airplane", "automobile", "ship")
RULES = ("sgd:1e-4", "adam:1e-4", "tangent", OPTIMIZER)
NETWORKS = ("resnet18", "resnet18_groupnorm", "resnet18_batchnorm", "vit", "mlp")
_EVERY = 36  # of 58 or 60 steps: the checkpoints 1 and 37 are among the published ones

Rows = Mapping[str, tuple[ClassExperiment, ...]]


@dataclass(frozen=True)
class Study:
    """What a study asks, and its rows, by name the experiments that differ in their seed alone."""

    question: str
    rows: Rows


def triples() -> list[tuple[str, str, str]]:
    """Thirteen triples of the seven classes of CIFAR-10 that are at hand.

    All four of vehicles, of which the published one is the first, and the one of animals, whose
    classes look most alike; and of both kinds of mixed ones four each, at even distances in
    alphabetical order.
    """
    chosen: list[tuple[str, str, str]] = []
    for n_vehicles, wanted in ((3, 4), (2, 4), (1, 4), (0, 1)):
        those = sorted(
            tuple(sorted(some + others))
            for some in combinations(VEHICLES, n_vehicles)
            for others in combinations(ANIMALS, 3 - n_vehicles)
        )
        at = [(2 * i + 1) * len(those) // (2 * wanted) for i in range(wanted)]
        chosen += [(a, b, c) for a, b, c in (those[i] for i in at)]
    return chosen


def _published(seeds: Sequence[int], **changes: Any) -> tuple[ClassExperiment, ...]:
    settings: dict[str, Any] = {
        "dataset": "cifar10", "measure_every": _EVERY, "rules": RULES,
        "divergences": ("kl", "l2_logits"),
    }  # fmt: skip
    return tuple(class_experiments("paper", seeds=tuple(seeds), **settings | changes))


def _classes() -> Rows:
    rows = {", ".join(triple): _published([0], classes=triple) for triple in triples()}
    seven = tuple(sorted(VEHICLES + ANIMALS))
    return {**rows, "all seven": _published([0], classes=seven, measure_every=2 * _EVERY)}


def _seeds() -> Rows:
    return {
        "CIFAR-10": _published(range(10), classes=PUBLISHED_TRIPLE),
        "CIFAR-100": _published(range(10), dataset="cifar100"),
    }


def _networks() -> Rows:
    trainings: dict[str, dict[str, Any]] = {
        "Adam": {},
        "SGD": {"optimizer": "sgd", "lr": 1e-2, "weight_decay": 5e-4},
    }
    return {
        f"{network}, {name}": _published([0, 1, 2], classes=PUBLISHED_TRIPLE, model=network, **of)
        for name, of in trainings.items()
        for network in NETWORKS
    }


_STUDIES: Mapping[str, tuple[str, Callable[[], Rows]]] = MappingProxyType(
    {
        "classes": ("Does a verdict survive another choice of classes?", _classes),
        "seeds": ("Does it survive ten seeds?", _seeds),
        "networks": ("Does it survive another network and another training?", _networks),
    }
)
STUDIES = tuple(_STUDIES)


def study(name: str) -> Study:
    """The study of this name. ValueError for an unknown one."""
    check_known("study", name, STUDIES)
    question, rows = _STUDIES[name]
    return Study(question, rows())
