"""Faults of processes and of the machine: kills, signals, full disks, bad calls."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import xarray as xr
from _fault_table import Outcome, Tally

from srel_core.experiments import result_files
from tests.support.book import ROOT, make_book

RANDOM_KILLS, BOOK_KILLS = 12, 3
ARGUMENTS = [
    "run", "--model", "linear", "--images-per-class", "12", "--probes-per-class", "2",
    "--epochs", "2", "--batch-size", "12", "--divergences", "kl", "--rules", "sgd:1e-4",
    "--seeds", "0", "--device", "cpu", "--quiet",
]  # fmt: skip
# Saves after every measurement; `before` is run first, in the same process.
PROGRAM = """
import os, sys
from srel_core.experiments import class_experiment
class_experiment._SAVE_EVERY = 0.0
{before}
from srel_core.cli import main
main()
"""
# Gives itself a signal when a file is filled, before it is put in place, or after it.
AT_A_WRITE = """
from pathlib import Path
def dying(call, place):
    left = [{number}]
    def until(*arguments):
        if place == "after":
            call(*arguments)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), {signal})
        return None if place == "after" else call(*arguments)
    return until
if "{place}" == "within":
    os.fsync = dying(os.fsync, "within")
else:
    Path.replace = dying(Path.replace, "{place}")
"""
AT_AN_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), {signal})
sys.meta_path.insert(0, Finder())
from srel_core.__main__ import main
main()
"""
LIMIT = "import resource; resource.setrlimit(resource.{what}, ({limit}, -1))"
NO_HOME = "import pwd; os.environ.pop('HOME', 0); os.getuid = lambda: 2**31 - 7"


def tallies(folder: Path) -> list[Tally]:
    """All faults of processes, tried in a folder."""
    begun = time.monotonic()
    whole = _finished(folder / "whole")
    seconds = time.monotonic() - begun
    return [
        _random_kills(folder, whole, seconds), _exact_kills(folder, whole),
        _signals(folder, whole), _early_signals(), _full_disk(folder, whole),
        _at_once(folder, whole), _bad_calls(folder), _book_kills(folder),
    ]  # fmt: skip


def _start(folder: Path, before: str = "") -> "subprocess.Popen[str]":
    program = [sys.executable, "-c", PROGRAM.format(before=before)]
    return subprocess.Popen(
        [*program, *ARGUMENTS, "--results-dir", str(folder)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def _load(folder: Path) -> xr.Dataset:
    (path,) = folder.glob("*.nc")
    return result_files.load(path).drop_attrs()


def _finished(folder: Path) -> xr.Dataset:
    """The numbers of the command, given in `folder` for as often as it takes: once."""
    process = _start(folder)
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(said)
    return _load(folder)


def _goes_on(folder: Path, whole: xr.Dataset, interrupted: Outcome = "harmless") -> Outcome:
    """Whether the same command ends with the same numbers, and leaves nothing else behind."""
    try:
        right = _finished(folder).identical(whole)
    except (RuntimeError, ValueError):
        return "silent"
    return interrupted if right and len(list(folder.iterdir())) == 1 else "silent"


def _random_kills(folder: Path, whole: xr.Dataset, seconds: float) -> Tally:
    tally, draw = Tally("srel run killed at a random moment, and started again"), random.Random(0)
    for number in range(RANDOM_KILLS):
        place = folder / f"kill-{number}"
        process = _start(place)
        moment = seconds * draw.random()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=moment)
        process.kill()
        process.communicate()
        if process.returncode == -signal.SIGKILL:  # it had not ended before
            tally.add(_goes_on(place, whole), moment)
    return tally


def _exact_kills(folder: Path, whole: xr.Dataset) -> Tally:
    tally = Tally("srel run killed around the write of a file, and started again")
    for where in ("within", "before", "after"):
        for number in range(1, 7):
            place = folder / f"{where}-{number}"
            process = _start(place, AT_A_WRITE.format(number=number, place=where, signal=9))
            process.communicate()
            killed = process.returncode == -signal.SIGKILL
            outcome = _goes_on(place, whole) if killed or number > 4 else "silent"
            tally.add(outcome, f"{where} write {number}")
    return tally


def _signals(folder: Path, whole: xr.Dataset) -> Tally:
    """When the second state is put in place. Those that ask for an end get a line and its code."""
    tally = Tally("srel run ended by a signal, and started again")
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGABRT", "SIGXCPU"):
        place, number = folder / name, getattr(signal, name)
        process = _start(place, AT_A_WRITE.format(number=3, place="before", signal=number))
        _, said = process.communicate()
        if name in ("SIGINT", "SIGTERM"):
            fine = process.returncode == 130 and said.strip().startswith("srel: error: interrupted")
            fine = fine and said.strip().count("\n") == 0
        else:
            fine = process.returncode == -number and not said
        outcome = _goes_on(place, whole, "refused" if number in (2, 15) else "harmless")
        tally.add(outcome if fine else "silent", f"{name}: {process.returncode} {said}")
    return tally


def _early_signals() -> Tally:
    """While libraries are loaded, of which some make other errors of an interruption."""
    tally = Tally("srel interrupted while it loads a library")
    for name in ("srel_core.cli", "click.core", "torch", "torch._C", "xarray", "pandas",
                 "numpy._core._multiarray_umath"):  # fmt: skip
        for number in (signal.SIGINT, signal.SIGTERM):
            program = AT_AN_IMPORT.format(name=name, signal=int(number))
            done = subprocess.run(
                [sys.executable, "-c", program, *ARGUMENTS, "--results-dir", "/dev/null/none"],
                cwd=ROOT, capture_output=True, text=True,
            )  # fmt: skip
            said = done.stderr.strip()
            fine = done.returncode == 130 and said.startswith("srel: error: interrupted")
            fine = fine and said.count("\n") == 0
            tally.add("refused" if fine else "silent", f"{name}: {done.returncode} {said}")
    return tally


def _full_disk(folder: Path, whole: xr.Dataset) -> Tally:
    """A limit on the size of files stands in for a full disk: a write fails half-way."""
    tally = Tally("srel run on a disk that fills up, and started again")
    for size in (100, 1000, 3000, 6000, 12000, 24000, 200000):
        place = folder / f"disk-{size}"
        process = _start(place, LIMIT.format(what="RLIMIT_FSIZE", limit=size))
        _, said = process.communicate()
        if process.returncode == 0:
            tally.add("harmless" if _load(place).identical(whole) else "silent", size)
            continue
        clear = _one_line(process.returncode, said) and "nothing was written: make room" in said
        left = {file.suffix for file in place.iterdir()}
        fine = clear and left <= {".safetensors"}
        tally.add(_goes_on(place, whole, "refused") if fine else "silent", size)
    return tally


def _at_once(folder: Path, whole: xr.Dataset) -> Tally:
    """Where there is no result, and where there is a damaged one."""
    tally = Tally("srel run four times at once")
    (name,) = (file.name for file in (folder / "whole").iterdir())
    for damaged in (False, True):
        place = folder / f"at-once-{damaged}"
        place.mkdir()
        if damaged:
            (place / name).write_text("junk")
        processes = [_start(place) for _ in range(4)]
        for number, process in enumerate(processes):
            process.communicate()
            right = process.returncode == 0 and _load(place).identical(whole)
            tally.add("harmless" if right else "silent", number)
        if len(list(place.iterdir())) != 1 + damaged:
            tally.add("silent", "files left")
    return tally


def _bad_calls(folder: Path) -> Tally:
    """Each gets one line and an exit code that is not 0."""
    tally, long = Tally("srel called where it cannot work"), "a" * 300
    listed, env = ("list", "--results-dir", str(folder / "whole")), ("env",)
    memory = LIMIT.format(what="RLIMIT_AS", limit=400 << 20)
    calls: dict[str, tuple[str, Iterable[str], str]] = {
        "list, full output": ("", listed, "/dev/full"),
        "help, full output": ("", ("--help",), "/dev/full"),
        "env, full output": ("", env, "/dev/full"),
        "list, long name": ("", ("list", "--results-dir", long), "/dev/null"),
        "check, long name": ("", ("check", long), "/dev/null"),
        "run, long name": ("", (*ARGUMENTS, "--results-dir", long), "/dev/null"),
        "list, a file": ("", ("list", "--results-dir", "README.md"), "/dev/null"),
        "check, a folder": ("", ("check", "results"), "/dev/null"),
        "check, a pipe": ("", ("check", str(_pipe(folder))), "/dev/null"),
        "env, no memory": (memory, env, "/dev/null"),
        "run, no memory": (memory, (*ARGUMENTS, "--results-dir", str(folder / "m")), "/dev/null"),
        "list, no home": (NO_HOME, ("list",), "/dev/null"),
    }
    bare = {n: v for n, v in os.environ.items() if not n.startswith(("SREL", "XDG"))}
    bare["PYTHONPATH"] = str(ROOT)
    for name, (before, arguments, output) in calls.items():
        program = f"import os; {before or 'pass'}; from srel_core.cli import main; main()"
        cwd = "/" if "home" in name else ROOT
        with Path(output).open("w") as out:
            done = subprocess.run(
                [sys.executable, "-c", program, *arguments], cwd=cwd, env=bare, text=True,
                stdout=out, stderr=subprocess.PIPE,
            )  # fmt: skip
        clear = _one_line(done.returncode, done.stderr)
        tally.add("refused" if clear else "silent", f"{name}: {done.returncode} {done.stderr}")
    return tally


def _pipe(folder: Path) -> Path:
    path = folder / "pipe.nc"
    os.mkfifo(path)
    return path


def _one_line(code: int, said: str) -> bool:
    return code in (1, 2) and said.count("\n") == 1 and said.startswith("srel: error: ")


def _book_kills(folder: Path) -> Tally:
    """`make book` of a small book, killed and started again by the same command."""
    tally = Tally("make book killed, and started again")
    page = "_build/html/chapters/tiny.html"
    command = ["make", "--old-file", f"{sys.prefix}/.ready", "book", "PROFILE=smoke",
               f"VENV={sys.prefix}"]  # fmt: skip

    def book(name: str) -> Path:
        place = make_book(folder / name)
        (place / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
        for needed in ("requirements.lock", "pyproject.toml"):
            (place / needed).touch()
        return place

    def text(place: Path) -> str:
        shown = re.sub(r"<[^>]*>", "", (place / page).read_text())
        return re.sub(r"\d{4}-\d\d-\d\d|in \d+ s", "", shown)

    def start(place: Path) -> "subprocess.Popen[bytes]":
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=place, start_new_session=True, **quiet)

    whole, begun = book("book"), time.monotonic()
    start(whole).wait()
    seconds = time.monotonic() - begun
    for number in range(BOOK_KILLS):
        place = book(f"book-{number}")
        process = start(place)
        moment = seconds * (number + 0.5) / BOOK_KILLS
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moment)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        again = start(place).wait()
        right = again == 0 and text(place) == text(whole)
        tally.add("harmless" if right else "silent", f"after {moment:.1f} s")
    return tally
