"""What `make book` says of its progress."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.book import TOOLS

sys.path.append(str(TOOLS / "plugins"))

from snakemake_logger_plugin_progress import (
    TYPICAL,
    Progress,
    in_words,
    read_times,
)

TIMES = {"laptop/a": 10.0, "laptop/b": 30.0, "smoke/a": 1.0, "book": 20.0}


def test_what_is_left_is_what_the_jobs_typically_take():
    new = Progress(TIMES, 3)
    assert new.left({"laptop/a": 0.0}) == 10 + 2 * 30  # the mean of those that may follow
    assert new.left({"laptop/a": 4.0}) == 6 + 2 * 30
    done = Progress(TIMES, 3, {"laptop/a": 10.0, "laptop/b": 30.0})
    assert done.left({"book": 0.0}) == 20


def test_jobs_that_run_side_by_side_share_the_work_until_the_longest_is_left():
    typical = {f"laptop/{i}": 10.0 for i in range(8)}
    assert Progress(typical, 8).left({"laptop/0": 0.0, "laptop/1": 0.0}, 2) == 40
    assert Progress(TIMES, 2).left({"laptop/b": 5.0, "laptop/a": 0.0}, 2) == 25


@given(st.floats(0.1, 50))
def test_a_slower_machine_is_believed_more_and_more(factor):
    typical = {f"laptop/{i}": 60.0 for i in range(20)}
    estimates = []
    for n in (0, 5, 19):
        done = {f"laptop/{i}": factor * 60.0 for i in range(n)}
        left = Progress(typical, 20, done).left({f"laptop/{n}": 0.0})
        estimates.append(left / (60.0 * (20 - n)))
    assert estimates[0] == pytest.approx(1)
    apart = [abs(estimate - factor) for estimate in estimates]
    assert apart == sorted(apart, reverse=True)
    assert estimates[-1] == pytest.approx(factor, rel=0.3)


def test_without_times_nothing_is_foretold_before_the_first_job_has_ended():
    assert Progress({}, 4).left({"paper/a": 0.0}) is None
    left = Progress({}, 4, {"paper/a": 100.0}).left({"paper/b": 0.0})
    assert left == pytest.approx(300)


def test_times_in_words():
    words = [in_words(seconds) for seconds in (0, 42, 56, 200, 3600, 7800)]
    assert words == ["0 s", "40 s", "1 min", "3 min", "1 h 0 min", "2 h 10 min"]


@pytest.mark.parametrize("text", ["", "[]", '{"seconds": 3}', '{"seconds": {"a": "x"}}'])
def test_a_file_that_is_none_of_ours_is_no_reason_to_stop(tmp_path, text):
    path = tmp_path / "times.json"
    path.write_text(text)
    assert read_times(path) == {}


def test_the_typical_times_are_of_this_book():
    chapters = [path.stem for path in (TOOLS.parent / "chapters").glob("*.ipynb")]
    wanted = {f"{profile}/{name}" for profile in ("smoke", "laptop") for name in chapters}
    assert read_times(TYPICAL).keys() == wanted | {"book"}


SNAKEFILE = """
rule all:
    input: "executed/laptop/a.ipynb", "executed/laptop/b.ipynb"
rule chapter:
    output: "executed/{profile}/{name}.ipynb"
    threads: 1024
    shell: "test {wildcards.name} != $BROKEN && touch {output}"
"""


def _snakemake(folder: Path, broken: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("snakemake")
    options = "--cores 1 --nolock --logger progress --quiet host reason rules progress"
    return subprocess.run(
        [str(program), *options.split()],
        cwd=folder, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(TOOLS / "plugins"), "BROKEN": broken,
             "HOME": str(folder)},
    )  # fmt: skip


def test_a_line_for_each_job_and_what_it_took_for_the_next_time(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    failed = _snakemake(tmp_path, broken="b")
    assert failed.returncode != 0
    again = _snakemake(tmp_path, broken="none")
    assert again.returncode == 0, again.stderr
    line = r"progress: (\d) of (\d): (\S+); \d+ s so far, about .* left"
    said = re.findall(line, again.stderr)
    assert ("laptop/b" in [job for _, _, job in said]) and len(said) in (1, 2)
    kept = json.loads((tmp_path / "_build/times.json").read_text())["seconds"]
    assert set(kept) == {"laptop/a", "laptop/b"}
