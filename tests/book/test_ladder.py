"""The ladder from as published to as defined, on small real runs."""

import dataclasses

import numpy as np
import pytest

from srel_core.book.committed.files import ladder_in
from srel_core.book.published import ladder
from srel_core.book.published.definitions import QUANTITIES, published_class_curves
from srel_core.experiments.profiles import class_experiments
from srel_core.statistics import by_class
from srel_core.statistics.class_summary import class_summary


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [e.run(folder, "cpu", progress=False) for e in class_experiments("smoke", "digits")]


@pytest.fixture(scope="module")
def ladders(runs):
    found = ladder.ladders(runs, n_resamples=100)
    return {name: ladder_in(found, name) for name in ladder.LADDERS}


@pytest.mark.parametrize("rungs", ladder.LADDERS.values(), ids=ladder.LADDERS.keys())
def test_each_rung_makes_one_change_to_the_one_it_comes_after(rungs):
    by_name = {rung.name: rung for rung in rungs}
    assert len(by_name) == len(rungs)
    settings = ("rule", "quantity", "self_pairs", "reduce")
    for rung in rungs[1:]:
        before = by_name[rung.after]
        changed = [name for name in settings if getattr(rung, name) != getattr(before, name)]
        assert len(changed) == 1 and rung.change
        if changed == ["quantity"] and rung.name not in ("true KL", "logits"):
            parts = ("probe", "own", "epsilon")
            old, new = before.quantity, rung.quantity
            assert sum(getattr(old, part) != getattr(new, part) for part in parts) == 1


@pytest.mark.parametrize("definition", QUANTITIES)
def test_the_first_rung_is_what_was_published(runs, ladders, definition):
    published = [published_class_curves(run, definition) for run in runs]
    first = ladders[definition].sel(rung="as published")
    for name in ("same", "other"):
        want = np.mean([curves[name] for curves in published], 0)
        np.testing.assert_allclose(first[f"rung_epoch_{name}"], want, rtol=1e-12)
    ratios = [np.log(curves.same / curves.other) for curves in published]
    np.testing.assert_allclose(first.rung_epoch_preference, np.exp(np.mean(ratios, 0)), rtol=1e-12)


@pytest.mark.parametrize(
    ("rung", "reduce"),
    [("true KL", "mean"), ("gradient step", "mean"), ("ratio of means", "ratio_of_means"),
     ("median of ratios", "median"), ("tangent limit", "ratio_of_means")],
)  # fmt: skip
@pytest.mark.parametrize(
    ("definition", "divergence"), [("class-based", "kl"), ("original", "l2_logits")]
)
def test_the_last_rungs_are_the_defined_class_summaries(
    runs, ladders, definition, divergence, rung, reduce
):
    """The same numbers, intervals too, by way of the divergences that were measured."""
    at = ladders[definition].sel(
        rung="logits" if (definition, rung) == ("original", "true KL") else rung
    )
    rule = next(r.rule for r in ladder.LADDERS[definition] if r.name == str(at.rung.values))
    summary = class_summary(runs, reduce=reduce, n_resamples=100)
    want = summary.sel(rule=rule, divergence=divergence)
    np.testing.assert_allclose(at.rung_preference, want.preference, rtol=1e-9)
    np.testing.assert_allclose(at.rung_preference_interval, want.preference_interval, rtol=1e-9)
    np.testing.assert_array_equal(at.rung_undefined, want.undefined)
    matrix = want.matrix.transpose("step", "probe_class", "sample_class").values
    for got, mean in zip(
        (at.rung_same, at.rung_other), by_class.same_and_other(matrix), strict=True
    ):
        np.testing.assert_allclose(got, mean, rtol=1e-9)


def test_what_a_change_cannot_do_it_does_not_do(ladders):
    class_based, original = ladders["class-based"], ladders["original"]
    # ε is nothing beside the published KL, and different classes share no self-pair.
    first, second, third = (class_based.isel(rung=k) for k in range(3))
    np.testing.assert_allclose(second.rung_same, first.rung_same, rtol=1e-6)
    np.testing.assert_array_equal(third.rung_other, second.rung_other)
    no_epsilon, others = (original.sel(rung=r) for r in ("without ε", "without self-pairs"))
    np.testing.assert_array_equal(others.rung_other, no_epsilon.rung_other)
    # One pair in four of a class is x' = x, with ratio 1.
    np.testing.assert_allclose(no_epsilon.rung_same, (others.rung_same * 3 + 1) / 4, rtol=1e-9)


def test_epochs_average_their_checkpoints_and_intervals_hold_estimates(ladders):
    for result in ladders.values():
        assert result.epoch_of_step.values.tolist() == [1, 1, 2, 2, 3, 3]
        steps = result.rung_same.values.reshape(*result.rung_same.shape[:1], 3, 2)
        np.testing.assert_allclose(result.rung_epoch_same, steps.mean(2), rtol=1e-12)
        for name in ("same", "other", "preference"):
            for prefix in ("", "epoch_"):
                low, high = result[f"rung_{prefix}{name}_interval"].values
                value = result[f"rung_{prefix}{name}"].values
                assert (low < high).all()
                assert np.mean((low <= value) & (value <= high)) > 0.8


def test_it_is_the_same_every_time(runs):
    once, again = (ladder.ladders(runs, n_resamples=10) for _ in range(2))
    assert once.identical(again)


def test_the_gain_as_published_is_that_of_the_first_rungs(runs):
    found = ladder.ladders(runs, n_resamples=100)
    first = [ladder_in(found, name).isel(rung=0) for name in ("class-based", "original")]
    want = first[0].rung_epoch_preference / first[1].rung_epoch_preference
    np.testing.assert_allclose(found.published_gain, want, rtol=1e-9)
    low, high = found.published_gain_interval.values
    assert (low < high).all() and (low <= want).all() and (want <= high).all()


def test_bad_input_gets_one_clear_line(runs):
    without = [run.sel(rule=["adam:1e-4"]) for run in runs]
    with pytest.raises(ValueError, match="unknown rule of this result 'sgd:1e-4'"):
        ladder.ladders(without)
    with pytest.raises(dataclasses.FrozenInstanceError):
        ladder.LADDERS["original"][0].rule = "sgd:1"
