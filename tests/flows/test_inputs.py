"""Every flow takes a scalar or a vector of times, is frozen, and names what is wrong with input."""

import dataclasses

import numpy as np
import pytest

from srel_core.flows import PowerFlow, RadialFlow, ReluGateFlow, RidgeFlow

ONE = np.ones(2)
PAIR = np.ones((3, 2))


def ridge(features=((1.0, 0.0), (0.0, 1.0)), labels=(0, 1), penalty=1.0, w0=np.ones((2, 2))):  # noqa: B008
    return RidgeFlow(features, labels, penalty, w0)


FLOWS = {
    "ridge": (ridge(), (PAIR, PAIR, np.zeros(3, int))),
    "glm_tron": (ReluGateFlow(ONE, -ONE), (PAIR, PAIR)),
    "gradient": (ReluGateFlow(ONE, [1.0, 0.0], flow="gradient"), (PAIR, PAIR)),
    "power": (PowerFlow(ONE, 2 * ONE, 3), (PAIR, PAIR)),
    "radial": (RadialFlow(ONE, [1.0, 0.0], 3), (PAIR, PAIR)),
}
METHODS = ("weights", "loss", "s_rel", "beta")


def calls(name):
    flow, pair = FLOWS[name]
    for method in METHODS:
        if hasattr(flow, method):
            yield getattr(flow, method), pair if method == "s_rel" else ()


@pytest.mark.parametrize("name", FLOWS)
def test_a_scalar_time_drops_the_leading_axis(name):
    for method, args in calls(name):
        several = method([0.0, 0.7, 0.3], *args)
        assert several.shape[0] == 3
        for i, t in enumerate((0.0, 0.7, 0.3)):
            assert np.shape(method(t, *args)) == several.shape[1:]
            np.testing.assert_allclose(method(t, *args), several[i], rtol=1e-9)
            np.testing.assert_allclose(method([t], *args)[0], several[i], rtol=1e-9)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(
    ("t", "message"),
    [
        (-1.0, "must not be negative"),
        ([0.0, -1e-300], "must not be negative"),
        (np.nan, "finite"),
        ([0.0, np.inf], "finite"),
        (np.ones((2, 2)), "shape"),
        ([], "empty"),
        ("soon", "numbers"),
    ],
)
def test_bad_times(name, t, message):
    for method, args in calls(name):
        with pytest.raises(ValueError, match=message) as error:
            method(t, *args)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FLOWS)
def test_bad_pairs(name):
    flow, (_, _, *rest) = FLOWS[name]
    for probe, sample, message in [
        (PAIR, PAIR[:2], "one row per pair"),
        (PAIR[:, :1], PAIR, "shape"),
        (PAIR, ONE, "shape"),
        (PAIR * np.nan, PAIR, "finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            flow.s_rel(0.0, probe, sample, *rest)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_are_frozen_copies(name):
    flow = FLOWS[name][0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        flow.w0 = None
    for value in vars(flow).values():
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable


RELU, POWER, RADIAL = ReluGateFlow, PowerFlow, RadialFlow
BAD = {
    "λ < 0": (lambda: ridge(penalty=-1.0), "penalty must be ≥ 0"),
    "λ NaN": (lambda: ridge(penalty=np.nan), "finite"),
    "label too large": (lambda: ridge(labels=(0, 2)), r"0\.\.1"),
    "label negative": (lambda: ridge(labels=(0, -1)), r"0\.\.1"),
    "label a float": (lambda: ridge(labels=(0.0, 1.0)), "integers"),
    "too few labels": (lambda: ridge(labels=(0,)), "2 integers"),
    "features with NaN": (lambda: ridge(features=((np.nan, 0), (0, 1))), "finite"),
    "features ragged": (lambda: ridge(features=((1.0, 0), (0,))), "numbers"),
    "features empty": (lambda: ridge(features=np.ones((0, 2)), labels=()), "empty"),
    "w0 of other height": (lambda: ridge(w0=np.ones((3, 2))), "2 rows"),
    "label of a sample": (lambda: ridge().s_rel(0, PAIR, PAIR, [0, 1, 2]), r"0\.\.1"),
    "teacher zero": (lambda: RELU(0 * ONE, ONE), "teacher must not be zero"),
    "lengths of gate": (lambda: RELU(ONE, np.ones(3)), "3 entries"),
    "flow unknown": (lambda: RELU(ONE, ONE, flow="gradiant"), "the nearest is 'gradient'"),
    "Σ not symmetric": (lambda: RELU(ONE, ONE, [[1, 1], [0, 1]]), "symmetric"),
    "Σ indefinite": (lambda: RELU(ONE, ONE, [[1, 2], [2, 1]]), "semidefinite"),
    "Σ of other size": (lambda: RELU(ONE, ONE, np.eye(3)), "shape"),
    "Σ under gradient": (lambda: RELU(ONE, ONE, 2 * np.eye(2), "gradient"), "identity"),
    "gate at rest": (lambda: RELU(ONE, 0 * ONE, flow="gradient"), "w0 must not be zero"),
    "crossings off white": (
        lambda: RELU(ONE, ONE, 2 * np.eye(2)).crossing_times(PAIR),
        "crossing_times has a closed form",
    ),
    "power at 0": (lambda: POWER(ONE, [1.0, 0.0], 2), "must be positive at even degree"),
    "power below 0": (lambda: POWER(ONE, [1.0, -1.0], 4), "must be positive at even degree"),
    "degree 0": (lambda: POWER(ONE, ONE, 0), "degree must be an integer"),
    "degree 1.5": (lambda: RADIAL(ONE, ONE, 1.5), "degree must be an integer"),
    "degree beyond": (lambda: RADIAL(ONE, ONE, 10**6 + 1), "degree must be at most 1000000"),
    "w0 beyond": (lambda: RADIAL(ONE, 1e301 * ONE), r"w0 must be within ±1e\+300"),
    "features beyond": (lambda: ridge(1e151 * np.eye(2)), r"features must be within ±1e\+150"),
    "no limit": (lambda: ridge(1e-310 * np.eye(2), penalty=0.0), "weights as t → ∞ are beyond"),
    "degree a bool": (lambda: RADIAL(ONE, ONE, True), "degree must be an integer"),
    "lengths of power": (lambda: POWER(ONE, np.ones(3)), "3 entries"),
    "radial at 0": (lambda: RADIAL(ONE, 0 * ONE), "w0 must not be zero"),
    "lengths of radial": (lambda: RADIAL(ONE, np.ones(3)), "3 entries"),
    "target Inf": (lambda: RADIAL([np.inf, 0], ONE), "finite"),
    "target 2-D": (lambda: RADIAL(np.eye(2), ONE), "shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line(name):
    make, message = BAD[name]
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
