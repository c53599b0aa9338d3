"""The example of a training loop of one's own, on images of one's own."""

import re

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.support.book import ROOT, call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Squares that are brighter above or below, 20 × 20 grey pixels."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, half in (("above", slice(0, 10)), ("below", slice(10, 20))):
        for i in range(12):
            pixels = rng.integers(0, 100, (20, 20), dtype=np.uint8)
            pixels[half] += 150
            path = root / ("test" if i < 3 else "train") / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def test_it_runs_on_a_folder_of_images(folder, tmp_path):
    given = ["-p", "profile", "smoke", "-p", "images", folder]
    done = call(ROOT, "run_chapter", "chapters/own_loop.ipynb", tmp_path / "out.ipynb", *given)
    assert done.returncode == 0, done.stderr
    outputs = [
        o for c in nbformat.read(tmp_path / "out.ipynb", 4).cells for o in c.get("outputs", [])
    ]
    text = "\n".join(o.get("data", {}).get("text/markdown", o.get("text", "")) for o in outputs)
    assert "18 images of the classes above, below" in text
    before, after = map(float, re.findall(r"(?:AUC was|it was) ([\d.]+\d)", text))
    assert 0 <= before <= 1 and 0 <= after <= 1
    for row in (r"\| loop \| `sgd` ", r"\| `Trainer` \| `sgd` ", r"\| `Trainer` \| `optimizer` "):
        (cells,) = re.findall(rf"{row}((?:\| [\d.]+ )+)", text)
        assert all(0 <= float(cell) <= 1 for cell in cells.strip("| ").split("|"))
        assert cells.count("|") == 5
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 1


def test_a_folder_that_is_not_there_is_named(folder, tmp_path):
    given = ["-p", "profile", "smoke", "-p", "images", folder / "none"]
    done = call(ROOT, "run_chapter", "chapters/own_loop.ipynb", tmp_path / "out.ipynb", *given)
    assert done.returncode == 1
    assert "DataError" in done.stderr and f"{folder / 'none'}" in done.stderr
