"""pyproject.toml, requirements.lock and environment.yml say the same."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import requires

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.book import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = {
    canonicalize_name(pin.name): pin
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
    for pin in [Requirement(line)]
}
EXTRAS = PROJECT["optional-dependencies"]
JUPYTER = ("jupyter", "ipykernel", "ipython", "nbformat", "nbclient", "papermill", "myst", "sphinx")


def closure(wanted):
    """Names of all packages that the requirements `wanted` bring along in this environment."""
    found, open_ = set(), [(Requirement(text), "") for text in wanted]
    while open_:
        requirement, extra = open_.pop()
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if not applies or (name, extra) in found:
            continue
        for inner in ("", *requirement.extras):
            found.add((name, inner))
            open_ += [(Requirement(text), inner) for text in requires(name) or []]
    return {name for name, _ in found}


@pytest.mark.parametrize(
    "text", [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
)
def test_every_dependency_is_pinned_to_a_version_it_admits(text):
    wanted = Requirement(text)
    (pin,) = LOCK[canonicalize_name(wanted.name)].specifier
    assert pin.operator == "=="
    assert wanted.specifier.contains(pin.version)


def test_the_lock_names_all_that_is_installed_with_them():
    everything = [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    assert closure(everything) <= set(LOCK)


def test_the_conda_environment_is_the_locked_one():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, nested = environment["dependencies"]
    assert pip == "pip" and nested == {"pip": ["-r requirements.lock", "-e ."]}
    name, _, release = python.partition("=")
    assert name == "python"
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{release}.0")
    assert f"Python {release}." in (ROOT / "requirements.lock").read_text()


def test_the_library_alone_brings_no_jupyter_package():
    names = closure(PROJECT["dependencies"])
    assert "torch" in names
    assert [name for name in names if name.startswith(JUPYTER)] == []


def test_importing_the_library_imports_no_jupyter_package():
    code = (
        "import json, pkgutil, sys, srel_core\n"
        "for module in pkgutil.walk_packages(srel_core.__path__, 'srel_core.'):\n"
        "    __import__(module.name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert [name for name in json.loads(done.stdout) if name.lower().startswith(JUPYTER)] == []
