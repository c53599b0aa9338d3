"""The regression experiments: S_rel of held-out pairs while small networks learn a scalar target.

All seeds of a setting are trained together (`srel_core.experiments.regression.network_stack`). A
seed draws everything anew: inputs, target, pairs, first weights, batches.
"""

import dataclasses
import hashlib
import json
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from srel_core.choices import check_known
from srel_core.experiments import result_files
from srel_core.experiments.code_digest import Registry, Sources, code_digest
from srel_core.experiments.device import choose_device
from srel_core.experiments.expected import regression_result
from srel_core.experiments.networks import mlp
from srel_core.experiments.processes import one_thread
from srel_core.experiments.provenance import provenance
from srel_core.experiments.regression import problems
from srel_core.experiments.regression.network_stack import Stack
from srel_core.experiments.regression.next_step import NextStep
from srel_core.experiments.regression.problems import DIMENSION, INPUTS, TARGETS, RegressionData
from srel_core.experiments.regression.training import pairs_of, train
from srel_core.experiments.training import stream
from srel_core.rules import OPTIMIZER, Rule, Tangent, parse_rule

if TYPE_CHECKING:
    import xarray as xr

    from srel_core.flows import ReluGateFlow

FAMILIES = ("linear", "relu_gate", "mlp")
TRAININGS = ("sgd", "gd", "adam")
SOURCES = Sources(
    "experiments.regression.experiment",
    # Messages, closed forms to compare with, and files.
    left_out=(
        "choices", "flows", "experiments.terminal", "experiments.code_digest", "experiments.digest",
        "experiments.expected", "experiments.files", "experiments.netcdf", "experiments.provenance",
        "experiments.result_files",
    ),
    registries=(Registry("experiments.networks", "_BUILDERS"),),
)  # fmt: skip
"""What the numbers depend on in this package; of the networks only `mlp`."""


@dataclass(frozen=True)
class RegressionExperiment:
    """S_rel of held-out pairs while a network learns a scalar target: one setting, all its seeds.

    family      "linear" (with a bias), "relu_gate" (max(w·x, 0)), or "mlp"
    depth, width, activation   of an "mlp": layers of weights, hidden units per layer, "relu" or
                "tanh"
    gain        the first weights over torch's own; for "relu_gate" torch has no say, ‖w‖ = gain
    target, inputs   see `srel_core.experiments.regression.problems`; a gate learns gates alone
    training    steps on the mean of ½(f(x) − y)²: "sgd" and "adam" on batches of 16 drawn with
                replacement, "gd" on all points
    lr          of the training, and of the SGD step that S_rel is measured with
    n_steps     training steps; `n_points` evenly spaced steps are measured, and the step 0, and
                steps on a logarithmic scale before the first of them
    n_train     points to train on; `n_pairs`: held-out pairs of each kind
    more_rules  measured beside the SGD step: "tangent", "adam:LR", "sgd:LR", and, where Adam
                trains, "optimizer", the step that it would take next
    """

    family: str = "mlp"
    depth: int = 3
    width: int = 50
    activation: str = "relu"
    gain: float = 1.0
    target: str = "teacher"
    inputs: str = "gaussian"
    training: str = "sgd"
    lr: float = 0.02
    n_steps: int = 3000
    n_points: int = 200
    n_train: int = 200
    n_pairs: int = 40
    more_rules: tuple[str, ...] = ("tangent",)
    seeds: tuple[int, ...] = tuple(range(10))

    def __post_init__(self) -> None:
        for name, known in (
            ("family", FAMILIES), ("activation", ("relu", "tanh")), ("target", TARGETS),
            ("inputs", INPUTS), ("training", TRAININGS),
        ):  # fmt: skip
            check_known(name, getattr(self, name), known)
        least = {"depth": 2, "width": 1, "n_steps": 1, "n_points": 1, "n_train": 2, "n_pairs": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                raise ValueError(f"{name} must be a whole number of at least {low}, not {value!r}")
        if self.n_steps % self.n_points:
            raise ValueError(
                f"n_steps must be a multiple of n_points, for an even grid: {self.n_steps} is not "
                f"one of {self.n_points}"
            )
        if not 0 < self.gain < float("inf"):
            raise ValueError(f"gain must be a positive, finite number, not {self.gain!r}")
        if len(self.rules) < 1 + len(self.more_rules):
            raise ValueError(f"the same step is measured twice: {self.lr=}, {self.more_rules=}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different, and at least one: {self.seeds}")
        if self.family == "relu_gate" and "teacher" not in self.target:
            raise ValueError(
                f"a relu_gate is never negative, so it cannot learn target {self.target!r}: "
                "use 'teacher' or 'noisy_teacher'"
            )
        if OPTIMIZER in self.more_rules and self.training != "adam":
            raise ValueError(
                f"{OPTIMIZER!r} is for training='adam': {self.training} takes the step that is "
                "measured first"
            )
        if real := problems.REAL.get(self.target):
            if self.n_train > real.n_train:
                raise ValueError(
                    f"{self.target} has {real.n_train} points to train on, not {self.n_train}"
                )
            if self.inputs != "gaussian":
                raise ValueError(f"{self.target} brings its own inputs: leave `inputs` as it is")

    @property
    def rules(self) -> dict[str, Rule | Tangent | NextStep]:
        """What is measured, by name; the first is SGD with the learning rate of the training."""
        return {
            name: NextStep() if name == OPTIMIZER else parse_rule(name)
            for name in (f"sgd:{self.lr!r}", *self.more_rules)
        }

    @property
    def measured_steps(self) -> NDArray[np.intp]:
        spacing = self.n_steps // self.n_points
        early = np.unique(np.geomspace(1, spacing, 12).round().astype(int))
        return np.union1d(early, np.arange(self.n_points + 1) * spacing)

    @property
    def config(self) -> str:
        """The config as JSON, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @property
    def code(self) -> str:
        """The digest of the code that it runs on, as it was when first asked."""
        return code_digest(SOURCES)

    @property
    def file_name(self) -> str:
        """The name of the result's file: it changes with the config and the code."""
        key = hashlib.sha256((self.config + self.code).encode()).hexdigest()[:12]
        return f"regression-{self.family}-{self.target}-{key}.nc"

    def data(self) -> list[RegressionData]:
        """Each seed's problem."""
        return [self._data(seed) for seed in self.seeds]

    def _data(self, seed: int) -> RegressionData:
        teacher = Stack.of([self._network(stream(seed, "teacher"))])

        def predict(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return teacher.forward(torch.from_numpy(x)[None]).output[0].numpy()

        return problems.draw(
            self.inputs, self.target, self.n_train, self.n_pairs, seed, predict,
            standardise=self.family != "relu_gate",
        )  # fmt: skip

    def networks(self) -> Stack:
        """All seeds' networks before the first step."""
        stack = Stack.of([self._network(stream(seed, "weights")) for seed in self.seeds])
        return replace(stack, weights=tuple(self.gain * weight for weight in stack.weights))

    def _network(self, seed: int) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            if self.family == "relu_gate":
                gate = nn.Linear(DIMENSION, 1, bias=False, dtype=torch.float64)
                # ‖w‖ = 1, in a random direction: as in the closed form's setting.
                nn.init.normal_(gate.weight)
                with torch.no_grad():
                    gate.weight /= gate.weight.norm()
                return nn.Sequential(gate, nn.ReLU())
            widths = () if self.family == "linear" else (self.width,) * (self.depth - 1)
            return mlp(problems.dimension_of(self.target), widths, 1, self.activation)

    def gate_flows(self) -> "list[ReluGateFlow]":
        """Each seed's gradient flow in closed form, for a gate on Gaussian inputs; the time of
        a step s is s·lr."""
        from srel_core.flows import ReluGateFlow

        if self.family != "relu_gate" or self.inputs != "gaussian":
            raise ValueError("the closed form is that of a relu_gate on gaussian inputs")
        teachers = Stack.of([self._network(stream(seed, "teacher")) for seed in self.seeds])
        pairs = zip(teachers.weights[0][:, 0], self.networks().weights[0][:, 0], strict=True)
        return [ReluGateFlow(w.numpy(), w0.numpy(), flow="gradient") for w, w0 in pairs]

    def is_kept(self, results_dir: str | Path | None = None) -> bool:
        """Whether there is a result of this name, damaged or not."""
        return (result_files.results_dir(results_dir) / self.file_name).is_file()

    def run(self, results_dir: str | Path | None = None, device: str = "cpu") -> "xr.Dataset":
        """Load this experiment's result, or compute and keep it; if another process is computing
        it, wait for that one, with a warning.

        s_rel (rule, seed, step, pair), NaN where a step changes nothing at its own sample;
        s_rel_linear (seed, pair), that of a linear model (without bias, for a gate), which never
        moves; kind (seed, pair); train_loss, held_loss (seed, step), means of ½(f(x) − y)²;
        even (step) marks the evenly spaced steps. Provenance is in the attributes. On a CPU it is
        computed by one thread, so that the bits do not depend on how many there are.

        device: "cpu", "cuda" or "auto". ResultError for a results directory that cannot be written,
        ValueError if the training diverges, or for a device that is not to be had. A damaged file
        is set aside, with a warning.
        """
        place = choose_device(device)
        path = result_files.results_dir(results_dir) / self.file_name
        rules, steps = list(self.rules), self.measured_steps.tolist()
        expected = regression_result(self.config, self.code, rules, self.seeds, steps)
        kept = result_files.load_kept(path, expected)
        if kept is not None:
            return kept
        waiting = f"waiting for another process that computes {path.name}"
        with result_files.alone(path, partial(warnings.warn, waiting, stacklevel=4)):
            kept = result_files.load_kept(path, expected)  # from the process that was waited for
            if kept is not None:
                return kept
            result_files.require_writable(path.parent)
            dataset = self._compute(place)
            result_files.save(dataset, path, expected)
            return dataset

    def _compute(self, device: torch.device) -> "xr.Dataset":
        import xarray as xr

        begun = time.monotonic()
        data, steps = self.data(), self.measured_steps
        with one_thread():
            measured = train(self, data, device)
            came_from = provenance(
                "regression", self.config, self.code, time.monotonic() - begun, device.type
            )
        sample, probe = pairs_of(data)
        bias = 0.0 if self.family == "relu_gate" else 1.0
        linear = ((sample * probe).sum(-1) + bias).abs() / ((sample**2).sum(-1) + bias)
        dataset = xr.Dataset(
            {
                "s_rel": (("rule", "seed", "step", "pair"), measured["s_rel"]),
                "s_rel_linear": (("seed", "pair"), linear.numpy()),
                "train_loss": (("seed", "step"), measured["train_loss"]),
                "held_loss": (("seed", "step"), measured["held_loss"]),
            },
            {
                "rule": list(self.rules), "seed": list(self.seeds), "step": steps,
                "kind": (("seed", "pair"), np.stack([d.kind for d in data])),
                "even": ("step", steps % (self.n_steps // self.n_points) == 0),
            },
        )  # fmt: skip
        everything = np.concatenate([np.c_[d.x, d.y].ravel() for d in data])
        checksum = hashlib.sha256(everything.tobytes()).hexdigest()
        return dataset.assign_attrs(came_from | {"data_checksum": checksum})
