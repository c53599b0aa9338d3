"""Every measurement by a fast way is held to the definition while it runs.

At a few samples, those of the largest, the smallest and a middle change, and at a few inputs each:
the sample itself and the probe that has changed most.
"""

import torch
from torch import Tensor

from srel_core.engine.direct import instead_of_drowned, rounding_of
from srel_core.engine.directional import Derivatives, derivative_along
from srel_core.engine.setup.task import CHEAP, Task
from srel_core.engine.stepping import Stepping, moves, stepping
from srel_core.rules import Rule

# How far changes may be from the definition's: what the fast ways promise, with room, where the
# definition is computed in float64; in float32 its own gradient may put a unit at rest on the wrong
# side.
_APART = {torch.float64: 2e-3, torch.float32: 2e-2}

# Of a model that is not cheap one sample in so many is tried, so that it takes a twentieth of the
# time.
_ONE_IN = 60


def disagreement(
    task: Task, rule: Rule | None, delta: Tensor, drowned: Tensor, wide: torch.dtype | None
) -> float:
    """How far the changes (S, I, C) of a fast way are from the definition's, relative to what is
    allowed: at most 1 where they agree. Without a rule they are the limit's. `drowned` (S,) are
    left out: those are the definition's own. The definition is computed in the precision `wide`, or
    in the model's own."""
    samples = (~drowned).nonzero().flatten()
    if not len(samples):
        return 0.0
    cheap = task.cost.operations <= CHEAP
    with stepping(task, wide) as own:
        found = [_of_sample(own, rule, i, delta[i]) for i in _chosen(task, delta, samples, cheap)]
    return max(found)


def _chosen(task: Task, delta: Tensor, samples: Tensor, cheap: bool) -> list[int]:
    """Those of the largest, the smallest and a middle change; of a costly model one in so many, the
    largest first."""
    of_own = delta[samples, task.own_row[samples]].norm(dim=1)
    places = dict.fromkeys([int(of_own.argmax()), int(of_own.argmin()), len(samples) // 2])
    most = len(places) if cheap else max(1, len(samples) // _ONE_IN)
    return [int(samples[place]) for place in list(places)[:most]]


def _of_sample(own: Stepping, rule: Rule | None, sample: int, delta: Tensor) -> float:
    most = int(delta[: own.task.n_probes].flatten(1).norm(dim=1).argmax())
    rows = torch.tensor(sorted({int(own.task.own_row[sample]), most}), device=own.task.device)
    inputs, got = own.inputs[rows], delta[rows.to(delta.device)]
    gradient, _ = own.gradient(sample)
    if rule is None:
        own.drop_gradients()
        return _apart(own, got, -derivative_along(own, gradient, inputs))
    anew = own.wide is not None
    before = own.predict(inputs, len(rows)) if anew else own.task.before[rows].double()
    own.take_as_defined(rule, gradient)
    wanted = own.predict(inputs, len(rows)) - before
    own.go_back()
    apart = _apart(own, got, wanted)
    if apart <= 1:
        return apart
    step = own.step_of(rule, own.gradient(sample)[0])
    own.go_back()
    if moves(step):  # it may be the subtraction that is off
        rounding = rounding_of(own, inputs, before).of(before)
        derivatives = Derivatives(own, len(rows))
        instead_of_drowned(own, derivatives, step, inputs, wanted, rounding)
    return _apart(own, got, wanted)


def _apart(own: Stepping, got: Tensor, wanted: Tensor) -> float:
    """The largest relative difference at any input (B, ..., C), in units of what is allowed."""
    got = got.to(wanted)
    apart = (got - wanted).flatten(1).norm(dim=1)
    size = torch.maximum(got.flatten(1).norm(dim=1), wanted.flatten(1).norm(dim=1))
    relative = torch.where(apart == 0, 0, apart / size.clamp_min(1e-300))
    return float(relative.max()) / _APART[own.precision]
