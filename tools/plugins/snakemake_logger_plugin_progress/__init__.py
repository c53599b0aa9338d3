"""How far `make book` is, and about how long it will still take: a logger plugin of Snakemake.

Snakemake finds it by the name of its package, where the folder is on PYTHONPATH. A line for each
job when it starts. What each took is kept for the next time, in `_build/times.json`; before the
first, the times of `typical.json` are taken, scaled to how fast this machine turns out to be.
"""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path
from typing import Any, NamedTuple

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from srel_core.experiments.files import ResultError, write_atomically

TIMES = Path("_build/times.json")
TYPICAL = Path(__file__).with_name("typical.json")

# Seconds for which typical times are believed as they are, before what this machine takes counts.
_BELIEVED = 30.0


def read_times(path: Path) -> dict[str, float]:
    """Seconds by job; none from a file that is not there or not of this kind."""
    try:
        found = json.loads(path.read_text(encoding="utf8"))
        return {str(job): float(seconds) for job, seconds in found["seconds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@dataclass
class Progress:
    """What is done of a number of jobs, and what is left in seconds."""

    typical: Mapping[str, float]
    total: int
    taken: dict[str, float] = field(default_factory=dict)

    def expected(self, job: str) -> float:
        """Typical seconds of a job: of one that is not known, the mean of its profile's."""
        if job in self.typical:
            return self.typical[job]
        return _mean(self._alike(job)) or _mean(list(self.typical.values())) or 1.0

    def left(self, running: Mapping[str, float], at_a_time: int = 1) -> float | None:
        """Seconds to the end of all while these jobs run, each for so many seconds by now, and as
        many at a time; None where nothing is known."""
        if not self.typical and not self.taken:
            return None
        done = sum(map(self.expected, self.taken))
        believed = _BELIEVED if self.typical else 0.0
        slower = (sum(self.taken.values()) + believed) / (done + believed)
        job = next(iter(running))
        others = self._alike(job, but={*self.taken, *running})
        waiting = self.total - len(self.taken) - len(running)
        after = waiting * slower * (_mean(others) or self.expected(job))
        now = [max(0.0, slower * self.expected(job) - spent) for job, spent in running.items()]
        return max((sum(now) + after) / at_a_time, *now)

    def _alike(self, job: str, but: set[str] | None = None) -> list[float]:
        profile = job.partition("/")[0]
        return [
            seconds for other, seconds in self.typical.items()
            if other.partition("/")[0] == profile and other not in (but or ())
        ]  # fmt: skip


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def in_words(seconds: float) -> str:
    """Rounded as a reader would: 40 s, 3 min, 2 h 10 min."""
    if seconds < 55:
        return f"{5 * round(seconds / 5)} s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Job(NamedTuple):
    """What a job makes, and when it was started."""

    output: Path
    started: float

    def taken(self) -> float | None:
        """Seconds from its start to its output, None while that is not there or an older one."""
        try:
            seconds = self.output.stat().st_mtime - self.started
        except OSError:
            return None
        return seconds if seconds > 0 else None


class LogHandler(LogHandlerBase):
    """Prints the lines beside what Snakemake itself prints."""

    # It takes all events, whatever Snakemake is to be quiet about; the stream is not its own.
    writes_to_stream = writes_to_file = has_formatter = needs_rulegraph = False
    has_filter = True

    def __post_init__(self) -> None:
        self.times = read_times(TIMES)
        self.progress: Progress | None = None
        self.cores = 1
        self.running: dict[str, Job] = {}
        self.began = time.time()

    def emit(self, record: LogRecord) -> None:
        event, of = getattr(record, "event", None), record.__dict__
        if event == LogEvent.RESOURCES_INFO:
            self.cores = of.get("cores") or 1
        elif event == LogEvent.RUN_INFO:
            self.progress = Progress(read_times(TYPICAL) | self.times, of["stats"]["total"])
        elif event == LogEvent.JOB_INFO and self.progress is not None and of["output"]:
            self._ended(self.progress)
            self._starts(self.progress, of)

    def close(self) -> None:
        if self.progress is not None:
            self._ended(self.progress)
        super().close()

    def _starts(self, progress: Progress, of: Mapping[str, Any]) -> None:
        wildcards, now = of["wildcards"], time.time()
        named = "profile" in wildcards and "name" in wildcards
        name = "{profile}/{name}".format(**wildcards) if named else str(of["rule_name"])
        self.running[name] = Job(Path(of["output"][0]), now)
        spent = {each: now - job.started for each, job in self.running.items()}
        left = progress.left(spent, max(1, self.cores // of["threads"]))
        about = f", about {in_words(max(left, 5))} left" if left is not None else ""
        at = f"{len(progress.taken) + len(self.running)} of {progress.total}"
        so_far = in_words(now - self.began)
        print(f"progress: {at}: {name}; {so_far} so far{about}", file=sys.stderr, flush=True)

    def _ended(self, progress: Progress) -> None:
        """Keep what those jobs took whose output is there by now: told to be quiet, Snakemake does
        not say which have ended."""
        ended = {name: seconds for name, job in self.running.items() if (seconds := job.taken())}
        for name, seconds in ended.items():
            del self.running[name]
            progress.taken[name], self.times[name] = seconds, round(seconds, 1)
        if ended:
            _write(self.times)


def _write(times: Mapping[str, float]) -> None:
    text = json.dumps({"seconds": times}, indent=1) + "\n"
    with suppress(ResultError):  # the book does not need it
        write_atomically(TIMES, lambda file: file.write_text(text, encoding="utf8"))
