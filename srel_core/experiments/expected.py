"""What a kept result must hold to be taken for the result of an experiment."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from srel_core.experiments.training import Schedule

if TYPE_CHECKING:
    import xarray as xr

Coordinates = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Variable:
    """Its dimensions, the type of its values, and whether all, or at least some, are finite."""

    dims: tuple[str, ...]
    kind: str = "float64"
    finite: Literal["all", "some"] = "all"


@dataclass(frozen=True)
class Expected:
    """`coords` gives, from the sizes that a result has, what must stand on its dimensions."""

    kind: str
    config: str
    code_digest: str
    variables: Mapping[str, Variable]
    coords: Callable[[Mapping[str, int]], Coordinates]

    def fault(self, dataset: "xr.Dataset") -> str:
        """In what a result is not as expected, in words; "" if it is."""
        for name in ("kind", "config", "code_digest"):
            if dataset.attrs.get(name) != getattr(self, name):
                return self._other_attribute(name, dataset.attrs.get(name))
        if names := sorted(set(map(str, dataset.data_vars)) ^ set(self.variables)):
            return (
                f"the variable {names[0]} is {'missing' if names[0] in self.variables else 'new'}"
            )
        for name, variable in self.variables.items():
            found = dataset[name]
            if found.dims != variable.dims or found.dtype != variable.kind:
                return f"{name} is {found.dtype} {found.dims}, not {variable.kind} {variable.dims}"
            finite = np.isfinite(found.values)
            if not (finite.all() if variable.finite == "all" else finite.any()):
                return f"{name} holds {'NaN or infinite' if finite.any() else 'no finite'} values"
        for name, values in self.coords(_sizes(dataset)).items():
            if name not in dataset.coords or dataset[name].values.tolist() != list(values):
                return f"the coordinate {name} is not {_shortened(list(values))}"
        return ""

    def _other_attribute(self, name: str, found: object) -> str:
        expected = getattr(self, name)
        if name == "config":
            return f"its config differs: {difference(expected, str(found))}"
        return f"its {name} is {_shortened(found)}, not {_shortened(expected)}"


def difference(expected: str, found: str) -> str:
    """The first setting in which two configs (JSON) differ."""
    try:
        want, have = json.loads(expected), json.loads(found)
        name = min(n for n in {*want, *have} if want.get(n) != have.get(n))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return f"{_shortened(found)} is none"
    return f"{name} is {_shortened(have.get(name))}, not {_shortened(want.get(name))}"


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _sizes(dataset: "xr.Dataset") -> dict[str, int]:
    return {str(name): size for name, size in dataset.sizes.items()}


_CELL = ("step", "rule")
MEASURED: Mapping[str, Variable] = {
    "change": Variable((*_CELL, "divergence", "probe", "sample")),
    "own": Variable((*_CELL, "divergence", "sample")),
    "prediction": Variable((*_CELL, "probe", "output")),
    "sample_prediction": Variable((*_CELL, "sample", "output")),
    "prediction_change": Variable((*_CELL, "probe", "sample", "output")),
    "own_prediction_change": Variable((*_CELL, "sample", "output")),
    "in_float64": Variable((*_CELL, "sample"), "bool"),
}
"""What a run of `ClassExperiment` measures at each step."""

_CLASS = {
    **MEASURED,
    "same_input": Variable(("probe", "sample"), "bool"),
    "train_loss": Variable(("train_step",)),
    "train_accuracy": Variable(("train_step",)),
    "test_loss": Variable(("epoch",)),
    "test_accuracy": Variable(("epoch",)),
}
_REGRESSION = {
    # NaN where a step changes nothing at its own sample.
    "s_rel": Variable(("rule", "seed", "step", "pair"), finite="some"),
    "s_rel_linear": Variable(("seed", "pair")),
    "train_loss": Variable(("seed", "step")),
    "held_loss": Variable(("seed", "step")),
}


def class_result(
    config: str, code: str, schedule: Schedule, rules: Sequence[str], divergences: Sequence[str]
) -> Expected:
    """Of `ClassExperiment`. How many steps an epoch has depends on images that are not at hand: it
    follows from the losses of all steps."""

    def coords(sizes: Mapping[str, int]) -> Coordinates:
        per_epoch = max(1, sizes["train_step"] // schedule.epochs)
        steps = schedule.measured_steps(per_epoch * schedule.batch_size)
        return {
            "step": steps,
            "epoch_of_step": [(step - 1) // per_epoch + 1 for step in steps],
            "epoch": range(1, schedule.epochs + 1),
            "rule": rules,
            "divergence": divergences,
        }

    return Expected("class_srel", config, code, _CLASS, coords)


def regression_result(
    config: str, code: str, rules: Sequence[str], seeds: Sequence[int], steps: Sequence[int]
) -> Expected:
    """Of `RegressionExperiment`."""
    coordinates = {"rule": rules, "seed": seeds, "step": steps}
    return Expected("regression", config, code, _REGRESSION, lambda _: coordinates)
