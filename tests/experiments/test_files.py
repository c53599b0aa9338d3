"""What processes do to files they share, and what killed ones leave behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from srel_core.experiments import files, result_files
from tests.support.results import EXPECTED, names, small_result

WRITING = """
import sys, time
from pathlib import Path
from srel_core.experiments import files
def slowly(partial):
    partial.write_text("half")
    Path(sys.argv[2]).touch()
    while not Path(sys.argv[3]).exists():
        time.sleep(0.02)
files.write_atomically(Path(sys.argv[1]), slowly)
"""


@pytest.fixture
def writer(tmp_path):
    """Another process that is half-way through writing `small.nc`, in a folder of its own."""
    folder = tmp_path / "results"
    half, go = tmp_path / "half", tmp_path / "go"
    process = subprocess.Popen([sys.executable, "-c", WRITING, folder / "small.nc", half, go])
    deadline = time.monotonic() + 60
    while not half.exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    yield process, folder, go
    process.kill()
    process.wait()


def test_what_a_killed_process_left_is_cleared_away_by_the_next(writer):
    process, folder, _ = writer
    process.kill()
    process.wait()
    (folder / ".small.nc.lock").touch()
    (folder / ".small.state.safetensors.7.partial").write_text("half")
    (folder / "..writable.7.partial").touch()
    (folder / ".other.nc.7.partial").touch()
    state = folder / "small.state.safetensors"
    state.write_text("of the unfinished run")
    assert len(names(folder)) == 6
    assert result_files.load_kept(folder / "small.nc", EXPECTED, state) is None
    assert names(folder) == [".other.nc.7.partial", ".small.nc.lock", "small.state.safetensors"]
    result_files.save(small_result(), folder / "small.nc")
    assert result_files.load_kept(folder / "small.nc", EXPECTED, state) is not None
    assert names(folder) == [".other.nc.7.partial", "small.nc"]


def test_whoever_writes_a_file_again_removes_what_a_killed_process_left_of_it(writer):
    """Of a committed file or a benchmark's, for which nobody asks before it is written."""
    process, folder, _ = writer
    other = folder / ".small.nc.bak.7.partial"
    other.touch()
    files.write_atomically(folder / "small.nc", lambda partial: partial.write_text("first"))
    assert names(folder) == sorted([f".small.nc.{process.pid}.partial", "small.nc", other.name])
    process.kill()
    process.wait()
    files.write_atomically(folder / "small.nc", lambda partial: partial.write_text("whole"))
    assert names(folder) == [other.name, "small.nc"]
    assert (folder / "small.nc").read_text() == "whole"


def test_what_a_living_process_writes_is_left_to_it(writer):
    process, folder, go = writer
    assert result_files.load_kept(folder / "small.nc", EXPECTED) is None
    assert names(folder) == [f".small.nc.{process.pid}.partial"]
    go.touch()
    assert process.wait() == 0
    assert names(folder) == ["small.nc"] and (folder / "small.nc").read_text() == "half"


def test_the_state_of_a_run_that_another_process_has_locked_is_left_to_it(tmp_path):
    path, state = tmp_path / "small.nc", tmp_path / "small.state.safetensors"
    with files.alone(path, pytest.fail):
        state.touch()
        result_files.save(small_result(), path)
        assert result_files.load_kept(path, EXPECTED, state) is not None
        assert state.exists()
    assert result_files.load_kept(path, EXPECTED, state) is not None
    assert names(tmp_path) == ["small.nc"]


def test_without_locks_no_open_file_is_renamed_or_removed(tmp_path, monkeypatch):
    """Windows, which has no such locks, would refuse."""
    opened, moved = [], []
    replace, unlink, open_file = Path.replace, Path.unlink, Path.open

    def remember(path, *arguments, **options):
        opened.append(open_file(path, *arguments, **options))
        return opened[-1]

    def checked(move):
        def only_closed(path, *arguments, **options):
            moved.append(path)
            assert not any(f.name == str(path) and not f.closed for f in opened)
            return move(path, *arguments, **options)

        return only_closed

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(Path, "open", remember)
    monkeypatch.setattr(Path, "replace", checked(replace))
    monkeypatch.setattr(Path, "unlink", checked(unlink))
    with files.alone(tmp_path / "small.nc", pytest.fail):
        result_files.save(small_result(), tmp_path / "small.nc")
    assert len(moved) > 3 and names(tmp_path) == ["small.nc"]


def test_without_locks_nothing_is_cleared_away(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    (tmp_path / ".small.nc.7.partial").touch()
    monkeypatch.setattr("fcntl.flock", unsupported)
    assert result_files.load_kept(tmp_path / "small.nc", EXPECTED) is None
    result_files.save(small_result(), tmp_path / "small.nc")
    assert names(tmp_path) == [".small.nc.7.partial", "small.nc"]


def test_a_file_that_was_cleared_away_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock = files._lock
    cleared = []

    def late(file, wait=True):
        if not cleared:
            cleared.append(Path(file.name))
            cleared[0].unlink()
        return lock(file, wait)

    monkeypatch.setattr(files, "_lock", late)
    files.write_atomically(tmp_path / "a", lambda partial: partial.write_text("whole"))
    assert cleared and (tmp_path / "a").read_text() == "whole" and names(tmp_path) == ["a"]


def test_a_failed_write_says_what_failed_and_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_text("former")
    with pytest.raises(
        files.ResultError, match=r"a in .*: the file cannot be filled .*No space"
    ) as c:
        files.write_atomically(tmp_path / "a", lambda _: Path("/dev/full").write_text("x" * 9999))
    assert "nothing was written: make room, or choose another" in str(c.value)
    (tmp_path / "b").mkdir()
    with pytest.raises(files.ResultError, match="b in .*: it cannot be put in place") as c:
        files.write_atomically(tmp_path / "b", lambda partial: partial.write_text("x"))
    assert "make room" not in str(c.value)
    with pytest.raises(files.ResultError, match="the folder cannot be made") as c:
        files.write_atomically(tmp_path / "a" / "c", pytest.fail)
    assert names(tmp_path) == ["a", "b"] and (tmp_path / "a").read_text() == "former"


@pytest.mark.parametrize("thing", ["a pipe", "a folder", "another user's"])
def test_a_lock_that_cannot_be_taken_gets_one_line(tmp_path, monkeypatch, thing):
    lock = tmp_path / ".small.nc.lock"
    if thing == "a pipe":
        os.mkfifo(lock)
    elif thing == "a folder":
        lock.mkdir()
    else:
        was = Path.open

        def refused(path, *arguments, **options):
            if path == lock:
                raise PermissionError(13, "Permission denied", str(path))
            return was(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", refused)
    said = "cannot lock .*lock .Permission denied.: remove it" if thing[-1] == "s" else "not a file"
    with (
        pytest.raises(files.ResultError, match=said),
        files.alone(tmp_path / "small.nc", pytest.fail),
    ):
        pytest.fail("nobody may work here")


SETTING_ASIDE = """
import sys, time
from pathlib import Path
from srel_core.experiments import files, result_files
from tests.support.results import EXPECTED
path = Path(sys.argv[1])
read = files.read
def all_at_once(asked):
    raw = read(asked)
    (asked.parent / sys.argv[2]).touch()
    while len([*asked.parent.glob("ready*")]) < 3:
        time.sleep(0.01)
    return raw
result_files.read = all_at_once
assert result_files.load_kept(path, EXPECTED) is None
"""


def test_several_processes_that_find_the_same_damage_all_go_on(tmp_path):
    path = tmp_path / "small.nc"
    path.write_text("junk")
    processes = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", SETTING_ASIDE, path, f"ready{n}"])
        for n in range(3)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert names(tmp_path) == ["ready0", "ready1", "ready2", "small.nc.damaged"]
    assert (tmp_path / "small.nc.damaged").read_text() == "junk"


WRITING_OFTEN = """
import sys
from pathlib import Path
from srel_core.experiments import files
for _ in range(30):
    files.write_atomically(Path(sys.argv[1]), lambda part: part.write_text(sys.argv[2] * 1000))
"""


def test_processes_that_write_and_clear_away_at_once_do_not_harm_each_other(tmp_path):
    path = tmp_path / "small.nc"
    command = [sys.executable, "-c", WRITING_OFTEN, path]
    writers = [subprocess.Popen([*command, word]) for word in "ab"]
    while any(process.poll() is None for process in writers):
        files.clear_away(path)
        time.sleep(0.002)
        if path.exists():
            assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert [process.returncode for process in writers] == [0, 0]
    assert names(tmp_path) == ["small.nc"]


def test_a_process_that_is_killed_lifts_its_lock(tmp_path):
    script = """
import sys, time
from pathlib import Path
from srel_core.experiments.files import alone
with alone(Path(sys.argv[1]), lambda: None):
    print("working", flush=True)
    time.sleep(60)
"""
    path = tmp_path / "small.nc"
    process = subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "working\n"
    waited = []
    with files.alone(path, lambda: (waited.append(1), os.kill(process.pid, signal.SIGKILL))):
        assert waited == [1]
    process.stdout.close()
    process.wait()
    assert not names(tmp_path)
