"""pyproject.toml, requirements.lock and environment.yml say the same, and the library imports what
they give it."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.book import ROOT, tool
from tests.test_imports import MEASURE

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
LOCK_TEXT = (ROOT / "requirements.lock").read_text()
PINS = [
    (Requirement(head), hashes)
    for head, hashes in re.findall(
        r"^([^\s#].*?) \\$((?:\n    --hash=.*)+)", LOCK_TEXT, re.MULTILINE
    )
]
LOCKED = {canonicalize_name(pin.name) for pin, _ in PINS}
EXTRAS = PROJECT["optional-dependencies"]


def wanted(*extras):
    """What `pip install .[extras]` asks for; extras that take in others are followed."""
    found = list(PROJECT["dependencies"])
    for extra in extras:
        for text in EXTRAS[extra]:
            requirement = Requirement(text)
            own = canonicalize_name(requirement.name) == PROJECT["name"]
            found += wanted(*requirement.extras) if own else [text]
    return sorted(set(found))


JUPYTER = ("jupyter", "ipykernel", "ipython", "nbformat", "nbclient", "papermill", "myst", "sphinx")


def closure(asked, **system):
    """Names of all packages that the requirements `asked` bring along in this environment, or, as
    far as can be known here, in one of another `system`."""
    found, open_ = set(), [(Requirement(text), "") for text in asked]
    while open_:
        requirement, extra = open_.pop()
        name = canonicalize_name(requirement.name)
        here = {"extra": extra, **system}
        applies = requirement.marker is None or requirement.marker.evaluate(here)
        if not applies or (name, extra) in found:
            continue
        for inner in ("", *requirement.extras):
            found.add((name, inner))
            try:
                open_ += [(Requirement(text), inner) for text in requires(name) or []]
            except PackageNotFoundError:
                assert system, f"{name} is not installed"
    return {name for name, _ in found}


@pytest.mark.parametrize("text", wanted(*EXTRAS))
def test_every_dependency_is_pinned_to_a_version_it_admits(text):
    asked = Requirement(text)
    pins = [pin for pin, _ in PINS if canonicalize_name(pin.name) == canonicalize_name(asked.name)]
    assert pins and not [pin for pin in pins if pin.marker]
    for pin in pins:
        (version,) = pin.specifier
        assert version.operator == "=="
        assert asked.specifier.contains(version.version)


MAC = {"sys_platform": "darwin", "platform_system": "Darwin"}
WINDOWS = {"sys_platform": "win32", "platform_system": "Windows"}


@pytest.mark.parametrize("system", [{}, MAC, WINDOWS])
def test_the_lock_names_all_that_is_installed_with_them(system):
    names = closure(wanted(*EXTRAS), **system)
    assert names <= LOCKED
    assert ("appnope" in names, "colorama" in names) == (system == MAC, system == WINDOWS)


def test_every_pin_has_the_hashes_of_its_files():
    assert len(PINS) == LOCK_TEXT.count("==") - LOCK_TEXT.count(" == ")
    for _, hashes in PINS:
        assert re.fullmatch(r"(\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+", hashes)


def test_what_builds_the_package_is_pinned():
    for text in PYPROJECT["build-system"]["requires"]:
        assert canonicalize_name(Requirement(text).name) in LOCKED


def test_the_conda_environment_is_the_locked_one():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, nested = environment["dependencies"]
    assert pip == "pip" and nested == {"pip": ["--require-hashes", "-r requirements.lock"]}
    name, _, release = python.partition("=")
    assert name == "python"
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(f"{release}.0")
    assert f"--python-version {release} " in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("extras", [(), ("flows",), ("experiments",)])
def test_without_the_book_no_jupyter_package_is_brought(extras):
    names = closure(wanted(*extras))
    assert "torch" in names
    assert [name for name in names if name.startswith(JUPYTER)] == []


# Module or package → the extra that brings what it imports; the longest name counts.
NEEDS = {
    "": (),
    "flows": ("flows",),
    "statistics.class_summary": ("experiments",),
    "statistics.intervals": ("experiments",),
    "statistics.planner": ("experiments",),
    "experiments": ("experiments",),
    "book": ("experiments",),
    "cli": ("experiments",),
    "integrations.lightning": ("lightning",),
    "integrations.transformers": ("transformers",),
}


@cache
def distributions():
    """Package → the distributions that it may come from, here."""
    return packages_distributions()


def imported(path):
    """Packages that a module cannot do without: neither for types alone, nor met by an error."""
    tree = ast.parse(path.read_text("utf8"))
    optional = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and "ModuleNotFoundError" in map(caught, node.handlers)
        for inner in ast.walk(node)
    }
    for node in tool("depends").nodes(tree):
        if isinstance(node, ast.Import) and id(node) not in optional:
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and id(node) not in optional:
            yield node.module.partition(".")[0]


def caught(handler):
    return ast.unparse(handler.type) if handler.type else ""


def test_every_module_imports_what_its_extra_brings():
    brought = distributions()
    for name, path in tool("depends").Library(ROOT).modules.items():
        inside = name.partition(".")[2]
        part = max((n for n in NEEDS if not n or f"{inside}.".startswith(f"{n}.")), key=len)
        given = {canonicalize_name(Requirement(text).name) for text in wanted(*NEEDS[part])}
        for package in set(imported(path)) - sys.stdlib_module_names - {"srel_core"}:
            names = {canonicalize_name(name) for name in brought[package]}
            assert names & given, f"{name} imports {package}: not in {sorted(given)}"


def without_extras(code, *but):
    """A run of `code` with nothing but what `pip install .` brings, and the packages `but`."""
    kept = closure(wanted()) | {*but}
    absent = {
        package
        for package, names in distributions().items()
        if not {canonicalize_name(name) for name in names} & kept and package != "srel_core"
    }
    hidden = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Finder(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] not in {absent}:\n"
        "            return super().find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Finder\n"
    )
    command = [sys.executable, "-c", hidden + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_measuring_needs_no_extra_and_says_what_the_rest_needs():
    code = (
        f"{MEASURE.replace('.measure(0)', '')}"
        "recorder = sc.SrelRecorder(model, x, y, x, rules={'sgd': sc.SGD(1e-3)})\n"
        "recorder.measure(0)\n"
        "sc.fit_two_phase(range(20), [min(t, 9) for t in range(20)])\n"
        "try:\n"
        "    recorder.to_xarray()\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = without_extras(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "to_xarray gives an xarray.Dataset, and xarray is not there: pip install xarray\n"
    )


@pytest.mark.parametrize(
    ("there", "absent"),
    [((), "click"), (("click",), "h5py"), (("click", "h5py"), "xarray")],
)
def test_the_command_says_in_one_line_what_to_install(there, absent):
    done = without_extras("from srel_core.cli import main; main(['check', 'README.md'])", *there)
    assert done.returncode == 1 and done.stderr == (
        f"srel: error: {absent} is not installed: call pip install '.[experiments]' in a clone of "
        "srel_core's repository\n"
    )


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
