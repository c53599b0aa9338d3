"""Measure S_rel again and again while a network trains, in anyone's training loop.

recorder = sc.SrelRecorder(model, x, y, probes, rules={"sgd": sc.SGD(1e-4)})
for step, (inputs, targets) in enumerate(loader):
    ...                        # your own optimizer step on `model`
    if step % 100 == 0:
        recorder.measure(step)
recorder.to_xarray()
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from srel_core.divergence import find_divergences
from srel_core.engine.setup.inputs import Given, Inputs
from srel_core.engine.setup.losses import Loss
from srel_core.engine.setup.outputs import Pick
from srel_core.measurement import Influence, influence
from srel_core.optimizer_step import OptimizerStep
from srel_core.rules import OPTIMIZER, Rule, Tangent
from srel_core.tangent import tangent_influence

if TYPE_CHECKING:
    import xarray as xr

# What is kept at each step for each rule, and its dimensions.
_DIMS = {
    "change": ("divergence", "probe", "sample"),
    "own": ("divergence", "sample"),
    "prediction": ("probe", "output"),
    "sample_prediction": ("sample", "output"),
    "prediction_change": ("probe", "sample", "output"),
    "own_prediction_change": ("sample", "output"),
    "in_float64": ("sample",),
}


class SrelRecorder:
    """Holds samples and probes fixed, and keeps what `influence` measures at chosen steps.

    model     the network in training; measured as it is when `measure` is called
    x, y, probes, loss, divergences, output   as for `srel_core.influence`
    rules     name → `SGD(lr)`, `Adam(lr)`, any other rule, or `Tangent()`: all are measured, with
              all divergences, at every call
    optimizer the one that trains the model: the step that it would take next is measured too, as
              `OptimizerStep`, under the name "optimizer"
    probe_classes (P,), sample_classes (S,)   kept beside the result if given
    keep_delta  whether the changes of the predictions are kept, from which any other divergence can
              be had afterwards
    check     "once": the first measurement under each rule, and the first after the model's
              structure has changed, are held to the definition; True: every one; False: none
    """

    def __init__(
        self,
        model: nn.Module,
        x: Given,
        y: Tensor,
        probes: Given,
        *,
        rules: Mapping[str, Rule | OptimizerStep | Tangent] = MappingProxyType({}),
        optimizer: torch.optim.Optimizer | None = None,
        loss: Loss = "cross_entropy",
        divergences: Sequence[str] = ("kl", "l2_logits"),
        output: Pick | None = None,
        probe_classes: Tensor | None = None,
        sample_classes: Tensor | None = None,
        keep_delta: bool = True,
        check: bool | Literal["once"] = "once",
    ) -> None:
        if check not in ("once", True, False):
            raise ValueError(f"check must be 'once', True or False, not {check!r}")
        if optimizer is not None and OPTIMIZER in rules:
            raise ValueError(
                f"rules names {OPTIMIZER!r}, which is the name of the step of optimizer="
            )
        self.rules = dict(rules)
        if optimizer is not None:
            self.rules[OPTIMIZER] = OptimizerStep(optimizer)
        if not self.rules:
            raise ValueError("rules is empty: name at least one, such as {'sgd': SGD(lr=1e-4)}")
        find_divergences(divergences)
        self.model, self.x, self.y, self.probes = model, x, y, probes
        self.loss, self.divergences, self.output = loss, tuple(divergences), output
        self.keep_delta, self.check, self._checked = keep_delta, check, dict[str, object]()
        self._classes = {"probe_class": probe_classes, "sample_class": sample_classes}
        for (name, labels), given in zip(self._classes.items(), ("probes", "x"), strict=True):
            n = len(Inputs.of(given, getattr(self, given)))
            if labels is not None and labels.shape != (n,):
                raise ValueError(
                    f"{name}es must hold one label for each of {n}, "
                    f"but its shape is {tuple(labels.shape)}"
                )
        self._kept: dict[int, dict[str, Tensor]] = {}

    def measure(self, step: int) -> dict[str, Influence]:
        """Measure under every rule now, and keep it under this step: rule name → result."""
        step = int(step)
        if step in self._kept:
            raise ValueError(f"step {step} has been measured before: each step counts once")
        results = {name: self._influence(name, rule) for name, rule in self.rules.items()}
        kept = [self._of_result(result) for result in results.values()]
        self._kept[step] = {name: torch.stack([k[name] for k in kept]) for name in kept[0]}
        return results

    def _of_result(self, result: Influence) -> dict[str, Tensor]:
        kept = {
            "change": self._stack(result.change),
            "own": self._stack(result.own),
            "prediction": result.before,
            "sample_prediction": result.own_before,
            "in_float64": result.in_float64,
        }
        if result.delta is not None and result.own_delta is not None:
            kept["prediction_change"] = result.delta
            kept["own_prediction_change"] = result.own_delta
        return kept

    def _influence(self, name: str, rule: Rule | OptimizerStep | Tangent) -> Influence:
        structure = _structure(self.model)
        check = self._checked.get(name) != structure if self.check == "once" else self.check
        common: dict[str, Any] = dict(
            loss=self.loss, divergences=self.divergences, output=self.output, check=check,
            keep_delta=self.keep_delta,
        )  # fmt: skip
        problem = (self.model, self.x, self.y, self.probes)
        if isinstance(rule, Tangent):
            found = tangent_influence(*problem, **common)
        else:
            found = influence(*problem, rule=rule, **common)
        self._checked[name] = structure
        return found

    def _stack(self, by_divergence: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([by_divergence[name] for name in self.divergences])

    def to_xarray(self) -> "xr.Dataset":
        """All measurements so far.

        change (step, rule, divergence, probe, sample), own (step, rule, divergence, sample);
        the predictions that they come from, prediction (step, rule, probe, output) before the
        step and prediction_change (step, rule, probe, sample, output), and at the samples
        sample_prediction (step, rule, sample, output) and own_prediction_change (step, rule,
        sample, output), those of `Tangent` per unit of learning rate; all in float64. A rule
        keeps its own predictions before the step: they are in float64 throughout where some
        sample asked for it, and may differ in their last digits from those of another rule.
        in_float64 (step, rule, sample); same_input (probe, sample) marks x' = x; class labels as
        coordinates. ValueError before the first measurement; ModuleNotFoundError without xarray.
        """
        try:
            import xarray as xr
        except ModuleNotFoundError:
            lacks = "to_xarray gives an xarray.Dataset, and xarray is not there: pip install xarray"
            raise ModuleNotFoundError(lacks, name="xarray") from None
        if not self._kept:
            raise ValueError("nothing has been measured yet: call measure(step) first")
        steps = sorted(self._kept)
        data = {}
        for name, dims in _DIMS.items():
            if name in self._kept[steps[0]]:
                values = torch.stack([self._kept[step][name] for step in steps]).numpy()
                data[name] = (_with_positions(("step", "rule", *dims), values.ndim), values)
        like = next(self.model.parameters())
        probes, x = (Inputs.of(n, getattr(self, n)).like(like) for n in ("probes", "x"))
        same_input = probes.equal_rows(x).numpy()
        coords = {"step": steps, "rule": list(self.rules), "divergence": list(self.divergences)}
        for name, labels in self._classes.items():
            if labels is not None:
                coords[name] = (name.removesuffix("_class"), labels.cpu().numpy())
        return xr.Dataset({**data, "same_input": (("probe", "sample"), same_input)}, coords=coords)

    def state(self) -> dict[str, Tensor]:
        """Everything measured so far, as plain tensors: what `restore` takes."""
        return {f"{s}/{name}": t for s, kept in self._kept.items() for name, t in kept.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave, in place of what has been measured."""
        self._kept = {}
        for key, tensor in state.items():
            step, name = key.split("/")
            self._kept.setdefault(int(step), {})[name] = tensor


def _with_positions(dims: tuple[str, ...], ndim: int) -> tuple[str, ...]:
    """Dimensions with those of the positions of predictions, where there are any, before the
    last."""
    positions = [f"position_{k}" for k in range(ndim - len(dims))]
    return (*dims[:-1], *positions, dims[-1]) if positions else dims


# What of a module, beside its numbers, decides whether a fast way applies.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _structure(model: nn.Module) -> object:
    """What of a model a fast way depends on, but for its numbers: modules, shapes, hooks."""
    modules = tuple(
        (name, type(m), m.training, *(len(getattr(m, h)) for h in _HOOKS), "forward" in vars(m))
        for name, m in model.named_modules()
    )
    weights = tuple((n, p.shape, p.dtype, p.requires_grad) for n, p in model.named_parameters())
    return modules, weights
