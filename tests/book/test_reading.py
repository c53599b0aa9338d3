"""What is committed can be read without what it was made with."""

import pytest

from tests.support.book import ROOT
from tests.test_imports import loaded_by

READ = f"""
from srel_core.book.committed import files, regression_file
from srel_core.book.claims.of_the_paper import claims
folder = {str(ROOT / "results")!r}
assert files.load_all(folder) and regression_file.load(folder) is not None
assert len(claims(folder)) == 5
"""


def test_reading_loads_neither_the_engine_nor_torch():
    loaded = loaded_by(READ)
    assert "srel_core.book.committed.schema" in loaded
    made_with = (
        "torch", "srel_core.engine", "srel_core.measurement", "srel_core.recorder",
        "srel_core.experiments.class_experiment", "srel_core.experiments.regression",
    )  # fmt: skip
    assert [m for m in loaded if m.startswith(made_with)] == []


@pytest.mark.parametrize("module", ["published.numbers", "text.verdict_tables"])
def test_facts_and_tables_need_no_torch(module):
    assert "torch" not in loaded_by(f"import srel_core.book.{module}")
