"""How well the two-phase fit keeps its promises: fewer trials than benchmarks/phases.py, bounds at
more than three sigma."""

import numpy as np
import pytest

from srel_core.statistics.phases import fit_two_phase
from tests.statistics.test_phases import ramp


def calibrate(truth, make, n):
    """Median error, coverage and the share of p ≤ 0.05, over n curves make(rng) on [0, 1]."""
    rng = np.random.default_rng(7)
    errors, covered, found = [], 0, 0
    for _ in range(n):
        y = make(rng)
        fit = fit_two_phase(np.linspace(0, 1, y.shape[-1]), y)
        errors.append(abs(fit.break_step - truth))
        covered += fit.interval[0] <= truth <= fit.interval[1]
        found += fit.p_value <= 0.05
    return np.median(errors), covered / n, found / n


def walks(rng, n_curves, n_steps):
    """Noise that is strongly correlated along the steps, each curve with a level of its own."""
    noise = rng.standard_normal((n_curves, n_steps))
    for t in range(1, n_steps):
        noise[:, t] = 0.9 * noise[:, t - 1] + np.sqrt(1 - 0.9**2) * noise[:, t]
    return noise + rng.standard_normal((n_curves, 1))


@pytest.mark.parametrize(("noise", "largest_error"), [(0.01, 0.003), (0.1, 0.02), (0.3, 0.06)])
def test_breaks_of_noisy_ramps(noise, largest_error):
    def make(rng):
        return ramp(np.linspace(0, 1, 60), 0.35) + noise * rng.standard_normal(60)

    error, coverage, found = calibrate(0.35, make, 200)
    assert error <= largest_error
    assert 0.9 <= coverage <= 0.99
    assert found > 0.95


@pytest.mark.parametrize("n_curves", [3, 5])
def test_breaks_of_curves_of_several_seeds_with_correlated_noise(n_curves):
    def make(rng):
        return ramp(np.linspace(0, 1, 40), 0.35) + 0.05 * walks(rng, n_curves, 40)

    error, coverage, found = calibrate(0.35, make, 200)
    assert error <= 0.02
    assert coverage >= 0.9
    assert found > 0.95


def test_false_alarms_on_one_straight_line():
    def make(rng):
        return np.linspace(0, 1, 20) + 0.1 * rng.standard_normal(20)

    assert 0.025 < calibrate(0, make, 800)[2] < 0.075


@pytest.mark.parametrize("n_curves", [3, 5, 10])
def test_false_alarms_on_several_straight_lines_with_correlated_noise(n_curves):
    def make(rng):
        return np.linspace(0, 1, 30) + 0.1 * walks(rng, n_curves, 30)

    assert calibrate(0, make, 300)[2] <= 0.05


def test_a_break_that_the_curve_does_not_bound_leaves_the_interval_open():
    s = np.linspace(0, 1, 20)
    noise = 0.01 * np.random.default_rng(9).standard_normal(20)
    assert fit_two_phase(s, ramp(s, s[1]) + noise).interval[0] == s[0]  # before the third step
    assert fit_two_phase(s, ramp(s[::-1], s[1]) + noise).interval[1] == s[-1]
    assert fit_two_phase(s, noise).interval == (s[0], s[-1])  # no break at all


def test_the_residuals_tell_a_smooth_bend_from_a_break():
    s = np.linspace(0, 1, 100)
    noise = 0.01 * np.random.default_rng(10).standard_normal(100)
    bend = fit_two_phase(s, 1 - np.exp(-s / 0.2) + noise)
    corner = fit_two_phase(s, ramp(s, 0.35) + noise)
    assert bend.p_value == corner.p_value == 1 / 10_000  # neither is a straight line
    assert bend.residual_autocorrelation > 0.8
    assert abs(corner.residual_autocorrelation) < 0.25
