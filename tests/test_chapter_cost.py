"""The chapter on cost runs, and says what the benchmarks' results and its own pilot say."""

import json
import re

import nbformat
import pytest

from srel_core.components import Components, interval_width
from tests.book import ROOT, call

RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """All that the executed chapter prints, without the marks of what may vary."""
    out = tmp_path_factory.mktemp("chapter") / "cost.ipynb"
    done = call(ROOT, "run_chapter", "chapters/cost.ipynb", out, "-p", "profile", "smoke")
    assert done.returncode == 0, done.stderr
    outputs = [o for cell in nbformat.read(out, 4).cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 3
    said = "\n".join(o.get("data", {}).get("text/markdown", o.get("text", "")) for o in outputs)
    return re.sub("</?span[^>]*>", "", said)


def _result(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def _numbers(pattern, text):
    return [float(v) for v in re.search(pattern, text).groups()]


def test_ratios_are_those_of_the_benchmark(text):
    cost = _result("cost_model")
    for way, name in (("shared", "Adam"), ("low_rank", "SGD"), ("tangent", "tangent limit")):
        row = cost["ways"][way]
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name}")]
        assert f"| {row['floor']['seconds']:.2f} s | {row['seconds']:.2f} s |" in line
        assert f"| {row['over_floor']:.2f} |" in line
        operations = sum(row["multiply_adds"].values())
        assert f"| {operations / 1e9:.1f} |" in line  # counted on the page, and in the benchmark
    within = cost["ways"]["shared"]["published_over_floor"] >= 30
    assert ("is within the floor" in text) == within
    assert ("is below the floor" in text) == (not within)


def test_what_thirty_times_would_leave_adds_up(text):
    cost = _result("cost_model")
    adam, threads = cost["ways"]["shared"], cost["threads"]
    allowed, layers, steps, left, now, spread, waiting = _numbers(
        r"would allow ([\d.]+) s\. Of these the layers alone take ([\d.]+) s, slopes and steps "
        r"([\d.]+) s .* leaves (-?[\d.]+) s for what now takes ([\d.]+) s: .* checks (-?[\d.]+) s, "
        r".* and (-?[\d.]+) s in which",
        text,
    )
    assert allowed == pytest.approx(cost["published"]["seconds"] / 30, abs=0.006)
    assert left == pytest.approx(allowed - layers - steps, abs=0.016)
    assert now == pytest.approx(spread + waiting, abs=0.011)
    assert layers + steps + now == pytest.approx(adam["seconds"], abs=0.02)
    assert layers == pytest.approx(
        sum(row["seconds_for_all_inputs"] for row in cost["layers"]) * 60 / threads, abs=0.006
    )
    sgd_fits = float(re.search(r"by the step: ([\d.]+) s", text)[1]) <= allowed
    assert ("within the whole" in text) == sgd_fits


def test_the_network_by_stage(text):
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    cost = _result("cost_model")
    for key in ("weights", "multiply_adds_of_one_input"):
        assert f"| {cost[key] / 1e6:.2f} |" in rows["**all**"]
    dead = 1 - cost["weights_that_move"] / cost["weights"]
    assert f"**{dead:.0%} of the network's weights never move**" in text


def test_bounds_on_memory_are_reported_as_kept_only_if_they_were(text):
    found = _result("scaling")
    over = [
        row
        for row in found["rows"]
        if row["varied"] == "max_bytes"
        and row["peak_bytes"]
        > row["max_bytes"] + row["beside_bound_bytes"] + found["allowance_bytes"]
    ]
    assert ("**not** within its bound" in text) == bool(over)


def test_the_plan_is_as_fine_as_asked_and_put_to_the_test(text):
    pilot, asked = _numbers(
        r"an interval ([\d.]+) wide, of whose .* An interval ([\d.]+) wide takes", text
    )
    assert asked == pytest.approx(pilot / 2, abs=0.0011)
    for name in ("AUC", "log preference"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} | ")]
        promised, lo, hi = _numbers(r"\| ([\d.]+) \| [\d.]+ \| ([\d.]+) to ([\d.]+) \|", line)
        verdict = "as seen" if lo <= promised <= hi else "wide" if promised > hi else "narrow"
        assert verdict in line
        if name == "AUC":
            assert promised <= asked + 0.0011


def test_widths_of_the_paper_profile_are_those_of_its_components(text):
    for dataset, of in _result("paper_precision").items():
        n = float(of["per_class"])
        for rule, by_summary in of["rules"].items():
            found = Components(**by_summary["auc"]["components"])
            width = interval_width(found.variance(n, n, of["runs"], True))
            start = f"| {dataset} | `{rule}` | AUC | {by_summary['auc']['estimate']:.2f} |"
            (line,) = [line for line in text.splitlines() if line.startswith(start)]
            assert line.startswith(f"{start} {width:.2f} |")


def test_what_was_reached_is_the_full_benchmarks_ratio(text):
    whole, dense = _result("published_measurement"), _result("dense_networks")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    for name, ratio, wanted in (
        ("published network, Adam (`shared`)", whole["ratio"], 30),
        ("published network, SGD (`low_rank`)", whole["ratio_sgd"], 30),
        ("784-512-512-1, changes by SGD", dense["784-512-512-1"]["change"]["ratio"], 2.5),
        ("784-512-512-1, tangent limit", dense["784-512-512-1"]["tangent"]["ratio"], 30),
        ("784-40960-1, changes by SGD", dense["784-40960-1"]["change"]["ratio"], 3),
    ):
        assert f"| {ratio:.1f}× | {wanted}× |" in rows[name]
        missed = re.search(r"\*\*Missed: (.*?)\.\*\*", text)
        assert (missed is not None and name in missed[1]) == (ratio < wanted)
