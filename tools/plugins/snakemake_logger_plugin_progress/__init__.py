"""How far `make book` is, and about how long it will still take: a logger plugin of Snakemake.

Snakemake finds it by the name of its package, where the folder is on PYTHONPATH. A line for each
job when it starts; jobs run one at a time. What each took is kept for the next time, in
`_build/times.json`; before the first, the times of `typical.json` are taken, scaled to how fast
this machine turns out to be.
"""

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path

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
    """What is done of a number of jobs, one at a time, and what is left in seconds."""

    typical: Mapping[str, float]
    total: int
    taken: dict[str, float] = field(default_factory=dict)

    def expected(self, job: str) -> float:
        """Typical seconds of a job: of one that is not known, the mean of its profile's."""
        if job in self.typical:
            return self.typical[job]
        return _mean(self._alike(job)) or _mean(list(self.typical.values())) or 1.0

    def left(self, job: str) -> float | None:
        """Seconds from the start of this job to the end of all; None where nothing is known."""
        if not self.typical and not self.taken:
            return None
        after = self.total - len(self.taken) - 1
        others = self._alike(job, but={*self.taken, job})
        work = self.expected(job) + after * (_mean(others) or self.expected(job))
        done = sum(map(self.expected, self.taken))
        believed = _BELIEVED if self.typical else 0.0
        return work * (sum(self.taken.values()) + believed) / (done + believed)

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


class LogHandler(LogHandlerBase):
    """Prints the lines beside what Snakemake itself prints."""

    # It takes all events, whatever Snakemake is to be quiet about; the stream is not its own.
    writes_to_stream = writes_to_file = has_formatter = needs_rulegraph = False
    has_filter = True

    def __post_init__(self) -> None:
        self.times = read_times(TIMES)
        self.progress: Progress | None = None
        self.job, self.output = "", Path()
        self.began = self.started = time.monotonic()

    def emit(self, record: LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            total = record.__dict__["stats"]["total"]
            self.progress = Progress(read_times(TYPICAL) | self.times, total)
        elif event == LogEvent.JOB_INFO and self.progress is not None:
            self._ended()
            self._starts(self.progress, record.__dict__)

    def close(self) -> None:
        self._ended()
        super().close()

    def _starts(self, progress: Progress, of: Mapping[str, object]) -> None:
        output, wildcards = of["output"], of["wildcards"]
        if not isinstance(output, list) or not output or not isinstance(wildcards, dict):
            return
        named = "profile" in wildcards and "name" in wildcards
        self.job = "{profile}/{name}".format(**wildcards) if named else str(of["rule_name"])
        self.output, self.started = Path(output[0]), time.monotonic()
        left = progress.left(self.job)
        about = f", about {in_words(max(left, 5))} left" if left is not None else ""
        at = f"{len(progress.taken) + 1} of {progress.total}"
        spent = in_words(self.started - self.began)
        print(f"progress: {at}: {self.job}; {spent} so far{about}", file=sys.stderr, flush=True)

    def _ended(self) -> None:
        """Keep what a job took whose output is there: Snakemake takes it away before it starts."""
        if self.progress is None or not self.job:
            return
        taken = time.monotonic() - self.started
        self.progress.taken[self.job] = taken
        if self.output.exists():
            self.times[self.job] = round(taken, 1)
            _write(self.times)
        self.job = ""


def _write(times: Mapping[str, float]) -> None:
    text = json.dumps({"seconds": times}, indent=1) + "\n"
    with suppress(ResultError):  # the book does not need it
        write_atomically(TIMES, lambda file: file.write_text(text, encoding="utf8"))
