"""Two that ask for one result at the same time compute it once, whoever they are."""

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from srel_core.experiments import class_experiment, result_files
from srel_core.experiments.regression.experiment import RegressionExperiment
from tests.support.class_experiments import TINY

REGRESSION = RegressionExperiment(n_steps=2, n_points=2, width=3, seeds=(4, 5))
EXPERIMENTS = {
    "class": (TINY, lambda folder: TINY.run(folder, "cpu", progress=False)),
    "regression": (REGRESSION, REGRESSION.run),
}
COMPUTES = [(class_experiment._Run, "complete"), (RegressionExperiment, "_compute")]
WAITING = "waiting for another process that computes"


@pytest.fixture(params=EXPERIMENTS.values(), ids=EXPERIMENTS.keys())
def asked(request):
    return request.param


def test_who_comes_second_waits_and_computes_nothing(tmp_path, monkeypatch, asked):
    experiment, run = asked
    computed, said = [], []
    first_computes, second_waits = threading.Event(), threading.Event()

    def slow(compute):
        def until_the_second_waits(*arguments):
            computed.append(arguments)
            first_computes.set()
            assert second_waits.wait(20)
            return compute(*arguments)

        return until_the_second_waits

    def warn(message, *_, **__):
        if str(message).startswith(WAITING):  # torch may have its own to say
            said.append(message)
            second_waits.set()

    for where, name in COMPUTES:
        monkeypatch.setattr(where, name, slow(getattr(where, name)))
    monkeypatch.setattr(warnings, "warn", warn)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(run, tmp_path)
        assert first_computes.wait(20)
        second = threads.submit(run, tmp_path)
    assert len(computed) == 1 and said == [f"{WAITING} {experiment.file_name}"]
    assert first.result().identical(second.result())
    assert [path.name for path in tmp_path.iterdir()] == [experiment.file_name]


def test_the_wait_is_announced_where_the_result_was_asked_for(tmp_path, asked):
    experiment, run = asked
    with (
        ThreadPoolExecutor(1) as thread,
        result_files.alone(tmp_path / experiment.file_name, pytest.fail),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        second = thread.submit(lambda: run(tmp_path))
        while not caught:
            assert not second.done()
            time.sleep(0.01)
    assert second.result().sizes["step"] > 1
    assert WAITING in str(caught[0].message) and caught[0].filename == __file__
