"""A module of Lightning, trained with measurements and without."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

import srel_core as sc
from srel_core.integrations.lightning import SrelCallback


class Classifier(LightningModule):
    def __init__(self, n_optimizers=1):
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)
        )  # fmt: skip
        self.n_optimizers = n_optimizers
        self.automatic_optimization = n_optimizers == 1

    def forward(self, x):
        return self.network(x)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return [torch.optim.Adam(self.parameters(), 1e-3) for _ in range(self.n_optimizers)]


def images(n, seed):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=draw), torch.arange(n) % 3


def made(**given):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(**given)


def fit(module, callbacks, folder, **given):
    torch.manual_seed(1)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*images(12, 5)), batch_size=3
    )
    Trainer(
        accelerator="cpu", devices=1, max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        callbacks=callbacks, **given,
    ).fit(module, loader)  # fmt: skip
    return module


def recorder_of(model):
    (x, y), (probes, _) = images(3, 6), images(5, 7)
    return sc.SrelRecorder(model, x, y, probes, rules={"sgd": sc.SGD(1e-3)})


@pytest.mark.filterwarnings("ignore")  # what Lightning says of workers, devices and logs
@pytest.mark.parametrize("part", ["module", "network"])
@pytest.mark.parametrize(("accumulated", "steps"), [(1, [0, 3, 6, 8]), (2, [0, 3, 4])])
def test_a_module_trains_as_without_and_is_measured_as_it_goes(tmp_path, part, accumulated, steps):
    plain = fit(made(), [], tmp_path, accumulate_grad_batches=accumulated)
    module = made()
    recorder = recorder_of(module if part == "module" else module.network)
    callback = SrelCallback(recorder, every=3, optimizer_step=True)
    fit(module, [callback], tmp_path, accumulate_grad_batches=accumulated)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    result = callback.recorder.to_xarray()
    assert result.step.values.tolist() == steps
    assert result["rule"].values.tolist() == ["sgd", "optimizer"]
    assert bool((result.change.sel(divergence="kl") > 0).all())


@pytest.mark.filterwarnings("ignore")
def test_what_a_callback_cannot_do_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every must be a whole number"):
        SrelCallback(recorder_of(made()), every=0)
    with pytest.raises(ValueError, match="of another model than the one that is trained"):
        fit(made(), [SrelCallback(recorder_of(made()))], tmp_path)
    module = made(n_optimizers=2)
    with pytest.raises(ValueError, match="a module with one optimizer, not 2"):
        fit(module, [SrelCallback(recorder_of(module), optimizer_step=True)], tmp_path)
