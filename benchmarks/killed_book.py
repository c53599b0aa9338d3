"""The whole book, killed at three moments and started again: python benchmarks/killed_book.py

Makes the smoke profile of the last commit twice, each in a clone of its own: once in one go; and
once with all its processes killed (SIGKILL) when the first result is kept, when half the chapters
are executed, and when the pages are being written, and started again by the same command. Prints
in what the pages differ but for times, dates and commits, and writes it with the times to
benchmarks/results/killed_book.json; exit code 1 if they do. Takes twice the time of the book.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _results  # before all that loads torch

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))

from compare_books import differences  # noqa: E402
from toc import sources  # noqa: E402

from srel_core.experiments.provenance import environment  # noqa: E402

COMMAND = ["make", "--old-file", f"{sys.prefix}/.ready", "book", "PROFILE=smoke",
           f"VENV={sys.prefix}"]  # fmt: skip
PAGES = Path("_build/book/smoke/_build/html")
N_CHAPTERS = len(sources(ROOT)[0])


def first_result(book: Path) -> bool:
    return any(book.glob("_build/results/*.nc"))


def half_the_chapters(book: Path) -> bool:
    return len([*book.glob("_build/executed/smoke/[!.]*.ipynb")]) >= N_CHAPTERS // 2


def pages_begun(book: Path) -> bool:
    return any((book / PAGES).glob("**/*.html"))


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the first result is kept": first_result,
    "half the chapters are executed": half_the_chapters,
    "pages are being written": pages_begun,
}


def clone(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    for needed in ("requirements.lock", "pyproject.toml"):  # the environment is this one
        (folder / needed).touch()
    return folder


def start(book: Path, log: Path) -> "subprocess.Popen[bytes]":
    """The command, in a process group of its own, on the code of the clone."""
    without = {n: v for n, v in os.environ.items() if n != "SREL_RESULTS"}
    with log.open("ab") as out:
        return subprocess.Popen(
            COMMAND, cwd=book, env=without | {"PYTHONPATH": str(book)},
            stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


def finish(book: Path, log: Path) -> None:
    if start(book, log).wait():
        sys.exit(f"killed_book: error: the book in {book} failed:\n{log.read_text()[-3000:]}")


def kill_when(reached: Callable[[Path], bool], book: Path, log: Path) -> float:
    """Start the command and kill all its processes then; the seconds until then."""
    begun, process = time.monotonic(), start(book, log)
    while not reached(book):
        if process.poll() is not None:
            sys.exit(f"killed_book: error: it ended before it was killed:\n{log.read_text()}")
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return time.monotonic() - begun


def tried(folder: Path) -> dict[str, Any]:
    whole, killed, log = clone(folder / "whole"), clone(folder / "killed"), folder / "log"
    begun = time.monotonic()
    finish(whole, log)
    seconds = time.monotonic() - begun
    kills = {moment: kill_when(of, killed, log) for moment, of in MOMENTS.items()}
    finish(killed, log)
    return {
        "seconds": round(seconds),
        "killed after seconds": {moment: round(after, 1) for moment, after in kills.items()},
        "files": sum(path.is_file() for path in (whole / PAGES).rglob("*")),
        "differences": differences(whole / PAGES, killed / PAGES),
    }


def main() -> None:
    options = _results.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="srel-killed-book-") as folder:
        found = tried(Path(folder).resolve())
    print(*(f"{name}: {value}" for name, value in found.items()), sep="\n")
    _results.save(options.write_to, "killed_book", {"environment": environment(), **found})
    if found["differences"]:
        sys.exit("killed_book: error: the pages differ")


if __name__ == "__main__":
    main()
