"""The recorder in somebody else's training loop."""

import numpy as np
import pytest
import torch
from torch import nn

import srel_core as sc


@pytest.fixture
def parts():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, probes = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (3, 5))
    return model, x, torch.tensor([0, 1, 2]), probes


def _trained(parts, rules, steps=4, **options):
    model, x, y, probes = parts
    recorder = sc.SrelRecorder(model, x, y, probes, rules=rules, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = {}
    for step in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        if step % 2:
            recorder.measure(step)
            expected[step] = sc.influence(model, x, y, probes, rule=sc.SGD(0.1))
    return recorder, expected


def test_it_keeps_what_influence_measures(parts):
    rules = {"sgd": sc.SGD(0.1), "adam": sc.Adam(1e-3), "limit": sc.Tangent()}
    labels = torch.tensor([0, 1, 2, 0, 1])
    recorder, expected = _trained(parts, rules, probe_classes=labels, sample_classes=parts[2])
    dataset = recorder.to_xarray()
    assert dict(dataset.sizes) == {
        "step": 2, "rule": 3, "divergence": 2, "probe": 5, "sample": 3, "output": 3,
    }  # fmt: skip
    for step, result in expected.items():
        at = dataset.sel(step=step, rule="sgd")
        for name in ("kl", "l2_logits"):
            torch.testing.assert_close(
                torch.from_numpy(at.change.sel(divergence=name).values), result.change[name]
            )
            torch.testing.assert_close(
                torch.from_numpy(at.own.sel(divergence=name).values), result.own[name]
            )
        kept = (
            at.prediction, at.sample_prediction, at.prediction_change, at.own_prediction_change
        )  # fmt: skip
        measured = (result.before, result.own_before, result.delta, result.own_delta)
        for got, want in zip(kept, measured, strict=True):
            np.testing.assert_array_equal(got.values, want.numpy())
    assert dataset.probe_class.values.tolist() == labels.tolist()
    assert not dataset.same_input.any()


def test_its_state_restores_it(parts):
    recorder, _ = _trained(parts, {"sgd": sc.SGD(0.1)})
    again = sc.SrelRecorder(*parts, rules={"sgd": sc.SGD(0.1)})
    again.restore(recorder.state())
    assert again.to_xarray().identical(recorder.to_xarray())


def test_bad_input_gets_one_clear_line(parts):
    with pytest.raises(ValueError, match="rules is empty"):
        sc.SrelRecorder(*parts, rules={})
    with pytest.raises(ValueError, match="unknown divergence 'k'"):
        sc.SrelRecorder(*parts, rules={"sgd": sc.SGD(0.1)}, divergences=["k"])
    with pytest.raises(ValueError, match="probe_classes must hold one label for each of 5"):
        sc.SrelRecorder(*parts, rules={"sgd": sc.SGD(0.1)}, probe_classes=parts[2])
    recorder = sc.SrelRecorder(*parts, rules={"sgd": sc.SGD(0.1)})
    with pytest.raises(ValueError, match="nothing has been measured"):
        recorder.to_xarray()
    recorder.measure(3)
    with pytest.raises(ValueError, match="step 3 has been measured before"):
        recorder.measure(3)
