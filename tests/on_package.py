"""`make package`: the wheel in an empty environment, outside the repository.

`make test` leaves it out: the environment takes minutes and some GB. Each fixture installs more
than the one before it into the environment of PACKAGE_PYTHON, so the tests run in their order.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.book import ROOT

PYTHON = Path(os.environ["PACKAGE_PYTHON"])
(WHEEL,) = (ROOT / "dist").glob("*.whl")
(SDIST,) = (ROOT / "dist").glob("*.tar.gz")

FLOWS = """
import sys
import numpy as np
from srel_core.flows import PowerFlow, RadialFlow, RidgeFlow, ReluGateFlow
flow = PowerFlow(target=[1.0, 2.0], beta0=[0.1, 0.1])
assert np.allclose(flow.beta(50.0), [1, 2]) and not {"torch", "numba"} & set(sys.modules)
"""

MEASURE = """
from pathlib import Path
import torch
import srel_core as sc
assert Path(sc.__file__).is_relative_to(Path(torch.__file__).parents[1])
model, y = torch.nn.Linear(4, 3).double(), torch.tensor([0, 1, 2])
x, probes = torch.randn(3, 4).double(), torch.randn(5, 4).double()
fast = sc.influence(model, x, y, probes, rule=sc.SGD(1e-6)).s_rel("kl")
slow = sc.influence(model, x, y, probes, rule=sc.SGD(1e-6), method="loop").s_rel("kl")
limit = sc.tangent_influence(model, x, y, probes).s_rel("kl")
torch.testing.assert_close(fast, slow)
torch.testing.assert_close(fast, limit, rtol=1e-4, atol=0)
recorder = sc.SrelRecorder(model, x, y, probes, rules={"sgd": sc.SGD(1e-3)})
recorder.measure(0)
fit = sc.fit_two_phase(range(20), [min(step, 9) for step in range(20)])
assert abs(fit.break_step - 9) < 1e-6
"""

RECORD = (
    MEASURE
    + """
assert recorder.to_xarray().sizes["probe"] == 5
"""
)

TYPED = """
import torch
import srel_core as sc

x, y = torch.zeros(2, 4), torch.tensor([0, 1])
found = sc.influence(torch.nn.Linear(4, 3), x, y, x, rule=sc.SGD(lr=1e-3))
reveal_type(found.s_rel("kl"))
reveal_type(sc.fit_two_phase([1.0], [1.0]))
"""

MISTAKEN = """
import srel_core as sc
sc.SGD(lr="fast")
"""


def install(*requirements, options=()):
    """Install into the environment, by nothing that this process has set for Python."""
    done = call("-m", "pip", "install", "--quiet", *options, *requirements)
    assert done.returncode == 0, done.stderr


def call(*arguments, program=PYTHON, cwd=None, **environment):
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "SREL_"))}
    command = list(map(str, [program, *arguments]))
    return subprocess.run(
        command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def bare():
    """The package with NumPy and SciPy alone."""
    listed = call("-m", "pip", "list", "--format", "freeze").stdout
    assert "torch==" not in listed, f"the environment of {PYTHON} is not empty"
    install("numpy", "scipy")
    install(WHEEL, options=["--no-deps"])


@pytest.fixture(scope="module")
def plain(bare):
    """The package as `pip install` brings it, and SciPy."""
    install(WHEEL)


@pytest.fixture(scope="module")
def full(plain):
    """The package with the extra `experiments`."""
    install(f"{WHEEL}[experiments]")


def ran(code, folder):
    done = call("-W", "error", "-c", code, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_flows_need_no_torch(bare, tmp_path):
    assert call("-c", "import torch", cwd=tmp_path).returncode == 1
    ran(FLOWS, tmp_path)


def test_measuring_needs_no_extra(plain, tmp_path):
    ran(MEASURE, tmp_path)
    done = call("-c", RECORD, cwd=tmp_path)
    assert "xarray is not there: pip install xarray" in done.stderr


def test_the_command_says_what_it_lacks(plain, tmp_path):
    done = call("--help", program=PYTHON.with_name("srel"), cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("srel: error: click is not installed")


def test_types_reach_users(plain, tmp_path):
    """Read by the mypy of this process, in the environment of the other."""
    for name, code in (("typed", TYPED), ("mistaken", MISTAKEN)):
        (tmp_path / f"{name}.py").write_text(code)
    options = ("-m", "mypy", "--strict", "--python-executable", PYTHON)
    typed = call(*options, "typed.py", program=sys.executable, cwd=tmp_path)
    assert typed.returncode == 0, typed.stdout
    assert 'Revealed type is "torch._tensor.Tensor"' in typed.stdout
    assert 'Revealed type is "srel_core.statistics.phases.TwoPhaseFit"' in typed.stdout
    mistaken = call(*options, "mistaken.py", program=sys.executable, cwd=tmp_path)
    assert mistaken.returncode == 1 and 'expected "float"' in mistaken.stdout


def test_with_its_extra_all_that_is_installed_fits_together(full, tmp_path):
    assert call("-m", "pip", "check").returncode == 0
    ran(RECORD, tmp_path)


def test_the_command_runs_an_experiment(full, tmp_path):
    srel = PYTHON.with_name("srel")
    assert "Measure the local elasticity" in call("--help", program=srel, cwd=tmp_path).stdout
    kept = ("--results-dir", tmp_path / "results")
    done = call("run", "--profile", "smoke", "--quiet", *kept, program=srel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.split():
        checked = call("check", line, program=srel, cwd=tmp_path)
        assert "as its digest says" in checked.stdout, checked.stderr
    assert "commit unknown" in call("list", *kept, program=srel, cwd=tmp_path).stdout


def test_the_source_distribution_installs_the_same(full, tmp_path):
    """Built by pip, with a setuptools that it fetches."""
    for name, file in (("wheel", WHEEL), ("source", SDIST)):
        install(file, options=["--no-deps", "--target", tmp_path / name])
    found = [
        {str(p.relative_to(tmp_path / name)) for p in (tmp_path / name / "srel_core").rglob("*.py")}
        for name in ("wheel", "source")
    ]
    assert found[0] == found[1] and len(found[0]) > 50


def test_the_reference_is_made_from_the_wheel(tmp_path):
    """By the tools of the book, of the package in PYTHONPATH: no warning, and no name missing."""
    book, package = tmp_path / "book", tmp_path / "package"
    book.mkdir()
    install(WHEEL, options=["--no-deps", "--target", package])
    for name in ("_config.yml", "references.bib"):
        shutil.copyfile(ROOT / name, book / name)
    shutil.copytree(ROOT / "tools", book / "tools")
    (book / "_toc.yml").write_text("format: jb-book\nroot: api\n")
    (book / "api.md").write_text("# Reference\n\n:modules: *\n")
    code = (
        "import sys, build_book, srel_core; from pathlib import Path\n"
        "assert Path(srel_core.__file__).is_relative_to(sys.argv[1])\n"
        "done = build_book.jupyter_book(Path.cwd(), Path.cwd())\n"
        "sys.exit(done.stderr if done.returncode else 0)\n"
    )
    path = os.pathsep.join([str(package), str(book / "tools")])
    done = call("-c", code, package, program=sys.executable, cwd=book, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    page = (book / "_build/html/api.html").read_text("utf8")
    assert all(f"srel_core.{name}" in page for name in ("measurement.influence", "flows.ridge"))
