"""The wheel and the source distribution, built as `make package` builds them."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

from tests.support.book import ROOT, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
DESCRIPTION = ROOT / PROJECT["readme"]
BESIDE = ("pyproject.toml", "MANIFEST.in", "LICENSE", "CHANGELOG.md", "CITATION.cff")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of both files; built from a copy, since setuptools writes beside the sources."""
    copy = tmp_path_factory.mktemp("package")
    for name in BESIDE:
        shutil.copyfile(ROOT / name, copy / name)
    for name in ("srel_core", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = run(copy, sys.executable, "-m", "build", "--no-isolation")
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


def sources(*patterns):
    """Names of files of the package that are under version control."""
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns)
    return set(listed.stdout.split())


def test_an_index_would_take_both(built):
    files = sorted(built.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    done = run(built, sys.executable, "-m", "twine", "check", "--strict", *files)
    assert done.returncode == 0 and done.stdout.count("PASSED") == 2, done.stdout + done.stderr


def test_the_wheel_holds_the_package_with_its_types_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == sources("srel_core") - {PROJECT["readme"]}
    assert "srel_core/py.typed" in inside


def test_the_source_distribution_holds_what_the_wheel_is_built_from(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert sources("srel_core") | {*BESIDE} <= names
    assert not [name for name in names if name.startswith("tests")]


def test_the_description_has_no_links_that_only_the_repository_knows():
    targets = re.findall(r"\]\(([^)]+)\)", DESCRIPTION.read_text("utf8"))
    assert targets and all(target.startswith("https://") for target in targets)


def test_the_example_of_the_description_runs():
    (code,) = re.findall(r"```python\n(.*?)```", DESCRIPTION.read_text("utf8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "torch.Size([6, 5])\n"), done.stderr
