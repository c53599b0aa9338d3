"""The training loop against a plain one, and its resumption to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from srel_core.experiments.training import Pause, Schedule, Trainer, evaluate, stream

SCHEDULE = Schedule(epochs=3, batch_size=4, lr=1e-2, weight_decay=1e-3, measure_every=2)
COSINE = replace(SCHEDULE, optimizer="sgd")


def _data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(15, 5, generator=generator), torch.arange(15) % 3


def _model():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


def test_it_trains_as_a_plain_loop_does():
    images, labels = _data()
    trainer, plain = Trainer(_model(), images, labels, SCHEDULE, seed=7), _model()
    for _ in trainer.run():
        pass
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-2, weight_decay=1e-3)
    for epoch in range(3):
        generator = torch.Generator().manual_seed(stream(7, f"batches/{epoch}"))
        order = torch.randperm(15, generator=generator)
        for batch in (order[0:4], order[4:8], order[8:12]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(images[batch]), labels[batch]).backward()
            optimizer.step()
    for ours, theirs in zip(trainer.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_it_pauses_where_the_schedule_says():
    trainer = Trainer(_model(), *_data(), SCHEDULE, seed=0)
    pauses = list(trainer.run())
    assert pauses == [Pause(s, s % 3 != 2, s % 3 == 0) for s in (1, 3, 4, 6, 7, 9)]
    assert SCHEDULE.measured_steps(15) == [1, 3, 4, 6, 7, 9]


def test_the_published_schedule_measures_seven_times_an_epoch():
    steps = Schedule().measured_steps(14094)
    assert steps[:8] == [1, 10, 19, 28, 37, 46, 55, 56] and len(steps) == 49


def test_sgd_has_momentum_and_a_cosine_schedule():
    images, labels = _data()
    trainer, plain = Trainer(_model(), images, labels, COSINE, seed=7), _model()
    optimizer = torch.optim.SGD(plain.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)
    pauses = trainer.run()
    for epoch in range(3):
        generator = torch.Generator().manual_seed(stream(7, f"batches/{epoch}"))
        order = torch.randperm(15, generator=generator)
        for step, batch in enumerate((order[0:4], order[4:8], order[8:12]), 1 + 3 * epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(images[batch]), labels[batch]).backward()
            optimizer.step()
            scheduler.step()
            if step in (1, 3, 4, 6, 7, 9):
                assert next(pauses).step == step
                rates = [of.param_groups[0]["lr"] for of in (trainer.optimizer, optimizer)]
                assert rates[0] == pytest.approx(rates[1], rel=1e-9, abs=1e-12)
    for ours, theirs in zip(trainer.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(
        ValueError, match="unknown optimizer 'lion': the nearest is 'sgd', out of adam, sgd"
    ):
        Schedule(optimizer="lion")


@pytest.mark.parametrize("schedule", [SCHEDULE, COSINE], ids=["adam", "sgd"])
@pytest.mark.parametrize("stop_at", [1, 3, 4, 6])
def test_a_restored_run_gives_the_same_bits(stop_at, schedule):
    whole = Trainer(_model(), *_data(), schedule, seed=3)
    for _ in whole.run():
        pass
    first = Trainer(_model(), *_data(), schedule, seed=3)
    for pause in first.run():
        if pause.step == stop_at:
            break
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second = Trainer(
        nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), *_data(), schedule, 3
    )
    second.restore(state)
    assert second.step == stop_at
    for _ in second.run():
        pass
    assert second.losses == whole.losses and second.accuracies == whole.accuracies
    for name, tensor in second.state().items():
        assert torch.equal(tensor, whole.state()[name]), name


def test_evaluate_is_the_mean_over_all_images():
    images, labels = _data()
    model = _model().train()
    loss, accuracy = evaluate(model, images, labels)
    predictions = model(images)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(predictions, labels).detach()))
    assert accuracy == pytest.approx(float((predictions.argmax(1) == labels).float().mean()))
    assert model.training


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", 2.5), ("measure_every", -1), ("lr", 0.0), ("weight_decay", -1)],
)
def test_a_schedule_is_checked_when_made(field, value):
    with pytest.raises(ValueError, match=f"{field} must be .*, not {value}"):
        Schedule(**{field: value})


def test_fewer_images_than_a_batch():
    with pytest.raises(ValueError, match="batch_size is 256 but there are only 15"):
        Trainer(_model(), *_data(), Schedule(), seed=0)


def test_a_diverging_run_stops_with_its_step():
    images, labels = _data()
    trainer = Trainer(_model(), images * np.inf, labels, SCHEDULE, seed=0)
    with pytest.raises(ValueError, match="training loss is nan at step 1: a smaller"):
        next(trainer.run())
