"""The committed results: their schema, and what they hold."""

import dataclasses
import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import xarray as xr

from srel_core.book.committed import files, schema, standing, verify, write
from srel_core.book.committed.consistency import contradiction
from srel_core.book.committed.files import ladder_in
from srel_core.book.committed.schema import VARIABLES
from srel_core.book.committed.write import distance_to_limit, summary_of
from srel_core.book.published import ladder
from srel_core.book.published.definitions import published_class_curves, published_kl
from srel_core.book.published.ladder import LADDERS, ladders
from srel_core.experiments import result_files
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.result_files import ResultError
from srel_core.statistics import by_class
from srel_core.statistics.class_summary import class_summary, learning_curves
from tests.book.conftest import N_RESAMPLES
from tests.support.book import ROOT


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("class_srel-*.nc")), ids=lambda p: p.name
)
def test_each_committed_file_keeps_to_the_schema_and_is_small(path):
    summary = files.load_summary(path)
    assert path.stat().st_size < 3e6
    config = files.runs_of(summary)[0]["config"]
    assert path.name == files.file_name(config["dataset"])
    for run, of_profile in zip(
        files.runs_of(summary), class_experiments("paper", config["dataset"]), strict=True
    ):
        made = standing.experiment_of(run["config"])
        assert set(made.rules) <= set(of_profile.rules)  # more may have come since
        assert dataclasses.replace(made, rules=of_profile.rules) == of_profile


def test_a_summary_holds_what_the_summaries_and_ladders_give(kept, summary):
    runs = kept[2]
    for reduce in schema.AGGREGATES:
        want = class_summary(runs, reduce=reduce, n_resamples=N_RESAMPLES)
        at = summary.sel(aggregate=reduce)
        for name in ("matrix", "preference_interval", "epoch_preference", "auc", "auc_gain"):
            np.testing.assert_array_equal(at[name], want[name].values.astype("float32"))
    want = ladders(runs, n_resamples=N_RESAMPLES)
    for name in (*want.data_vars, "rung", "ladder", "change", "after"):
        expected = want[name].values
        if expected.dtype.kind == "f":
            expected = expected.astype("float32")
        np.testing.assert_array_equal(summary[name], expected)
    for definition, rungs in LADDERS.items():
        assert ladder_in(summary, definition).rung.values.tolist() == [r.name for r in rungs]
        published = [published_class_curves(run, definition) for run in runs]
        for name in ("same", "other"):
            np.testing.assert_allclose(
                summary[f"published_{name}"].sel(definition=definition),
                np.stack([p[name] for p in published]), rtol=1e-6,
            )  # fmt: skip
    curves = learning_curves(runs)
    np.testing.assert_array_equal(summary.train_loss, curves.train_loss.astype("float32"))
    in_float64 = np.mean([run.in_float64.mean("sample").T for run in runs], 0)
    np.testing.assert_allclose(summary.in_float64, in_float64, rtol=1e-6)


def test_every_quantity_is_computed_once(kept, monkeypatch):
    runs, counts = kept[2], Counter()

    def counted(module, name):
        true = getattr(module, name)

        def count(*given, **options):
            counts[name] += 1
            return true(*given, **options)

        monkeypatch.setattr(module, name, count)

    counted(by_class, "same_class_auc")
    counted(ladder, "_same_and_other")
    counted(write, "class_summary")
    summary_of(runs, n_resamples=2)
    cells = math.prod(runs[0].sizes[d] for d in ("rule", "divergence", "step"))
    assert counts == {
        "same_class_auc": cells * len(runs),
        "_same_and_other": sum(map(len, LADDERS.values())) * len(runs),
        "class_summary": 1,
    }


def test_a_step_that_does_nothing_compares_entropies_alone(kept, summary):
    import torch

    run = kept[2][0].sel(rule="adam:1e-4")
    z = torch.from_numpy(run.prediction.values)
    q = published_kl(z, torch.zeros_like(z)).numpy()
    ratio = q[:, :, None] / (q[:, None, :] + 1e-8)
    same = run.probe_class.values[:, None] == run.sample_class.values
    by_epoch = ratio[:, same].mean(1).reshape(2, -1).mean(1)
    np.testing.assert_allclose(summary.still_same.sel(seed=0), by_epoch, rtol=1e-5)


def test_the_distance_to_the_limit_is_that_of_the_ratios(kept, summary):
    run = kept[2][0]
    s_rel = run.change / run.own
    got = distance_to_limit(run)
    for r, rule in enumerate(run.rule.values):
        logs = [
            np.log(s_rel.sel(rule=name, divergence="kl").isel(step=-1).values)
            for name in (rule, "tangent")
        ]
        pairs = np.abs(logs[0] - logs[1])[~run.same_input.values]
        d = run.divergence.values.tolist().index("kl")
        np.testing.assert_allclose(got[:, r, d, -1], np.quantile(pairs, [0.5, 0.9]), rtol=1e-9)
    assert (summary.limit_distance.sel(rule="tangent") == 0).all()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda d: d.drop_vars("auc"), "auc is missing"),
        (lambda d: d.assign(more=d.auc), "more is not in the schema"),
        (lambda d: d.assign(auc=d.auc.astype(float)), "auc is float64"),
        (lambda d: d.assign(auc=d.auc.transpose()), "auc has dimensions"),
        (lambda d: d.drop_vars("epoch"), "the coordinate epoch is missing"),
        (lambda d: d.assign_attrs(kind="class_srel"), "its kind is 'class_srel'"),
        (
            lambda d: d.assign_coords(rule=["a", "b", "tangent"]),
            "coordinate rule has no 'adam:1e-4'",
        ),
        (lambda d: d.assign_coords(divergence=d.divergence.values[::-1] + "!"), "has no 'kl'"),
        (
            lambda d: d.assign_coords(rung=d.rung.values + "!"),
            "a rung 'as published' is expected in the ladder of class-based and orig",
        ),
        (lambda d: d.assign_attrs(runs="[]"), "`runs` must give config"),
        (lambda d: d.assign_attrs(runs="["), "`runs` must give config"),
        (lambda d: d.assign_attrs(runs="[" * 99999), "`runs` must give config"),
        (lambda d: d.assign_attrs(runs=7), "`runs` must give config"),
        (lambda d: d.assign_attrs(runs="[1, 2]"), "must give the attributes of each seed's run"),
        (lambda d: with_runs(d, device=None), "must give the device of each run as text"),
        (lambda d: with_runs(d, created=20260101), "must give the created of each run as text"),
        (
            lambda d: with_runs(d, wall_seconds="3"),
            "must give the wall_seconds of each run as a num",
        ),
        (lambda d: with_runs(d, wall_seconds=math.nan), "must give the wall_seconds of each run"),
        (lambda d: with_runs(d, config="{"), "the config of each run must have a schedule"),
        (
            lambda d: with_runs(d, config='{"schedule": 7}'),
            "must have a schedule with epochs, batch",
        ),
        (
            lambda d: with_runs(d, config='{"schedule": {"epochs": 1, "batch_size": 1}}'),
            "the config of each run must have dataset",
        ),
    ],
)
def test_what_does_not_keep_to_the_schema_is_refused(summary, tmp_path, damage, fault):
    result_files.save(damage(summary), tmp_path / "x.nc")
    with pytest.raises(ResultError, match="x.nc does not keep to the schema") as caught:
        files.load_summary(tmp_path / "x.nc")
    assert fault in str(caught.value) and "\n" not in str(caught.value)


def with_runs(summary, **attributes):
    """The summary, with other attributes of its last run."""
    runs = json.loads(summary.attrs["runs"])
    runs[-1] |= attributes
    return summary.assign_attrs(runs=json.dumps(runs))


def test_every_variable_of_the_schema_says_what_it_is(summary):
    for name, variable in VARIABLES.items():
        assert summary[name].attrs["long_name"] == variable.meaning


@pytest.mark.parametrize(
    ("alter", "fault"),
    [
        (lambda d: d.auc_interval[::-1], "lower bound of auc_interval lies above the upper one"),
        (lambda d: d.auc_interval * np.nan, "auc_interval is not finite everywhere"),
        (lambda d: d.auc.where(d.step > d.step[0]), "auc is not finite everywhere"),
        (lambda d: d.auc + 1, "auc does not lie within [0, 1] everywhere"),
        (lambda d: -d.preference, "preference does not lie within [0, inf] everywhere"),
    ],
)
def test_numbers_that_can_be_none_are_refused(summary, tmp_path, alter, fault):
    altered = alter(summary)
    altered = summary.assign({altered.name: summary[altered.name].copy(data=altered)})
    result_files.save(altered, tmp_path / "x.nc")
    with pytest.raises(ResultError, match=re.escape(fault)):
        files.load_summary(tmp_path / "x.nc")


@pytest.mark.parametrize(
    "name",
    ["preference", "epoch_preference", "preference_interval", "auc", "epoch_auc", "auc_gain",
     "rung_same", "rung_epoch_same", "rung_preference", "rung_epoch_preference", "matrix",
     "published_same", "published_curve", "published_gain", "rung_undefined"],
)  # fmt: skip
def test_altered_numbers_contradict_others_and_are_not_vouched_for(file, name):
    summary = files.load_summary(file)
    assert contradiction(summary) == ""
    altered = xr.full_like(summary[name], 0.42 if "auc" in name or "undefined" in name else 42)
    result_files.save(summary.assign({name: altered}), file)
    before = file.read_bytes()
    with pytest.raises(
        ResultError, match=r"\.nc: it contradicts itself: .* does not follow from the rest"
    ):
        verify.verify(file, "cpu", progress=False)
    assert file.read_bytes() == before


def test_results_belong_to_a_book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultError, match="no book here"):
        files.committed_dir()
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").write_text("")
    monkeypatch.chdir(tmp_path / "chapters")
    assert files.committed_dir() == tmp_path / "results"
    assert files.load_all() == {}
