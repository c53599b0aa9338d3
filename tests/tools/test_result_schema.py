"""The page on results as files names all that stands in them, and nothing else."""

import pytest

from srel_core.experiments.profiles import class_experiments
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.result_files import load
from tests.support.book import ROOT, tool

COMMITTED = sorted((ROOT / "results").glob("*.nc"))
CLASSES = class_experiments("smoke", "digits", (0,))[0]
PAIRS = RegressionExperiment(
    family="linear", n_steps=20, n_points=10, n_train=30, n_pairs=5, seeds=(0,)
)


def first_column(kind):
    """The names in a table, with those that share a row apart."""
    _, *rows = tool("schema_tables").TABLES[kind]()
    return [name.strip("`") for row in rows for name in row[0].split(", ")]


def check(path):
    """The attributes of a file of which the table names the variables."""
    found = load(path)
    named = set(first_column(found.attrs["kind"]))
    assert named == set(found.data_vars) - {f"{name}_interval" for name in named}
    said = {*found.attrs, "content_sha256"}
    assert said <= set(first_column("attributes"))
    return said


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_a_committed_file_is_as_the_page_says(path):
    check(path)


def test_runs_are_as_the_page_says_and_every_attribute_is_one_of_some_file(tmp_path):
    CLASSES.run(tmp_path, progress=False)
    PAIRS.run(tmp_path)
    paths = [*tmp_path.glob("*.nc"), *COMMITTED]
    assert len(paths) == len(COMMITTED) + 2
    assert set.union(*map(check, paths)) == set(first_column("attributes"))


def test_every_meaning_is_used():
    schema = tool("schema_tables")
    assert set(first_column("class_srel") + first_column("regression")) == set(schema.MEASURED)
    assert set(first_column("regression_summary")) == set(schema.JUDGED)
