"""A sweep in a folder of its own, started as a user starts it, and stopped where a test says."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from srel_core.experiments import result_files
from srel_core.experiments.profiles import class_experiments
from tests.support.book import ROOT

STEPS = (1, 4, 7, 10, 13, 16)  # measured in the smoke profile
LOCAL = ("--cores", "2", "--resources", "gpu=1")


class Sweep:
    """The smoke sweep of this repository, in `folder`; `executor`: what runs its jobs."""

    def __init__(self, folder: Path, executor: Iterable[str]) -> None:
        folder.mkdir()
        self.folder, self.executor = folder, executor
        self.processes: list[subprocess.Popen[bytes]] = []
        for name in ("Snakefile", "sweep.smk", "_toc.yml", "chapters", "tools"):
            (folder / name).symlink_to(ROOT / name)

    def start(self) -> subprocess.Popen[bytes]:
        command = [
            Path(sys.executable).with_name("snakemake"), "sweep", "--nolock", "--keep-going",
            "--rerun-incomplete", "--set-threads", "experiment=1", *self.executor,
            "--config", "profile=smoke",
        ]  # fmt: skip
        environment = {name: v for name, v in os.environ.items() if name != "SREL_RESULTS"}
        environment["PYTHONPATH"] = f"{ROOT / 'tests/paced'}:{ROOT}"
        environment["SREL_PACED"] = str(self.folder)
        with (self.folder / f"{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(
                list(map(str, command)), cwd=self.folder, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self) -> int:
        return self.start().wait()

    def said(self) -> str:
        """What the sweep that was started last has said."""
        return (self.folder / f"{len(self.processes) - 1}.log").read_text()

    def hold(self) -> None:
        """Let the first job to come to step 10 wait there."""
        (self.folder / "hold").touch()

    def held(self) -> tuple[int, int]:
        """Wait for a job that `hold` stops: its process id and its seed."""
        self.wait_until((self.folder / "held").exists)
        pid, seed = (self.folder / "held").read_text().split()
        return int(pid), int(seed)

    def release(self) -> None:
        (self.folder / "held").unlink()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def measured(self) -> list[tuple[int, int]]:
        """(seed, step) of every measurement so far, in the order they were made."""
        lines = (self.folder / "measured").read_text().splitlines()
        return [tuple(map(int, line.split())) for line in lines]

    def stop(self) -> None:
        """End what a failed test leaves behind: Snakemake, and the jobs that are its children."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def sweep_in(folder: Path, *executor: str) -> Iterator[Sweep]:
    """A sweep that has not started yet, and that is stopped in the end."""
    sweep = Sweep(folder, executor)
    try:
        yield sweep
    finally:
        sweep.stop()


def check(sweep: Sweep, seeds: Iterable[int], folder: Path) -> None:
    """The sweep is complete, measured each step once, and has the numbers of runs without it."""
    experiments = class_experiments("smoke")
    assert sorted(sweep.measured()) == [(e.seed, step) for e in experiments for step in STEPS]
    kept = {path.name for path in (sweep.folder / "_build/results").iterdir()}
    assert kept == {e.file_name for e in experiments}
    for seed in seeds:
        plain = experiments[seed].run(folder, "cpu", progress=False)
        swept = result_files.load(sweep.folder / "_build/results" / experiments[seed].file_name)
        assert swept.drop_attrs().identical(plain.drop_attrs())


def kill_a_job_and_then_snakemake(sweep: Sweep, a_job_waits: Callable[[], bool]) -> int:
    """Three starts: the first loses a job; the second is killed, and leaves its job behind, which
    that of the third waits for. The seed of these jobs."""
    sweep.hold()
    first = sweep.start()
    pid, killed = sweep.held()
    assert {seed for seed, _ in sweep.measured()} == {killed}  # one at a time on one GPU
    os.kill(pid, signal.SIGKILL)
    sweep.release()
    assert first.wait() != 0
    assert (killed, 16) not in sweep.measured() and (1 - killed, 16) in sweep.measured()

    sweep.hold()
    second = sweep.start()
    left_behind, seed = sweep.held()
    assert seed == killed
    second.kill()
    second.wait()

    third = sweep.start()
    sweep.wait_until(a_job_waits)
    os.kill(left_behind, 0)  # it lives
    sweep.release()
    assert third.wait() == 0, sweep.said()
    assert f"seed {killed}" in sweep.said() and f"seed {1 - killed}" not in sweep.said()
    return killed
