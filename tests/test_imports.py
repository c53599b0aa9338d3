"""What `import srel_core` brings with it, and what it does not."""

import subprocess
import sys
from pkgutil import iter_modules

import pytest

import srel_core as sc
from srel_core import experiments, statistics
from tests.support.book import TOOLS

MEASURE = """
import torch
import srel_core as sc
model, x, y = torch.nn.Linear(3, 2), torch.randn(2, 3), torch.tensor([0, 1])
sc.influence(model, x, y, x, rule=sc.SGD(1e-3))
sc.tangent_influence(model, x, y, x)
sc.SrelRecorder(model, x, y, x, rules={"adam": sc.Adam(1e-3)}).measure(0)
"""


def loaded_by(script):
    """The modules that a fresh Python has loaded after a script."""
    script += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_measurement_needs_neither_experiments_nor_book():
    loaded = loaded_by(MEASURE)
    assert "srel_core.engine.methods" in loaded
    above = ("srel_core.experiments", "srel_core.book", "srel_core.cli", "srel_core.flows")
    assert not [m for m in loaded if m.startswith(above)]


def test_flows_and_statistics_need_no_torch():
    """Nor xarray, which summaries import where they make a dataset."""
    modules = ["flows", *(f"statistics.{m.name}" for m in iter_modules(statistics.__path__))]
    script = "; ".join(f"import srel_core.{module}" for module in modules)
    assert len(modules) > 5 and not {"torch", "xarray", "pandas"} & loaded_by(script)


@pytest.mark.parametrize("package", [sc, experiments], ids=lambda package: package.__name__)
def test_everything_that_users_call_is_listed_and_there(package):
    assert set(package.__all__) <= set(dir(package))
    assert set(package.__all__) == set(package._MODULE_OF)
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute 'influense'"):
        getattr(package, "influ" + "ense")


def test_nothing_waits_for_torch_to_say_what_executed_a_chapter(monkeypatch, tmp_path):
    """It takes longer to import than many a chapter to execute. Where a GPU is, it is asked."""
    script = f"import sys; sys.path.append({str(TOOLS)!r}); import nbformat, record\n"
    script += "notebook = nbformat.v4.new_notebook(); record.keep(notebook, {})\n"
    script += "kept = notebook.metadata.srel_core.environment; assert kept.device and kept.commit\n"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "torch" not in loaded_by(script)
    smi = tmp_path / "nvidia-smi"
    smi.touch()
    smi.chmod(0o700)
    assert "torch" in loaded_by(script)


def test_a_package_loads_nothing_before_it_is_asked():
    loaded = loaded_by("import srel_core.experiments")
    assert not loaded & {"torch", "numpy", "xarray", "srel_core.experiments.class_experiment"}
