"""Every measurement by a fast way is held to the definition while it runs.

At a few samples, those of the largest, the smallest and a middle change, and at a few inputs each:
the sample itself and the probe that has changed most.
"""

import torch
from torch import Tensor

from srel_core.engine.direct import instead_of_drowned, rounding_of
from srel_core.engine.directional import Derivatives
from srel_core.engine.setup.inputs import Inputs
from srel_core.engine.setup.task import Task
from srel_core.engine.stepping import Step, Stepping, can_be_wide, stepping
from srel_core.rules import Rule

# How far changes may be from the definition's: what the fast ways promise, with room, where the
# definition is computed in float64; in float32 its own gradient may put a unit at rest on the wrong
# side.
_APART = {torch.float64: 2e-3, torch.float32: 2e-2}

# Operations of a forward pass up to which the definition costs little in float64.
_CHEAP = 10_000_000


def disagreement(task: Task, rule: Rule | None, delta: Tensor, drowned: Tensor) -> float:
    """How far the changes (S, I, C) of a fast way are from the definition's, relative to what is
    allowed: at most 1 where they agree. Without a rule they are the limit's. `drowned` (S,) are
    left out: those are the definition's own."""
    samples = (~drowned).nonzero().flatten()
    if not len(samples):
        return 0.0
    of_own = delta[samples, task.own_row[samples]].norm(dim=1)
    places = {int(of_own.argmax()), int(of_own.argmin()), len(samples) // 2}
    chosen = sorted(int(samples[place]) for place in places)
    wide = task.cost.operations <= _CHEAP and can_be_wide(task)
    with stepping(task, wide) as own:
        return max(_of_sample(own, rule, sample, delta[sample]) for sample in chosen)


def _of_sample(own: Stepping, rule: Rule | None, sample: int, delta: Tensor) -> float:
    most = int(delta[: own.task.n_probes].flatten(1).norm(dim=1).argmax())
    rows = torch.tensor(sorted({int(own.task.own_row[sample]), most}))
    inputs = own.inputs[rows.to(own.task.device)]
    gradient = own.gradient(sample)
    if rule is None:
        own.go_back()
        down = {name: -g for name, g in gradient.items()}
        wanted = Derivatives(own, len(rows)).along(down, inputs)
    else:
        wanted = _after_step(own, rule, gradient, inputs)
    got = delta[rows.to(delta.device)].to(wanted)
    apart, size = ((t.flatten(1).norm(dim=1)) for t in (got - wanted, wanted))
    size = torch.maximum(size, got.flatten(1).norm(dim=1))
    relative = torch.where(apart == 0, 0, apart / size.clamp_min(1e-300))
    return float(relative.max()) / _APART[own.precision]


def _after_step(own: Stepping, rule: Rule, gradient: Step, inputs: Inputs) -> Tensor:
    """The change (B, ..., C) after a step by the rule's own optimizer, or, where rounding would
    drown it, as the derivative along the step."""
    before = own.predict(inputs, len(inputs))
    own.take_by_optimizer(rule, gradient)
    wanted = own.predict(inputs, len(inputs)) - before
    own.go_back()
    step = own.step_of(rule, gradient)
    if any(bool(change.any()) for change in step.values()):
        rounding = rounding_of(own, inputs, before)
        derivatives = Derivatives(own, len(inputs))
        instead_of_drowned(own, derivatives, step, inputs, wanted, rounding)
    return wanted
