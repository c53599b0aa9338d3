"""`snakemake sweep`: which experiments it runs, and what it does after a kill."""

import pytest

from srel_core.experiments.profiles import class_experiments, sweep
from srel_core.experiments.result_files import alone
from tests.support.book import ROOT, program
from tests.support.sweeps import LOCAL, check, kill_a_job_and_then_snakemake, sweep_in


@pytest.fixture
def local(tmp_path):
    with sweep_in(tmp_path / "sweep", *LOCAL) as sweep:
        yield sweep


def test_after_kills_a_sweep_finishes_with_the_same_numbers_and_repeats_nothing(local, tmp_path):
    killed = kill_a_job_and_then_snakemake(
        local, lambda: "waiting for another process" in local.said()
    )
    check(local, [killed], tmp_path / "plain")


@pytest.mark.parametrize(("profile", "expected"), [("smoke", 2), ("laptop", 3)])
def test_the_digits_are_always_at_hand(profile, expected):
    experiments, left_out = sweep(profile)
    assert experiments == class_experiments(profile, "digits") and len(experiments) == expected
    assert left_out == []


def test_a_data_set_that_is_not_at_hand_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SREL_DATA", str(tmp_path))
    monkeypatch.setenv("SREL_RESULTS", str(tmp_path / "results"))
    assert sweep("paper") == ([], ["cifar10", "cifar100", "svhn"])
    (tmp_path / "cifar10" / "train").mkdir(parents=True)
    dry = program(ROOT, "snakemake", "sweep", "-n", "--nolock", "--config", "profile=paper")
    assert dry.returncode == 0 and "svhn: not run, data not at hand: set SREL_DATA" in dry.stderr
    assert all(f"cifar10, seed {seed}" in dry.stdout + dry.stderr for seed in (0, 1, 2))
    (tmp_path / "train_32x32.mat").touch()
    experiments, left_out = sweep("paper")
    assert experiments == class_experiments("paper", "cifar10")
    assert left_out == ["cifar100", "svhn"]
    (tmp_path / "test_32x32.mat").touch()
    (tmp_path / "cifar-100-python").touch()
    assert sweep("paper") == (
        [e for name in ("cifar10", "cifar100", "svhn") for e in class_experiments("paper", name)],
        [],
    )


def test_where_files_cannot_be_locked_nobody_waits(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with alone(tmp_path / "result.nc", pytest.fail):
        pass
    assert not list(tmp_path.iterdir())
