"""S_rel while a Lightning `Trainer` trains.

    recorder = sc.SrelRecorder(module, x, y, probes, rules={"sgd": sc.SGD(1e-4)})
    Trainer(..., callbacks=[SrelCallback(recorder, every=100)]).fit(module, loader)
    recorder.to_xarray()

The `forward` of what is measured gives its predictions.
"""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from srel_core.integrations.measurements import Measuring


class SrelCallback(Measuring, Callback):
    """Measures before the first step, every so many steps of the optimizer, and at the end.

    recorder  of the module that is trained, or of a network in it; it keeps what is measured
    every     steps of the optimizer from one measurement to the next
    optimizer_step  whether the step that the module's own optimizer would take next is measured
              too, under the name "optimizer"

    The model is measured in eval mode, and left in the mode that it was in. ValueError where
    `every` is no whole number of at least 1, the recorder is of another model, or the step of one
    optimizer is asked for and the module has more or none.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._require_part_of(pl_module)
        if self.optimizer_step:
            n = len(trainer.optimizers)
            if n != 1:
                raise ValueError(
                    f"optimizer_step is for a module with one optimizer, not {n}: leave it out"
                )
            self._watch(trainer.optimizers[0])
        self._measure_at(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._measure_after(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._measure_at(trainer.global_step)
