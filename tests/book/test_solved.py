"""The problems of the flows are drawn as they say, and what S_rel does along them is told."""

import numpy as np
import pytest

from srel_core.book.solved import problems
from srel_core.book.solved.course import course, until
from srel_core.flows import PowerFlow

TIMES = np.linspace(0, 10, 60)


def curves(shape, starts=5, pairs=4):
    """(T, R, m): the shape (T,) with a little noise of each start."""
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal((1, starts, 1))
    return np.repeat(np.asarray(shape)[:, None, None] * noise, pairs, axis=2)


def test_a_ramp_to_a_plateau_has_two_phases_and_ends_larger():
    found = course(TIMES, curves(1 + np.minimum(TIMES, 2)))
    assert found.two_phases and found.ends == "larger" and found.higher == 1
    assert found.stop == pytest.approx(2, abs=0.2)
    assert (found.until, found.first, found.last) == pytest.approx((10, 1, 3), rel=0.02)
    assert course(TIMES, curves(3 - np.minimum(TIMES, 2))).ends == "smaller"


def test_what_stays_does_not_move_and_what_goes_on_does_not_rest():
    still = course(TIMES, curves(np.ones_like(TIMES)))
    assert not still.moves and not still.two_phases and np.isnan(still.stop)
    steady = course(TIMES, curves(1 + TIMES))
    assert steady.moves and not steady.two_phases


def test_pairs_are_summarised_as_asked():
    s_rel = curves(np.ones_like(TIMES))
    s_rel[:, :, 0] += np.minimum(TIMES, 2)[:, None]  # one pair of four
    assert not course(TIMES, s_rel).moves
    assert course(TIMES, s_rel, np.mean).moves


def test_until_is_ten_times_the_time_of_a_hundredth():
    assert until(lambda t: np.exp(-t)[:, None]) == pytest.approx(10 * np.log(100), rel=0.03)


def test_problems_are_drawn_from_their_seed():
    first, again = (problems.RidgeProblem.drawn(3, 10, 4) for _ in range(2))
    np.testing.assert_array_equal(first.w0, again.w0)
    assert first.flow(1.0).w0.shape == (4, 10, 2)
    probe, sample, labels = first.pairs("within")
    rows = {row.tobytes() for row in first.features[first.labels == 1]}
    assert {row.tobytes() for row in probe} | {row.tobytes() for row in sample} <= rows
    assert not {row.tobytes() for row in probe} & {row.tobytes() for row in sample}
    assert (labels == 1).all()
    near = {row.tobytes() for row in first.features[first.labels == 0]}
    assert {row.tobytes() for row in first.pairs("between")[0]} <= near
    assert (first.scaled.features**2).sum(1).mean() == pytest.approx(1)


def test_each_start_of_a_gate_has_active_samples():
    problem = problems.gates("gradient", 3, 0)
    for flow, (_, sample) in zip(problem.flows, problem.pairs, strict=True):
        assert np.linalg.norm(flow.w0) == pytest.approx(1)
        assert (sample @ flow.w0 > 0).all() and (sample @ flow.teacher > 0).all()
        assert len(sample) == problems.N_PAIRS


def test_losses_and_s_rel_are_those_of_the_flows():
    problem = problems.powers(problems.SPARSE, 2, 3, 0)
    assert isinstance(problem.flows[1], PowerFlow)
    np.testing.assert_array_equal(problem.loss(TIMES)[:, 1], problem.flows[1].loss(TIMES))
    want = problem.flows[2].s_rel(TIMES, *problem.pairs[2])
    np.testing.assert_array_equal(problem.s_rel(TIMES)[:, 2], want)
    assert np.linalg.norm(problems.radials(3, 2, 0).flows[0].w0) == pytest.approx(0.5)


def test_sizes_follow_the_profile_unless_they_are_given():
    assert problems.sizes("smoke") == (4, 40) and problems.sizes("smoke", 7, 33) == (7, 33)
    with pytest.raises(ValueError, match="unknown profile"):
        problems.sizes("small")
    for given in ((2, 0), (0, 19)):
        with pytest.raises(ValueError, match="n_starts must be at least 3 and n_times at least 20"):
            problems.sizes("smoke", *given)
