"""Threads that wait leave their core to other processes in whatever is started here, unless the
user has it otherwise. OpenMP reads it once, when torch is loaded."""

import os
import subprocess
import sys

import pytest

from tests.support.book import CHAPTER, ROOT, make_book

VARIABLE = "OMP_WAIT_POLICY"
KEPT = pytest.mark.parametrize(("given", "seen"), [({}, "PASSIVE"), ({VARIABLE: "x"}, "x")])
# Prints the variable in place of loading torch, or at the end of what never loads it.
WATCHED = f"""
import os, sys
def end():
    print(os.environ.get("{VARIABLE}"), flush=True)
    os._exit(0)
class Watch:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            end()
sys.meta_path.insert(0, Watch)
sys.path.insert(0, "benchmarks")
%s
end()
"""


def called(given, *command, folder=ROOT):
    others = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=others | given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@KEPT
def test_the_command_line(given, seen):
    code = WATCHED % 'from srel_core.cli import main; main(["env"])'
    assert called(given, sys.executable, "-c", code) == f"{seen}\n"


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "benchmarks").glob("[!_]*.py")))
def test_benchmarks(name):
    code = WATCHED % f"import {name}"
    assert called({}, sys.executable, "-c", code) == "PASSIVE\n"
    assert called({VARIABLE: "x"}, sys.executable, "-c", code) == "x\n"


@KEPT
def test_what_make_calls(given, seen, tmp_path):
    (tmp_path / "more").write_text(f"show:\n\t@echo $${VARIABLE}\n")
    assert (
        called(
            given, "make", "--no-print-directory", "-f", "Makefile", "-f", tmp_path / "more", "show"
        )
        == f"{seen}\n"
    )


@KEPT
def test_the_kernel_of_a_chapter(given, seen, tmp_path):
    chapter = f"{CHAPTER}\n# %%\nassert os.environ['{VARIABLE}'] == '{seen}'\n"
    book = make_book(tmp_path / "book", chapter)
    call = (sys.executable, "tools/run_chapter.py", "chapters/tiny.ipynb", "out.ipynb")
    called(given, *call, folder=book)
    assert (book / "out.ipynb").exists()
