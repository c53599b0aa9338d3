"""Each chapter runs alone, and says what its results say."""

import json
import re

import nbformat
import numpy as np
import pytest

from srel_core.experiments import result_files
from srel_core.experiments.profiles import class_experiments
from srel_core.statistics.class_summary import class_summary
from tests.support.book import ROOT, call

SMALL = {"profile": "smoke", "seeds": "[0]", "epochs": "1", "probes_per_class": "2"}


@pytest.fixture(scope="module")
def class_srel(tmp_path_factory):
    """The executed chapter and the folder of its results."""
    folder = tmp_path_factory.mktemp("chapter")
    out = folder / "class_srel.ipynb"
    parameters = {**SMALL, "results_dir": str(folder / "results"), "rule": "sgd:1e-3"}
    given = [word for name, value in parameters.items() for word in ("-p", name, value)]
    done = call(ROOT, "run_chapter", "chapters/class_srel.ipynb", out, *given)
    assert done.returncode == 0, done.stderr
    return nbformat.read(out, as_version=4), folder / "results"


def _text(notebook):
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "\n".join(o.get("data", {}).get("text/markdown", o.get("text", "")) for o in outputs)


def test_class_srel_reports_the_numbers_of_its_results(class_srel):
    notebook, folder = class_srel
    (experiment,) = class_experiments(
        "smoke", seeds=(0,), epochs=1, probes_per_class=2,
        rules=("adam:1e-4", "sgd:1e-4", "tangent", "sgd:1e-3"),
    )  # fmt: skip
    assert [path.name for path in folder.iterdir()] == [experiment.file_name]
    ending = class_summary([experiment.run(folder)]).isel(step=-1)
    text = _text(notebook)
    for rule in ending.rule.values:
        auc = float(ending.auc.sel(rule=rule, divergence="kl"))
        assert f"| `{rule}` | class-based | {auc:.2f} " in text
    difference = float(text.split("largest difference: ")[1].split()[0])
    assert difference < 1e-14


def test_class_srel_says_prefers_only_where_the_interval_does(class_srel):
    notebook, _ = class_srel
    rows = [line for line in _text(notebook).splitlines() if line.startswith("| `")]
    rows = [row for row in rows if "[" in row]
    assert len(rows) == 8
    for row in rows:
        low, high = (float(v) for v in row.split("[")[1].split("]")[0].split(", "))
        says_own = "prefers its own class" in row
        assert says_own == (low > 0.5) or np.isclose(low, 0.5, atol=0.005)
        assert ("prefers *other* classes" in row) == (high < 0.5) or np.isclose(
            high, 0.5, atol=5e-3
        )


def test_class_srel_has_every_checkpoint_behind_its_slider(class_srel):
    notebook, folder = class_srel
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    (page,) = [
        o.data["text/html"]
        for o in outputs
        if 'type="range"' in o.get("data", {}).get("text/html", "")
    ]
    kept = json.loads(re.search(r"const data = (.*);\n", page)[1])
    (path,) = folder.iterdir()
    steps = result_files.load(path).step.values
    assert kept["values"] == [str(step) for step in steps]
    assert len(kept["texts"]) == len(steps)
