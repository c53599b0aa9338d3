"""Settings and problems of regression, and what must be refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srel_core.experiments.profiles import PROFILES
from srel_core.experiments.regression import experiment as regression
from srel_core.experiments.regression.problems import DIMENSION, REAL, dimension_of, draw
from srel_core.experiments.regression.settings import bases, describe, regression_settings, varied
from tests.support.regressions import LINEAR, TINY

BAD = {
    "family": (dict(family="mpl"), "unknown family 'mpl': the nearest is 'mlp'"),
    "activation": (dict(activation="relo"), "unknown activation 'relo'"),
    "target": (dict(target="teecher"), "unknown target 'teecher'"),
    "inputs": (dict(inputs="gauss"), "unknown inputs 'gauss'"),
    "training": (dict(training="sdg"), "unknown training 'sdg'"),
    "depth": (dict(depth=1), "depth must be a whole number of at least 2, not 1"),
    "steps": (dict(n_steps=25), "n_steps must be a multiple of n_points"),
    "rule": (dict(more_rules=("adam",)), "rule 'adam': expected adam:LEARNING_RATE"),
    "same rule": (dict(more_rules=("sgd:0.02",)), "the same step is measured twice"),
    "no seeds": (dict(seeds=()), "seeds must be different, and at least one"),
    "same seed": (dict(seeds=(1, 1)), "seeds must be different, and at least one"),
    "gain": (dict(gain=0.0), "gain must be a positive, finite number, not 0.0"),
    "lr": (dict(lr=-1.0), "SGD: lr must be a positive, finite number"),
    "gate": (dict(family="relu_gate", target="smooth"), "a relu_gate is never negative"),
    "few patients": (dict(target="diabetes", n_train=301), "diabetes has 300 points to train on"),
    "few wines": (dict(target="wine", n_train=121), "wine has 120 points to train on, not 121"),
    "its own inputs": (dict(target="nuclei", inputs="mixture"), "nuclei brings its own inputs"),
    "next step": (dict(more_rules=("optimizer",)), "'optimizer' is for training='adam': sgd takes"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_settings_get_one_clear_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        replace(TINY, **changes)
    assert "\n" not in str(caught.value)


def test_training_that_diverges_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"diverged by step \d+: take a smaller lr than 5"):
        replace(LINEAR, lr=5.0, n_steps=2000).run(tmp_path)
    assert not list(tmp_path.iterdir())


@given(st.sampled_from(["gaussian", "mixture"]), st.integers(0, 1000))
def test_problems_are_what_they_say(inputs, seed):
    d = draw(inputs, "smooth", 400, 30, seed, None)
    assert d.x.shape == (400, DIMENSION) and d.y.shape == (400,)
    assert d.y.mean() == pytest.approx(0, abs=1e-12) and d.y.std() == pytest.approx(1)
    assert (d.sample != d.probe).all() and max(d.sample.max(), d.probe.max()) < len(d.x_held)
    if inputs == "gaussian":
        assert set(d.kind) == {"any"} and len(d.kind) == 30
        return
    # The far cluster lies at distance 4 along the diagonal, with half the deviation.
    far = d.x_held.sum(1) / np.sqrt(DIMENSION) > 2.75
    crossing = far[d.sample] != far[d.probe]
    assert (d.kind == "across").sum() == (d.kind == "within").sum() == 30
    assert ((d.kind == "across") == crossing).mean() > 0.85
    along = d.x.sum(1) / np.sqrt(DIMENSION)
    assert along[along > 2.75].mean() == pytest.approx(4, abs=0.3)


def test_noise_is_on_the_labels_alone():
    def plane(x):
        return x @ np.arange(1.0, 11.0)

    clean, noisy = (draw("gaussian", t, 500, 5, 0, plane) for t in ("teacher", "noisy_teacher"))
    np.testing.assert_array_equal(clean.x, noisy.x)
    assert np.std(noisy.y - clean.y) == pytest.approx(0.3, rel=0.1)
    assert np.std(noisy.y_held - clean.y_held) == pytest.approx(0.3, rel=0.2)


@pytest.mark.parametrize("name", REAL)
def test_real_data_are_split_anew_by_each_seed(name):
    data = REAL[name]
    x, y = data.load()
    assert x.shape == (data.n, dimension_of(name)) and y.shape == (data.n,)
    assert np.isfinite(x).all() and np.isfinite(y).all()
    first, second = (draw("gaussian", name, data.n_train, 5, seed, None) for seed in (0, 1))
    assert first.x_held.shape == (data.n_held, data.dimension)
    assert not np.allclose(first.y, second.y)
    together = np.concatenate([first.y, first.y_held])
    np.testing.assert_allclose(np.sort(together), np.sort((y - y.mean()) / y.std()), atol=0.3)
    np.testing.assert_allclose(first.x.std(0), 1)


def test_what_is_predicted_is_not_among_what_it_is_predicted_from():
    for data in REAL.values():
        x, y = data.load()
        assert np.abs(np.corrcoef(x.T, y)[-1, :-1]).max() < 0.95


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_hold_what_the_chapter_needs(profile):
    settings = regression_settings(profile)
    assert len({describe(e) for e in settings}) == len(settings)
    assert set(bases(settings)) == {"relu", "tanh"}
    for base in bases(settings).values():
        for field in ("depth", "lr", "gain"):
            assert len(varied(settings, base, field)) >= 2
        assert {e.training for e in varied(settings, base, "training")} == {"sgd", "gd"}
        assert len(varied(settings, replace(base, depth=2), "width")) >= 2
    if profile != "smoke":
        assert {e.width for e in settings} >= {20, 1000}
        assert {e.depth for e in settings} == {2, 3, 4, 5}
        assert min(len(e.seeds) for e in settings) >= 5
    assert {e.target for e in settings} == set(regression.TARGETS)
    assert regression_settings(profile, (7, 8, 9))[0].seeds == (7, 8, 9)


def test_unknown_profile():
    with pytest.raises(ValueError, match="unknown profile 'latpop': the nearest is 'laptop'"):
        regression_settings("latpop")
