"""Which commit a result is said to come from."""

import re
import subprocess

import pytest

from srel_core.experiments import provenance

OWN = '[project]\nname = "srel-core"\n'


def git(folder, *arguments):
    as_someone = ["-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run(["git", *as_someone, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def commit(tmp_path, monkeypatch):
    """What a result is said to come from if the package lies at `place` in a repository."""

    def commit(place, project, *, tracked=True):
        package = tmp_path / "repository" / place
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package.parent / "pyproject.toml").write_text(project)
        git(tmp_path / "repository", "init", "-q")
        git(tmp_path / "repository", "add", *(["."] if tracked else []))
        git(tmp_path / "repository", "commit", "-qm", "m", "--allow-empty")
        monkeypatch.setattr(provenance, "_HERE", package)
        return provenance.commit()

    return commit


def test_a_package_in_its_own_repository_has_its_commit(commit):
    assert re.fullmatch("[0-9a-f]{12}", commit("srel_core", OWN))


FOREIGN = {
    "installed": (".venv/lib/site-packages/srel_core", "", True),
    "installed, ignored": (".venv/lib/site-packages/srel_core", "", False),
    "copied to the top": ("srel_core", '[project]\nname = "theirs"\n', True),
    "in a project without a name": ("srel_core", "[tool]\n", True),
    "in a broken project": ("srel_core", "[project", True),
    "copied with its project": ("vendor/srel_core", OWN, True),
    "unpacked in an empty repository": ("srel_core", OWN, False),
}


@pytest.mark.parametrize(("place", "project", "tracked"), FOREIGN.values(), ids=FOREIGN.keys())
def test_the_commit_of_another_repository_is_not_its_own(commit, place, project, tracked):
    assert commit(place, project, tracked=tracked) == "unknown"


def test_outside_any_repository_it_is_unknown(tmp_path, monkeypatch):
    (tmp_path / "srel_core").mkdir()
    (tmp_path / "pyproject.toml").write_text(OWN)
    monkeypatch.setattr(provenance, "_HERE", tmp_path / "srel_core")
    assert provenance.commit() == "unknown"


def test_a_program_that_git_runs_for_another_repository(commit, tmp_path, monkeypatch):
    expected = commit("srel_core", OWN)
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    assert provenance.commit() == expected != "unknown"
