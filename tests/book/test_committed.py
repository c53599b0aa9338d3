"""The committed results: their schema, what they hold, and that they are found and verified."""

import json

import numpy as np
import pytest

from srel_core.book.committed import schema, verify
from srel_core.book.committed.schema import VARIABLES, ladder_in
from srel_core.book.committed.write import distance_to_limit, kept_runs, summarise, write_summary
from srel_core.book.published.definitions import published_class_curves, published_kl
from srel_core.book.published.ladder import LADDERS, ladder
from srel_core.experiments import provenance, result_files
from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.result_files import ResultError
from srel_core.statistics.class_summary import class_summary, learning_curves
from tests.support.book import ROOT
from tests.test_cli import srel

N_RESAMPLES = 20


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the kept runs of a small experiment, and its runs."""
    folder = tmp_path_factory.mktemp("kept")
    experiments = class_experiments("smoke", "digits", epochs=2)
    runs = [e.run(folder, "cpu", progress=False) for e in experiments]
    return folder, experiments, runs


@pytest.fixture(scope="module")
def summary(kept):
    return summarise(kept[2], n_resamples=N_RESAMPLES)


@pytest.fixture
def file(summary, tmp_path):
    path = tmp_path / schema.file_name("digits")
    result_files.save(summary, path)
    return path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("class_srel-*.nc")), ids=lambda p: p.name
)
def test_each_committed_file_keeps_to_the_schema_and_is_small(path):
    summary = schema.load_summary(path)
    assert path.stat().st_size < 3e6
    config = schema.runs_of(summary)[0]["config"]
    assert path.name == schema.file_name(config["dataset"])
    paper = class_experiments("paper", config["dataset"])
    assert [schema.experiment_of(run["config"]) for run in schema.runs_of(summary)] == paper


def test_a_summary_holds_what_the_summaries_and_ladders_give(kept, summary):
    runs = kept[2]
    for reduce in schema.AGGREGATES:
        want = class_summary(runs, reduce=reduce, n_resamples=N_RESAMPLES)
        at = summary.sel(aggregate=reduce)
        for name in ("matrix", "preference_interval", "epoch_preference", "auc", "auc_gain"):
            np.testing.assert_array_equal(at[name], want[name].values.astype("float32"))
    for definition in LADDERS:
        want = ladder(runs, definition, n_resamples=N_RESAMPLES)
        got = ladder_in(summary, definition)
        assert got.rung.values.tolist() == want.rung.values.tolist()
        assert got.change.values.tolist() == want.change.values.tolist()
        assert set(got.data_vars) == set(want.data_vars)
        for name in want.data_vars:
            np.testing.assert_array_equal(got[name], want[name].values.astype("float32"))
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
        (lambda d: d.assign_attrs(runs="[]"), "`runs` must give config"),
    ],
)
def test_what_does_not_keep_to_the_schema_is_refused(summary, tmp_path, damage, fault):
    result_files.save(damage(summary), tmp_path / "x.nc")
    with pytest.raises(ResultError, match="x.nc does not keep to the schema") as caught:
        schema.load_summary(tmp_path / "x.nc")
    assert fault in str(caught.value) and "\n" not in str(caught.value)


def test_every_variable_of_the_schema_says_what_it_is(summary):
    for name, variable in VARIABLES.items():
        assert summary[name].attrs["long_name"] == variable.meaning


def test_runs_that_do_not_belong_together_are_refused(kept):
    runs = kept[2]
    with pytest.raises(ValueError, match="the same seed"):
        summarise([runs[0], runs[0]])
    with pytest.raises(ValueError, match="differ in their code_digest"):
        summarise([runs[0], runs[1].assign_attrs(code_digest="other")])
    config = json.loads(runs[1].attrs["config"]) | {"augment": True}
    with pytest.raises(ValueError, match="differ in more than their seed"):
        summarise([runs[0], runs[1].assign_attrs(config=json.dumps(config))])


def test_kept_runs_of_other_code_serve_until_the_present_code_has_them_all(kept, tmp_path):
    _, experiments, runs = kept
    with pytest.raises(ResultError, match="digits: not run for seeds 0, 1"):
        kept_runs(experiments, tmp_path)

    def keep(run, seed, code, created):
        stem = experiments[seed].file_name.rpartition("-")[0]
        path = tmp_path / f"{stem}-{code[:4]}{created[-2:]}.nc"
        result_files.save(run.assign_attrs(code_digest=code, created=created), path)
        return path

    old = [keep(run, seed, "oldcode", f"2026-01-0{seed + 1}") for seed, run in enumerate(runs)]
    older = [keep(run, seed, "ancient", f"2025-01-0{seed + 1}") for seed, run in enumerate(runs)]
    assert kept_runs(experiments, tmp_path) == old
    present = experiments[0].code
    new = [keep(runs[0], 0, present, "2024-01-01")]
    assert kept_runs(experiments, tmp_path) == old
    new.append(keep(runs[1], 1, present, "2024-01-02"))
    assert kept_runs(experiments, tmp_path) == new
    for path in (*old, *new, older[1]):
        path.unlink()
    with pytest.raises(ResultError, match="not run for seeds 1"):
        kept_runs(experiments, tmp_path)
    # Another config under the same name is not mistaken for it.
    other = class_experiments("smoke", "digits", epochs=3)
    with pytest.raises(ResultError, match="not run for seeds 0, 1"):
        kept_runs(other, tmp_path)


def test_summarise_and_verify_from_the_command_line(kept, tmp_path):
    folder, _, _ = kept
    paths = sorted(folder.glob("class_srel-digits-*.nc"))
    done = srel("summarise", *paths, "--committed-dir", tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    (path,) = tmp_path.iterdir()
    assert done.stdout.split() == [str(path)] and path.name == "class_srel-digits.nc"
    assert schema.standing(schema.load_summary(path)) == "current"
    done = srel("verify", "--quiet", "--committed-dir", tmp_path)
    assert done.exit_code == 0 and "agrees (S_rel and own to 0.0e+00" in done.stdout
    before = path.read_bytes()
    wrong = schema.load_summary(path)
    wrong["slice_own"] *= 1.01
    result_files.save(wrong, tmp_path / "wrong.nc")
    before = (tmp_path / "wrong.nc").read_bytes()
    done = srel("verify", "--quiet", path, tmp_path / "wrong.nc")
    assert done.exit_code == 1 and "class_srel-digits.nc: agrees" in done.stdout
    assert "wrong.nc: the present code gives other numbers" in done.stderr
    assert (tmp_path / "wrong.nc").read_bytes() == before
    # Data sets without runs are named, and nothing at all is an error.
    done = srel("summarise", "--results-dir", folder, "--committed-dir", tmp_path)
    assert done.exit_code == 1
    assert "svhn: not run for seeds 0, 1, 2: srel run --profile paper --dataset svhn" in done.stderr


def test_standing_follows_the_code(file, monkeypatch):
    monkeypatch.setattr(schema, "present_code", lambda _: "new code")
    assert schema.standing(schema.load_summary(file)) == "stale"
    monkeypatch.setattr(verify, "commit", lambda: "abc")
    monkeypatch.setattr(verify.ClassExperiment, "code", "new code")
    agreement = verify.verify(file, "cpu", progress=False)
    assert (agreement.checkpoint, agreement.losses, agreement.made_with) == (0, 0, {})
    stamped = schema.load_summary(file)
    assert schema.standing(stamped) == "verified"
    assert stamped.attrs["verified_commit"] == "abc" and stamped.attrs["verified_on"] > "2026"
    monkeypatch.setattr(schema, "present_code", lambda _: "newer code")
    assert schema.standing(stamped) == "stale"


def test_another_processor_or_number_of_threads_is_named(file):
    summary = schema.load_summary(file)
    runs = json.loads(summary.attrs["runs"])
    here = runs[0]["threads"]
    runs[0] |= {"device": "Abacus", "threads": "99"}
    result_files.save(summary.assign_attrs(runs=json.dumps(runs)), file)
    agreement = verify.verify(file, "cpu", progress=False)
    assert agreement.made_with == {
        "device": ("Abacus", provenance.environment()["device"]), "threads": ("99", here)
    }  # fmt: skip
    assert str(agreement).endswith(f"; threads {here}, not 99")
    summary["slice_own"] *= 1.01
    result_files.save(summary.assign_attrs(runs=json.dumps(runs)), file)
    with pytest.raises(ResultError, match=r"other numbers \(.*; device .*, not Abacus; threads"):
        verify.verify(file, "cpu", progress=False)


def test_other_images_are_not_taken_for_other_code(file):
    summary = schema.load_summary(file)
    runs = json.loads(summary.attrs["runs"])
    runs[0]["data_checksum"] = "0" * 64
    result_files.save(summary.assign_attrs(runs=json.dumps(runs)), file)
    before = file.read_bytes()
    with pytest.raises(ResultError, match="the images at hand are not those it was made from"):
        verify.verify(file, "cpu", progress=False)
    assert file.read_bytes() == before


def test_differences_are_relative_and_see_what_is_not_a_number(kept, summary):
    part = verify.slice_of(kept[2][0])
    assert verify.largest_differences(summary, part) == (0, 0)
    moved = part.copy(deep=True)
    moved["slice_own"][1, 2, 0] *= 0.5
    moved["slice_train_loss"][-1] *= 1.25
    found = verify.largest_differences(summary, moved)
    np.testing.assert_allclose(found, (0.5, 0.2), rtol=1e-6)
    moved["slice_own"][0, 0, 0] = np.nan
    assert verify.largest_differences(summary, moved)[0] == np.inf
    with pytest.raises(ResultError, match="slice_train_loss has shape"):
        verify.largest_differences(summary, part.isel(slice_train_step=slice(2)))


def test_a_failed_write_leaves_the_old_file(kept, file, monkeypatch):
    before = file.read_bytes()
    monkeypatch.setattr(result_files, "save", lambda *_: (_ for _ in ()).throw(ResultError("full")))
    with pytest.raises(ResultError, match="full"):
        verify.verify(file, "cpu", progress=False)
    with pytest.raises(ResultError, match="full"):
        write_summary(sorted(kept[0].glob("*.nc")), file.parent)
    assert file.read_bytes() == before


def test_results_belong_to_a_book(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultError, match="no book here"):
        schema.committed_dir()
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").write_text("")
    monkeypatch.chdir(tmp_path / "chapters")
    assert schema.committed_dir() == tmp_path / "results"
    assert schema.load_all() == {}
