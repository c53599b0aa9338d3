"""From the regression experiments' results to what the chapter shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srel_core.book.regression.two_phase_rule import Case, Judgement, case_of, judge
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.regression.settings import describe
from srel_core.rules import OPTIMIZER
from srel_core.statistics.hinge import Floats
from srel_core.statistics.phases import TwoPhaseFit, fit_two_phase

if TYPE_CHECKING:
    import xarray as xr

Results = Mapping[RegressionExperiment, "xr.Dataset"]
LEARNT = 0.9  # of the fall of the loss
_BY_NEXT_STEP = ", next step"  # at the end of a row's name


@dataclass(frozen=True, eq=False)
class SettingRow:
    """One setting and kind of pairs, measured by the SGD step of the training, or, with
    `next_step`, by the step that Adam takes next.

    learnt_at   step by which 90 % of the fall of the training loss has happened, (R,), one per seed
    at_break    share of that fall by the break, (R,); NaN without a break
    """

    setting: RegressionExperiment
    kind: str
    next_step: bool
    case: Case
    judgement: Judgement
    learnt_at: Floats
    at_break: Floats

    @property
    def rises(self) -> bool:
        return self.judgement.plateau > self.judgement.start

    @property
    def name(self) -> str:
        kind = "" if self.kind == "any" else f" [{self.kind}]"
        return describe(self.setting) + kind + (_BY_NEXT_STEP if self.next_step else "")


def setting_in(name: str) -> str:
    """What of a row's name describes its setting."""
    return name.removesuffix(_BY_NEXT_STEP).partition(" [")[0]


def judged_rows(
    results: Results, rule: str | None = None, average: Callable[..., Floats] = np.mean
) -> list[SettingRow]:
    """A row for each setting and kind of pairs, and another one by the next step where that is
    measured, all judged together; `average` as for `case_of`. With a `rule` as there, one row each,
    by that."""
    keys = [
        (setting, str(kind), by)
        for setting, r in results.items()
        for by in ((rule, OPTIMIZER) if rule is None and OPTIMIZER in r.rule else (rule,))
        for kind in np.unique(r.kind)
    ]
    cases = {f"{describe(e)} {k} {by}": case_of(results[e], k, by, average) for e, k, by in keys}
    judgements = judge(cases)
    rows = zip(keys, cases.values(), judgements.values(), strict=True)
    return [
        SettingRow(e, kind, by == OPTIMIZER, case, judged, *_learning(results[e], judged.fit))
        for (e, kind, by), case, judged in rows
    ]


def _learning(result: "xr.Dataset", fit: TwoPhaseFit | None) -> tuple[Floats, Floats]:
    """`learnt_at` and `at_break` of a `SettingRow`."""
    steps, loss = result.step.values, result.train_loss.values
    share = (loss[:, :1] - loss) / (loss[:, :1] - loss[:, -1:])  # 0 at first, 1 in the end
    learnt_at = steps[(share >= LEARNT).argmax(1)].astype(float)
    breaks = fit.break_step if fit else np.nan
    return learnt_at, np.array([np.interp(breaks, steps, seed) for seed in share])


@dataclass(frozen=True, eq=False)
class Movement:
    """How far the pairs of a gate have moved: |S_rel(t) − S_rel(0)|, averaged over pairs.

    times (T,) of the gradient flow; measured, predicted (R, T), by the network and by the flow in
    closed form, for the same pairs; fits of two lines to both, against time.
    """

    times: Floats
    measured: Floats
    predicted: Floats
    fit_measured: TwoPhaseFit
    fit_predicted: TwoPhaseFit


def gate_movement(setting: RegressionExperiment, result: "xr.Dataset") -> Movement:
    """The movement of a gate's pairs, as measured and as its flow has it.

    Of the pairs whose sample is active all the while, in both.
    """
    times = result.step.values[result.even.values] * setting.lr
    observed = result.s_rel.sel(rule="tangent", step=result.even).transpose("seed", "step", "pair")
    measured: list[Floats] = []
    predicted: list[Floats] = []
    for values, flow, data in zip(
        observed.values, setting.gate_flows(), setting.data(), strict=True
    ):
        exact = flow.s_rel(times, data.x_held[data.probe], data.x_held[data.sample])
        whole = np.isfinite(values).all(0) & np.isfinite(exact).all(0)
        for moved, curve in ((measured, values), (predicted, exact)):
            moved.append(np.abs(curve - curve[0])[:, whole].mean(1))
    both = np.array(measured), np.array(predicted)
    return Movement(times, *both, *(fit_two_phase(times, curves) for curves in both))
