"""Plans against crossed random effects whose components are known, and against brute force."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srel_core.statistics.planner import MeasurementCost, plan_measurement
from srel_core.statistics.variance_components import (
    Components,
    Pilot,
    estimate_components,
    interval_width,
)

C = 3
COST = MeasurementCost(0.5, 0.02, 0.001)


def draw(rng, samples, probes, paired=False, of_run=0.0):
    """Changes with parts of probe, sample and pair of size 0.15, 0.2, 0.3 in same-class cells.

    In a paired draw an input's part as a probe holds half its part as a sample, and the rest of a
    pair is that of its mirror image.
    """
    sample = np.repeat(np.arange(C), samples)
    probe = sample if paired else np.repeat(np.arange(C), probes)
    b, a = 0.2 * rng.standard_normal(len(sample)), 0.15 * rng.standard_normal(len(probe))
    e = 0.3 * rng.standard_normal((len(probe), len(sample)))
    if paired:
        a, e = a + b / 2, (e + e.T) / np.sqrt(2)
    same = probe[:, None] == sample
    change = np.where(same, 3 * np.exp(of_run), 1.0) * (1 + same * (a[:, None] + b) + e)
    own = np.full(len(sample), 2.0)
    twins = np.eye(len(sample), dtype=bool) if paired else np.zeros(same.shape, bool)
    return Pilot(change.clip(0), own, probe, sample, twins)


PILOTS = {
    (paired, n): [draw(np.random.default_rng(i), 6, 5, paired, 0.1 * (-1) ** i) for i in range(n)]
    for paired in (False, True)
    for n in (1, 3)
}

TRUE = Components(
    0.2**2 / C, 0.15**2 / C, 0.3**2 / C * (1 + 1 / (C - 1)), together=0.0, mutual=0.0, runs=None
)
PAIRED = dataclasses.replace(
    TRUE, probes=(0.15**2 + 0.1**2) / C, together=2 * 0.2 * 0.1 / C, mutual=TRUE.pairs
)


@pytest.mark.parametrize("paired", [False, True])
def test_components_of_a_large_pilot_are_the_true_ones(paired):
    pilot = draw(np.random.default_rng(0), 150, 140, paired)
    value, found = estimate_components([pilot])
    assert value == pytest.approx(np.log(3), abs=0.1)
    for name in ("samples", "probes", "pairs", "together", "mutual"):
        true = getattr(PAIRED if paired else TRUE, name)
        assert getattr(found, name) == pytest.approx(true, rel=0.25, abs=1e-4), name
    assert found.runs is None


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("summary", ["log_preference", "auc"])
def test_predicted_widths_are_those_of_repeated_measurements(summary, paired):
    rng = np.random.default_rng(1)
    pilots = [draw(rng, 12, 9, paired) for _ in range(150)]
    values, variances = [], []
    for pilot in pilots:
        value, found = estimate_components([pilot], summary)
        values.append(value)
        # as far from the pilot's size as a plan is
        variances.append(found.variance(6.0, 6.0 if paired else 15.0, 1, paired))
    again = [draw(rng, 6, 15, paired) for _ in range(400)]
    seen = np.std([estimate_components([pilot], summary)[0] for pilot in again], ddof=1)
    # 400 draws know a deviation to 1 in 28, 150 pilots a mean variance a little worse
    assert np.sqrt(np.mean(variances)) == pytest.approx(seen, rel=0.15)


@pytest.mark.parametrize("summary", ["log_preference", "auc"])
@pytest.mark.parametrize("paired", [False, True])
@given(of_change=st.integers(-1010, 1010), of_own=st.integers(-1010, 1010))
def test_components_do_not_know_the_units_of_a_pilot(summary, paired, of_change, of_own):
    pilot = PILOTS[paired, 1][0]
    far = dataclasses.replace(
        pilot, change=np.ldexp(pilot.change, of_change), own=np.ldexp(pilot.own, of_own)
    )
    value, found = estimate_components([pilot], summary)
    far_value, far_found = estimate_components([far], summary)
    assert far_value == pytest.approx(value, rel=1e-9, abs=1e-12)
    for name in ("samples", "probes", "pairs", "together", "mutual"):
        expected = pytest.approx(getattr(found, name), rel=1e-6, abs=1e-12)
        assert getattr(far_found, name) == expected, name


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_a_cost_does_not_know_the_unit_of_time(scale):
    sizes = [(3, 3), (3, 30), (30, 30), (10, 20)]
    fitted = MeasurementCost.fit([(s, i, scale * float(COST.seconds(s, i))) for s, i in sizes])
    assert fitted.seconds(60, 60) == pytest.approx(scale * COST.seconds(60, 60), rel=1e-6)
    with pytest.raises(ValueError, match="positive and finite"):
        MeasurementCost.fit([(s, i, np.inf) for s, i in sizes])


def test_runs_are_a_component_of_their_own_and_the_plan_is_kept():
    rng = np.random.default_rng(2)
    spread, wanted = 0.25, 0.5
    pilots = [draw(rng, 8, 8, of_run=spread * rng.standard_normal()) for _ in range(60)]
    plan = plan_measurement(pilots, COST, wanted)
    assert plan.components.runs == pytest.approx(spread**2, rel=0.4)
    assert plan.runs > 1 and plan.width <= wanted * (1 + 1e-9)
    size = plan.samples_per_class, plan.probes_per_class
    means = [
        np.mean(
            [
                estimate_components([draw(rng, *map(_at_least_four, size), of_run=r)])[0]
                for r in spread * rng.standard_normal(plan.runs)
            ]
        )
        for _ in range(150)
    ]
    assert 2 * 1.96 * np.std(means, ddof=1) == pytest.approx(plan.width, rel=0.25)


def _at_least_four(size):
    return max(size, 4)  # the smallest measurement that counts as a pilot


def brute_force(found, paired, width, most, runs):
    """The least cost over all integers."""
    least = np.inf
    for r in range(1, runs + 1):
        for s in range(2, most + 1):
            for p in [s] if paired else range(2, most + 1):
                var = found.variance(float(s), float(p), r, paired)
                if interval_width(var) <= width * (1 + 1e-12):
                    inputs = C * (s if paired else s + p)
                    least = min(least, r * COST.seconds(C * s, inputs))
    return least


@given(st.sampled_from(list(PILOTS)), st.floats(0.3, 1.5))
def test_no_cheaper_measurement_is_as_precise(which, width):
    paired, n = which
    most, runs = 12, 1 if n == 1 else 3
    components = estimate_components(PILOTS[which])[1]
    least = brute_force(components, paired, width, most, runs)
    limits = {"max_per_class": most, "max_runs": 3}
    if least == np.inf:
        with pytest.raises(ValueError, match="no measurement of up to 12 per class"):
            plan_measurement(PILOTS[which], COST, width, **limits)
        return
    plan = plan_measurement(PILOTS[which], COST, width, **limits)
    assert plan.seconds == pytest.approx(least)
    assert plan.width <= width * (1 + 1e-9) and plan.paired == paired


@given(
    st.sampled_from(list(PILOTS)), st.floats(0.2, 1.5), st.floats(1.0, 3.0),
    st.sampled_from(["log_preference", "auc"]),
)  # fmt: skip
def test_more_precision_never_costs_less(which, width, by, summary):
    fine, coarse = (
        plan_measurement(PILOTS[which], COST, w, summary=summary, max_per_class=10**4, max_runs=20)
        for w in (width, width * by)
    )
    assert fine.seconds >= coarse.seconds
    dearer = plan_measurement(
        PILOTS[which], COST.scaled(by), width, summary=summary, max_per_class=10**4, max_runs=20
    )
    assert dearer.seconds >= fine.seconds


@given(st.floats(0, 10), st.floats(0, 1), st.floats(1e-4, 1))
def test_a_cost_is_recovered_from_its_timings(fixed, per_sample, per_pair):
    true = MeasurementCost(fixed, per_sample, per_pair)
    sizes = [(3, 3), (3, 30), (30, 30), (10, 20)]
    fitted = MeasurementCost.fit([(s, i, true.seconds(s, i)) for s, i in sizes])
    for s, i in [*sizes, (60, 60)]:
        assert fitted.seconds(s, i) == pytest.approx(true.seconds(s, i), rel=1e-6)


def test_timings_that_do_not_tell_the_terms_apart_are_refused():
    with pytest.raises(ValueError, match="need three timings or more that tell them apart"):
        MeasurementCost.fit([(1, 10, 1.0), (2, 10, 2.0), (3, 10, 3.0)])
    with pytest.raises(ValueError, match="seconds must be positive and finite"):
        MeasurementCost.fit([(1, 10, 1.0), (2, 10, 0.0), (3, 30, 3.0)])
    with pytest.raises(ValueError, match="not negative, nor all zero"):
        MeasurementCost(1.0, -1.0, 0.0)


def test_pilots_that_are_too_small_or_odd_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least 4 samples and 4 probes .* as few as 3"):
        draw(rng, 8, 3)
    good = draw(rng, 4, 4, paired=True)
    some = good.same_input.copy()
    some[0, 0] = False
    with pytest.raises(ValueError, match="some probes are samples and some are not"):
        dataclasses.replace(good, same_input=some)
    with pytest.raises(ValueError, match="same_input must be"):
        dataclasses.replace(good, same_input=some[:, :-1])
    with pytest.raises(ValueError, match="finite and not negative"):
        dataclasses.replace(good, change=-good.change)
    with pytest.raises(ValueError, match="finite and not negative"):
        dataclasses.replace(good, own=good.own * np.nan)
    with pytest.raises(ValueError, match="a class without change"):
        estimate_components([dataclasses.replace(good, change=0 * good.change)])
    with pytest.raises(ValueError, match="no pilot"):
        plan_measurement([], COST, 0.5)
    with pytest.raises(ValueError, match="differ in classes, sizes or layout"):
        plan_measurement([good, draw(rng, 5, 5, paired=True)], COST, 0.5)
    with pytest.raises(ValueError, match="unknown summary 'au'"):
        plan_measurement([good], COST, 0.5, summary="au")
    with pytest.raises(ValueError, match="width must be positive"):
        plan_measurement([good], COST, 0.0)
    with pytest.raises(ValueError, match="nothing to choose from"):
        plan_measurement([good], COST, 0.5, max_per_class=1)
