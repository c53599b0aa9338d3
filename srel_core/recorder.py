"""Measure S_rel again and again while a network trains, in anyone's training loop.

recorder = sc.SrelRecorder(model, x, y, probes, rules={"sgd": sc.SGD(1e-4)})
for step, (inputs, targets) in enumerate(loader):
    ...                        # your own optimizer step on `model`
    if step % 100 == 0:
        recorder.measure(step)
recorder.to_xarray()
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from srel_core.divergence import find_divergences
from srel_core.engine.setup.problem import Loss, equal_rows, to_model
from srel_core.measurement import Influence, influence
from srel_core.rules import Rule, Tangent
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
    x, y, probes, loss, divergences   as for `srel_core.influence`
    rules     name → `SGD(lr)`, `Adam(lr)`, any other rule, or `Tangent()`: all are measured, with
              all divergences, at every call
    probe_classes (P,), sample_classes (S,)   kept beside the result if given
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        probes: Tensor,
        *,
        rules: Mapping[str, Rule | Tangent],
        loss: Loss = "cross_entropy",
        divergences: Sequence[str] = ("kl", "l2_logits"),
        probe_classes: Tensor | None = None,
        sample_classes: Tensor | None = None,
    ) -> None:
        if not rules:
            raise ValueError("rules is empty: name at least one, such as {'sgd': SGD(lr=1e-4)}")
        find_divergences(divergences)
        self.model, self.x, self.y, self.probes = model, x, y, probes
        self.rules, self.loss, self.divergences = dict(rules), loss, tuple(divergences)
        self._classes = {"probe_class": probe_classes, "sample_class": sample_classes}
        for (name, labels), inputs in zip(self._classes.items(), (probes, x), strict=True):
            if labels is not None and labels.shape != inputs.shape[:1]:
                raise ValueError(
                    f"{name}es must hold one label for each of {len(inputs)}, "
                    f"but its shape is {tuple(labels.shape)}"
                )
        self._kept: dict[int, dict[str, Tensor]] = {}

    def measure(self, step: int) -> dict[str, Influence]:
        """Measure under every rule now, and keep it under this step: rule name → result."""
        step = int(step)
        if step in self._kept:
            raise ValueError(f"step {step} has been measured before: each step counts once")
        results = {name: self._influence(rule) for name, rule in self.rules.items()}
        kept = [
            {
                "change": self._stack(r.change),
                "own": self._stack(r.own),
                "prediction": r.before,
                "sample_prediction": r.own_before,
                "prediction_change": r.delta,
                "own_prediction_change": r.own_delta,
                "in_float64": r.in_float64,
            }
            for r in results.values()
        ]
        self._kept[step] = {name: torch.stack([k[name] for k in kept]) for name in _DIMS}
        return results

    def _influence(self, rule: Rule | Tangent) -> Influence:
        problem = (self.model, self.x, self.y, self.probes)
        if isinstance(rule, Tangent):
            return tangent_influence(*problem, loss=self.loss, divergences=self.divergences)
        return influence(*problem, rule=rule, loss=self.loss, divergences=self.divergences)

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
        data = {
            name: (
                ("step", "rule", *dims),
                torch.stack([self._kept[step][name] for step in steps]).numpy(),
            )
            for name, dims in _DIMS.items()
        }
        like = next(self.model.parameters())
        same_input = equal_rows(to_model(self.probes, like), to_model(self.x, like)).numpy()
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
