"""The campaign of faults would notice if something were silent."""

import sys

import numpy as np
import pytest

from srel_core.experiments import result_files
from tests.support.book import ROOT
from tests.support.datasets import random_pixels, write_pets


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    sys.path.append(str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


def test_a_table_counts_what_became_of_each_fault():
    from _fault_table import Tally

    tally = Tally("a fault")
    for outcome in ("refused", "silent", "refused", "harmless"):
        tally.add(outcome, outcome)
    assert tally.row() == {
        "fault": "a fault", "tried": 4, "refused": 2, "harmless": 1, "silent": 1
    }  # fmt: skip
    assert tally.silent == ["silent"]


def test_other_numbers_are_seen(tmp_path):
    import _fault_files

    kind = _fault_files._committed(tmp_path, "regression.nc")
    path = tmp_path / "committed/regression.nc"
    assert kind.judge(kind.content) == "harmless"
    assert kind.judge(kind.content[: len(kind.content) // 2]) == "refused"
    whole = result_files.load(path)
    result_files.save(whole.assign(moved=whole.moved * 2), path)
    assert kind.judge(path.read_bytes()) == "silent"
    assert path.read_bytes() == kind.content  # put back after each fault


def test_a_committed_file_that_is_vouched_for_is_seen(tmp_path):
    import _fault_committed

    assert _fault_committed._vouched_for(ROOT / "results/regression.nc") == "silent"
    whole = result_files.load(ROOT / "results/regression.nc")
    result_files.save(_fault_committed.REGRESSION["all passed"](whole), tmp_path / "regression.nc")
    assert _fault_committed._vouched_for(tmp_path / "regression.nc") == "refused"


def test_other_images_are_seen(tmp_path):
    import _fault_images

    from srel_core.experiments.datasets import load_images

    write_pets(tmp_path / "pets", random_pixels(4))
    whole = load_images(f"folder:{tmp_path / 'pets'}")
    assert _fault_images._loaded(tmp_path / "pets", whole) == "harmless"
    write_pets(tmp_path / "pets", np.flip(random_pixels(4), 1))
    assert _fault_images._loaded(tmp_path / "pets", whole) == "silent"
    (tmp_path / "pets/train/cat/x.png").write_text("none")
    assert _fault_images._loaded(tmp_path / "pets", whole) == "refused"
