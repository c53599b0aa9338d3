"""`make book` after a kill, and twice at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.support.book import CHAPTER, ROOT, make_book, run

PAGE = "_build/html/chapters/tiny.html"
COMMAND = ["make", "--old-file", f"{sys.prefix}/.ready", "book", "PROFILE=smoke"]
COMMAND += [f"VENV={sys.prefix}"]


@pytest.fixture
def book(tmp_path):
    """A book whose chapter waits, once it has said so in `waits`, for as long as there is `hold`;
    it notes in `executed` that it went on."""
    wait = f"""
import time
from pathlib import Path
here = Path({str(tmp_path)!r})
(here / "waits").touch()
while (here / "hold").exists():
    time.sleep(0.05)
with (here / "executed").open("a") as log:
    log.write("once ")
"""
    book = make_book(tmp_path / "book", CHAPTER.replace("total = sum", f"{wait}\ntotal = sum"))
    shutil.copyfile(ROOT / "Makefile", book / "Makefile")
    for name in ("requirements.lock", "pyproject.toml"):
        (book / name).touch()
    return book


@pytest.fixture
def start(book):
    """Start `make book`, as a terminal does: in a process group of its own."""
    started = []

    def begin():
        path = book.parent / f"{len(started)}.log"
        with path.open("w") as log:
            started.append(
                subprocess.Popen(COMMAND, cwd=book, stdout=log, stderr=log, start_new_session=True)
            )
        return started[-1], path

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("moment", ["in a chapter", "making pages"])
def test_after_a_kill_the_same_command_goes_on(book, start, moment):
    if moment == "in a chapter":
        (book.parent / "hold").touch()
    process, _ = start()
    mark = book.parent / "waits"
    if moment == "making pages":
        mark = book / "_build/executed/smoke/tiny.ipynb"
    wait_until(mark.exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (book / PAGE).exists()
    (book.parent / "hold").unlink(missing_ok=True)
    done = run(book, *COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smoke: 502503, 0.5, [0, 1]" in (book / PAGE).read_text()
    assert not (book / "_build/html/html").exists()


def test_the_second_of_two_at_once_waits_and_repeats_nothing(book, start):
    (book.parent / "hold").touch()
    first, _ = start()
    wait_until((book.parent / "waits").exists)
    second, log = start()
    wait_until(lambda: "waiting for another process at work in _build" in log.read_text())
    (book.parent / "hold").unlink()
    assert (first.wait(), second.wait()) == (0, 0), log.read_text()
    assert (book.parent / "executed").read_text() == "once "
    assert (book / PAGE).exists() and not (book / "_build/html/html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Run a command of which one at a time may work"),
        (("/dev/null/lock", "true"), "one_at_a_time: error: /dev/null: "),
        (("{}/lock", "no-such-command"), "one_at_a_time: error: no-such-command: No such file"),
    ],
)
def test_a_wrong_call_gets_one_line(tmp_path, arguments, said):
    call = [sys.executable, ROOT / "tools/one_at_a_time.py", *arguments]
    done = run(tmp_path, *(str(word).format(tmp_path) for word in call))
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
