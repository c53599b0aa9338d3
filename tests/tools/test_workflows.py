"""Workflow files only call make, with targets that there are, and actions of one fixed commit."""

import re

import pytest
import yaml

from tests.support.book import ROOT, run

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}")
CALL = re.compile(r"(?:sudo )?make ([a-z-]+)((?: [A-Z]+=[\w.]+)*)")
MATRIX = re.compile(r"\$\{\{ matrix\.(\w+) \}\}")


JOBS = {
    f"{path.stem}-{name}": job
    for path in WORKFLOWS
    for name, job in yaml.safe_load(path.read_text("utf8"))["jobs"].items()
}


def commands(job):
    """What the job's steps run, for each member of its matrix."""
    members = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
    for step in job["steps"]:
        if "run" in step:
            for member in members:
                yield MATRIX.sub(lambda found, of=member: of[found[1]], step["run"])


def test_there_is_one_for_tests_book_and_release():
    assert [path.stem for path in WORKFLOWS] == ["book", "release", "tests"]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
def test_each_step_calls_make_or_a_pinned_action(job):
    for step in job["steps"]:
        assert "run" in step or PINNED.fullmatch(step["uses"])
    for command in commands(job):
        assert CALL.fullmatch(command), command


def test_what_make_is_called_with_is_there():
    found = [command for job in JOBS.values() for command in commands(job)]
    assert len(found) > 5
    for command in found:
        target, variables = CALL.fullmatch(command).groups()
        done = run(ROOT, "make", "--dry-run", "--question", target, *variables.split())
        assert done.returncode < 2, done.stderr
    assert run(ROOT, "make", "--dry-run", "--question", "no-such-target").returncode == 2


def test_the_versions_tested_are_those_that_the_package_names():
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf8"))
    members = workflow["jobs"]["versions"]["strategy"]["matrix"]["include"]
    named = re.findall(r"Python :: (\d+\.\d+)", (ROOT / "pyproject.toml").read_text("utf8"))
    assert {member["python"] for member in members} == set(named)
