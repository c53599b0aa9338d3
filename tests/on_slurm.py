"""`make cluster-test`: the sweep on a SLURM cluster that is started for it.

`make test` leaves it out: it needs root, Debian's packages and a few minutes.
"""

import signal
import subprocess

import pytest

from tests.support.book import ROOT
from tests.support.slurm import NoCluster, cluster
from tests.support.sweeps import check, kill_a_job_and_then_snakemake, sweep_in

# The repository's own profile, in a hurry, and for a cluster that keeps no accounts.
PROFILE = (
    "--workflow-profile", str(ROOT / "profiles/slurm"),
    "--slurm-status-command", "squeue", "--slurm-no-account",
    "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def slurm():
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is stopped
    try:
        with cluster():
            yield
    except NoCluster as error:
        pytest.exit(f"no SLURM cluster here: {error}", returncode=1)


@pytest.fixture
def sweep(tmp_path):
    with sweep_in(tmp_path / "sweep", *PROFILE) as sweep:
        yield sweep


def test_a_sweep_gives_the_numbers_of_this_machine_one_gpu_job_at_a_time(sweep, tmp_path):
    assert sweep.run() == 0, sweep.said()
    check(sweep, (0, 1), tmp_path / "plain")
    seeds = [seed for seed, _ in sweep.measured()]
    assert seeds in (sorted(seeds), sorted(seeds, reverse=True))


def test_after_kills_it_finishes_with_the_same_numbers_and_repeats_nothing(sweep, tmp_path):
    killed = kill_a_job_and_then_snakemake(sweep, lambda: "PENDING" in squeue())
    check(sweep, [killed], tmp_path / "plain")


def squeue() -> str:
    command = ["squeue", "--noheader", "--format", "%T"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
