"""When a callback of somebody's trainer measures, and of what."""

from torch import nn
from torch.optim import Optimizer

from srel_core.optimizer_step import OptimizerStep
from srel_core.recorder import SrelRecorder
from srel_core.rules import OPTIMIZER


class Measuring:
    """What callbacks of trainers have in common: they measure before the first step, every so many
    steps of the optimizer, and at the end; nothing twice."""

    def __init__(
        self, recorder: SrelRecorder, every: int = 100, optimizer_step: bool = False
    ) -> None:
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every must be a whole number of at least 1, not {every!r}")
        self.recorder, self.every, self.optimizer_step = recorder, every, optimizer_step
        self._measured: set[int] = set()

    def _require_part_of(self, trained: nn.Module) -> None:
        """ValueError unless the recorder's model is the one that is trained, or a part of it."""
        if all(self.recorder.model is not part for part in trained.modules()):
            raise ValueError("the recorder is of another model than the one that is trained")

    def _watch(self, optimizer: Optimizer) -> None:
        """Measure the step that this optimizer would take next too, as "optimizer"."""
        self.recorder.rules[OPTIMIZER] = OptimizerStep(optimizer)

    def _measure_after(self, step: int) -> None:
        """After so many steps of the optimizer: measure if it is time."""
        if step % self.every == 0:
            self._measure_at(step)

    def _measure_at(self, step: int) -> None:
        """Measure, in eval mode, and leave the model in the mode that it was in."""
        if step in self._measured:
            return
        self._measured.add(step)
        model = self.recorder.model
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            self.recorder.measure(step)
        finally:
            for module, training in modes:
                module.training = training
