"""What the chapters on cost share."""

import pytest

from srel_core.book.text.costs import benchmark, duration, layers_of, table
from srel_core.experiments.networks import resnet18
from tests.support.book import ROOT


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "0.12 s"), (59, "59 s"), (90, "1.5 min"), (5400, "1.5 h"), (1e6, "11.6 d")],
)
def test_durations_are_in_the_unit_that_suits_them(seconds, text):
    assert duration(seconds) == text


def test_a_table_has_a_line_for_each_row():
    assert table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"


def test_layers_are_counted_as_the_benchmark_counts_them():
    counted = sum(layer.multiply_adds for layer in layers_of(lambda: resnet18(3), 32))
    result = benchmark("cost_model", ROOT / "benchmarks" / "results")
    assert counted == result["multiply_adds_of_one_input"]
