"""Regression experiments: against the oracle, the closed forms, and themselves."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import srel_core as sc
from srel_core.book.regression.two_phase_rule import case_of
from srel_core.experiments import result_files
from srel_core.experiments.networks import mlp
from srel_core.experiments.regression import experiment as regression
from srel_core.experiments.regression import side_by_side
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.regression.network_stack import Stack
from srel_core.experiments.regression.next_step import NextStep
from srel_core.experiments.regression.training import pairs_of, ratio
from srel_core.experiments.training import stream
from tests.support.regressions import GATE, LINEAR, TINY

NETWORKS = {
    "relu": TINY,
    "tanh": replace(TINY, activation="tanh", depth=4),
    "shallow": replace(TINY, depth=2, width=3),
    "gate": GATE,
    "large": replace(TINY, gain=2.0),
    "linear": LINEAR,
}


def half_square(prediction, target):
    return 0.5 * (prediction.squeeze(-1) - target) ** 2


def oracle(model, x, y, probe, rule):
    """S_rel of one pair by copying the model, one optimizer step, and subtracting predictions."""
    sample = (x[None], y[None], probe[None])
    kwargs = dict(loss=half_square, divergences=("abs",))
    if isinstance(rule, sc.Tangent):
        measured = sc.tangent_influence(model, *sample, **kwargs)
    else:
        measured = sc.influence(model, *sample, rule=rule, method="loop", **kwargs)
    return float(measured.s_rel("abs"))


@pytest.mark.parametrize("rule", [sc.SGD(0.02), sc.Adam(1e-3), sc.Tangent()], ids=repr)
@pytest.mark.parametrize("name", NETWORKS)
def test_s_rel_of_pairs_is_that_of_the_oracle_on_each_seeds_own_network(name, rule):
    experiment = NETWORKS[name]
    network, data = experiment.networks(), experiment.data()
    x, probe = pairs_of(data)
    y = torch.from_numpy(np.stack([d.y_held[d.sample] for d in data]))
    got = ratio(*network.pair_changes(x, y, probe, rule)).numpy()
    for r in range(len(data)):
        for j in range(x.shape[1]):
            want = oracle(network.model(r), x[r, j], y[r, j], probe[r, j], rule)
            np.testing.assert_allclose(got[r, j], want, rtol=1e-8, atol=1e-10)


BY_ADAM = replace(TINY, training="adam", lr=1e-3, more_rules=("tangent", "optimizer"))


@pytest.mark.parametrize(
    ("setting", "optimizer_of"),
    [
        (TINY, partial(torch.optim.SGD, lr=TINY.lr)),
        (BY_ADAM, partial(torch.optim.Adam, lr=1e-3)),
        (replace(BY_ADAM, target="wine"), partial(torch.optim.Adam, lr=1e-3)),
    ],
    ids=["sgd", "adam", "wine"],
)
def test_the_result_holds_what_training_each_seed_alone_gives(tmp_path, setting, optimizer_of):
    """The oracle of the whole: plain modules, torch's optimizer, autograd, one seed at a time."""
    dataset = setting.run(tmp_path)
    for r, (seed, d) in enumerate(zip(setting.seeds, setting.data(), strict=True)):
        model = setting.networks().model(r)
        optimizer = optimizer_of(model.parameters())
        generator = torch.Generator().manual_seed(stream(seed, "batches"))
        batches = torch.randint(setting.n_train, (setting.n_steps, 16), generator=generator)
        x, y = torch.from_numpy(d.x), torch.from_numpy(d.y)
        for batch in batches:
            optimizer.zero_grad()
            half_square(model(x[batch]), y[batch]).mean().backward()
            optimizer.step()
        ending = dataset.sel(seed=seed, step=setting.n_steps)
        with torch.no_grad():
            loss = half_square(model(x), y).mean()
        np.testing.assert_allclose(ending.train_loss, loss, rtol=1e-10)
        for j, (sample, probe) in enumerate(zip(d.sample, d.probe, strict=True)):
            pair = (torch.from_numpy(d.x_held[i]) for i in (sample, probe))
            x_j, probe_j = pair
            for name, rule in setting.rules.items():
                if isinstance(rule, NextStep):
                    rule = sc.OptimizerStep(optimizer)
                want = oracle(model, x_j, torch.tensor(d.y_held[sample]), probe_j, rule)
                np.testing.assert_allclose(ending.s_rel.sel(rule=name)[j], want, rtol=1e-7)


@pytest.mark.parametrize("training", regression.TRAININGS)
def test_a_seed_alone_gives_the_numbers_it_gives_among_others(tmp_path, training):
    together = replace(TINY, training=training).run(tmp_path)
    alone = replace(TINY, training=training, seeds=(1,)).run(tmp_path)
    for name in ("s_rel", "train_loss", "held_loss", "s_rel_linear"):
        np.testing.assert_allclose(together[name].sel(seed=[1]), alone[name], rtol=1e-9)


def test_the_same_seeds_give_the_same_bits_and_others_do_not(tmp_path):
    first, second = TINY.run(tmp_path / "a"), TINY.run(tmp_path / "b")
    assert first.drop_attrs().identical(second.drop_attrs())
    other = replace(TINY, seeds=(5, 6, 7)).run(tmp_path)
    assert not np.isclose(other.s_rel, first.s_rel).any()


@pytest.mark.parametrize("target", regression.TARGETS)
def test_a_linear_model_never_moves(tmp_path, target):
    """Also when it has learnt a linear teacher up to rounding, and its steps are 1e-15."""
    long = replace(LINEAR, target=target, n_steps=2000, more_rules=("tangent",), training="gd")
    dataset = replace(long, lr=0.2).run(tmp_path)
    if target == "teacher":
        assert dataset.train_loss[:, -1].max() < 1e-20
    defined = dataset.s_rel.notnull()  # a residual of exactly 0 makes no step
    assert defined.mean() > 0.9 and defined[:, :, 0].all()
    expected = dataset.s_rel_linear.where(defined)
    np.testing.assert_allclose(dataset.s_rel, expected.transpose(*dataset.s_rel.dims), rtol=1e-10)


def test_a_relu_gate_switches_when_the_closed_form_says(tmp_path):
    """Whole-batch descent on many points against the flow of the mean over all points."""
    experiment = replace(
        GATE, training="gd", lr=0.02, n_steps=300, n_points=300, n_train=20_000, n_pairs=60
    )
    dataset = experiment.run(tmp_path)
    times = dataset.step.values * experiment.lr
    near, late = [], []
    for r, (d, flow) in enumerate(zip(experiment.data(), experiment.gate_flows(), strict=True)):
        sample, probe = d.x_held[d.sample], d.x_held[d.probe]
        want = flow.s_rel(times, probe, sample)
        got = dataset.s_rel.isel(seed=r).sel(rule="tangent").values
        near.append(np.isclose(got, want, rtol=1e-9, equal_nan=True).mean())
        # Off and on again would be against the closed form: each probe switches once at most.
        active = np.where(np.isnan(got), np.nan, got > 0)
        crossing = flow.crossing_times(probe)
        for j in np.flatnonzero(np.isfinite(active).all(0)):
            switched = np.flatnonzero(np.diff(active[:, j]))
            if np.isfinite(crossing[j]) and 0.5 < crossing[j] < 5:
                assert len(switched) == 1
                at = times[switched[0] + 1]
                late.append(at - crossing[j])
                off = abs(flow.weights(at) @ probe[j]) / np.linalg.norm(probe[j])
                assert off < 0.04  # Of 20,000 points the mean is known to 2 %; w* has norm 1.
            elif np.isnan(crossing[j]):
                assert len(switched) == 0
    assert np.mean(near) > 0.98 and len(late) > 10 and np.median(np.abs(late)) < 0.06


def test_pairs_where_a_step_changes_nothing_are_undefined(tmp_path):
    dataset = GATE.run(tmp_path)
    for r, d in enumerate(GATE.data()):
        asleep = GATE.networks().forward(
            torch.from_numpy(d.x_held[d.sample])[None].expand(3, -1, -1)
        )
        want = (asleep.preactivations[0][r, :, 0] <= 0).numpy()
        assert want.any() and not want.all()
        np.testing.assert_array_equal(np.isnan(dataset.s_rel.values[:, r, 0]), [want] * 3)


def test_a_result_is_computed_once_and_says_where_it_comes_from(tmp_path, monkeypatch):
    first = TINY.run(tmp_path)
    monkeypatch.setattr(RegressionExperiment, "_compute", None)  # computing again would fail
    assert TINY.run(tmp_path).identical(first)
    assert [path.name for path in tmp_path.iterdir()] == [TINY.file_name]
    assert json.loads(first.attrs["config"])["seeds"] == [3, 1, 4]
    for name in (
        "commit",
        "torch",
        "device",
        "threads",
        "wall_seconds",
        "created",
        "data_checksum",
    ):
        assert first.attrs[name] not in ("", None), name
    assert dict(first.sizes) == {"rule": 3, "seed": 3, "step": 12, "pair": 5}
    assert first.step.values.tolist() == [0, 1, *range(2, 21, 2)]
    assert first.step.values[first.even].tolist() == list(range(0, 21, 2))


def test_a_damaged_result_is_set_aside_and_computed_anew(tmp_path):
    whole = TINY.run(tmp_path)
    (tmp_path / TINY.file_name).write_text("junk")
    with pytest.warns(UserWarning, match=r"set aside as .*damaged, computing anew") as caught:
        again = TINY.run(tmp_path)
    assert caught[0].filename == __file__
    assert again.drop_attrs().identical(whole.drop_attrs())


@pytest.mark.parametrize("worth_it", [0, 10**9], ids=["processes", "here"])
def test_settings_side_by_side_are_what_each_gives_alone(tmp_path, monkeypatch, worth_it):
    monkeypatch.setattr(side_by_side, "_WORTH_IT", worth_it)
    settings = [TINY, replace(TINY, lr=0.01), replace(TINY, depth=2)]
    settings[1].run(tmp_path)
    said = []
    found = side_by_side.run_all(settings, tmp_path, report=said.append)
    assert list(found) == settings and said == [1, 1, 1]
    for setting in settings:
        assert found[setting].drop_attrs().identical(setting.run(tmp_path / "alone").drop_attrs())
        assert found[setting].attrs["threads"] == "1"


def test_one_setting_that_fails_leaves_what_was_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "_WORTH_IT", 0)
    diverges = replace(LINEAR, lr=5.0, n_steps=2000)
    with pytest.raises(ValueError, match="diverged by step"):
        side_by_side.run_all([diverges, TINY], tmp_path)
    with pytest.raises(ValueError, match=r"device 'cuda:7' is not to be had here"):
        TINY.run(tmp_path, device="cuda:7")
    assert {path.suffix for path in tmp_path.glob("[!.]*")} <= {".nc"}


def test_a_folder_that_cannot_be_written():
    with pytest.raises(result_files.ResultError, match="cannot write"):
        TINY.run("/dev/null/results")


def test_the_name_changes_with_the_config_and_the_code(monkeypatch):
    names = {TINY.file_name, replace(TINY, lr=0.01).file_name}
    monkeypatch.setattr(regression, "code_digest", lambda sources: "other")
    assert len(names | {TINY.file_name}) == 3


def test_stacks_give_back_the_models_they_were_made_of(untouched_global_rng):
    with torch.random.fork_rng():
        models = [mlp(4, (3, 5), 1, "tanh").double() for _ in range(3)]
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(6, 4)
    stack = Stack.of(models)
    together = stack.forward(x.expand(3, -1, -1)).output
    for r, model in enumerate(models):
        torch.testing.assert_close(together[r], model(x)[:, 0].detach())
        torch.testing.assert_close(stack.model(r)(x), model(x))


def test_cases_average_the_pairs_of_their_kind(tmp_path):
    dataset = replace(TINY, inputs="mixture").run(tmp_path)
    for kind in ("within", "across"):
        case = case_of(dataset, kind)
        for r in range(3):
            chosen = dataset.kind.values[r] == kind
            assert chosen.sum() == 5
            want = dataset.s_rel.values[0, r][dataset.even.values][:, chosen].mean(1)
            np.testing.assert_allclose(case.curves[r], want)
            np.testing.assert_allclose(
                case.linear[r], dataset.s_rel_linear.values[r, chosen].mean()
            )
    tangent = dataset.s_rel.sel(rule="tangent").isel(step=-1).where(dataset.kind == "across")
    np.testing.assert_allclose(case_of(dataset, "across").tangent, tangent.mean("pair"))


def test_pairs_that_come_and_go_do_not_count(tmp_path):
    dataset = replace(GATE, seeds=tuple(range(6)), n_pairs=40).run(tmp_path)
    dataset.s_rel[:, :2] = np.nan
    case = case_of(dataset, "any")
    assert len(case.curves) == 4
    values = dataset.s_rel.values[0, 2]  # (step, pair) of the first seed that is left
    whole = np.isfinite(values).all(0)
    assert 0 < whole.sum() < np.isfinite(values).any(0).sum()
    np.testing.assert_allclose(case.curves[0], values[dataset.even.values][:, whole].mean(1))
    dataset.s_rel[:, :4] = np.nan
    with pytest.raises(ValueError, match="defined in 2 seeds: 3 are needed"):
        case_of(dataset, "any")
