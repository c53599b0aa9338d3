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


def _result(name, machine="."):
    return json.loads((RESULTS / machine / f"{name}.json").read_text())


def _numbers(pattern, text):
    return [float(v) for v in re.search(pattern, text).groups()]


def test_ratios_are_those_of_the_benchmark(text):
    cost = _result("cost_model")
    for way, name in (("shared", "Adam"), ("low_rank", "SGD"), ("tangent", "tangent limit")):
        row = cost["ways"][way]
        (line, *_) = [line for line in text.splitlines() if line.startswith(f"| {name}")]
        assert f"| {row['floor']['seconds']:.2f} s | {row['seconds']:.2f} s |" in line
        assert f"| {row['over_floor']:.2f} |" in line
        operations = sum(row["multiply_adds"].values())
        assert f"| {operations / 1e9:.1f} |" in line  # counted on the page, and in the benchmark
    within = cost["ways"]["shared"]["published_over_floor"] >= 30
    assert ("is within the floor" in text) == within
    assert ("is below the floor" in text) == (not within)


def _longest_published(machine="."):
    by_few = _result("cost_model", machine)["published"]["seconds"]
    return max(by_few, _result("published_measurement", machine)["seconds"]["published"])


def test_kernels_and_what_is_beside_them_add_up_to_what_was_measured(text):
    cost = _result("cost_model")
    threads, of, lines = cost["threads"], {}, text.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| layers of the pred"))
    rows = [
        [float(v) for v in re.findall(r"(-?[\d.]+)(?: s|×)? (?=\|)", line)]
        for line in lines[start : start + 8]
    ]
    for way, column in zip(("shared", "low_rank", "tangent"), zip(*rows, strict=True), strict=True):
        row = cost["ways"][way]
        layers, gradients, kernels, over, ratio, others, waiting, measured = column
        phases = row["cpu_seconds_by_phase_on_one_thread"]
        assert layers == pytest.approx(
            row["cpu_seconds_in_layers_on_one_thread"] / threads, abs=0.006
        )
        assert gradients == pytest.approx(
            (phases["slopes"] + phases.get("steps", 0)) / threads, abs=0.006
        )
        assert kernels == pytest.approx(layers + gradients, abs=0.011)
        assert over == pytest.approx(kernels / row["floor_in_cpu_time"]["seconds"], rel=0.02)
        assert ratio == pytest.approx(_longest_published() / kernels, rel=0.02)
        assert kernels + others + waiting == pytest.approx(row["seconds"], abs=0.016)
        assert measured == pytest.approx(row["seconds"], abs=0.006)
        of[way] = kernels
    allowed = float(re.search(r"in reach\?\*\* ([\d.]+) s are allowed", text)[1])
    assert allowed == pytest.approx(_longest_published() / 30, abs=0.006)
    for way, name in (("shared", "Adam"), ("low_rank", "SGD")):
        says = re.search(rf"for {name} the kernels take ([\d.]+) s, which (is more|leaves)", text)
        assert float(says[1]) == of[way]
        assert (says[2] == "is more") == (of[way] > allowed)
    over = cost["ways"]["shared"]["kernels_over_floor"]
    assert ("out of reach with them too" in text) == (over > 1.5)


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
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = {line.split("|")[1].strip(): line for line in reversed(lines)}  # the first of each
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


def test_machines_stand_beside_each_other(text):
    """Each row of the table against the files, and what is said of the kernels of each machine."""
    machines = [".", *sorted(path.parent.name for path in RESULTS.glob("*/dense_networks.json"))]
    assert len(machines) > 1
    costs = [_result("cost_model", machine) for machine in machines]
    lines = text.splitlines()
    labels = [cost["environment"]["device"].replace("(R)", "") for cost in costs]
    start = "|  | " + " | ".join(label.removesuffix(" Processor") for label in labels)
    table = lines[lines.index(f"{start} |") :]
    rows = [line for line in table if line.startswith("|")]
    numbers = [[float(v) for v in re.findall(r" \**([\d.]+)(?:×| s)?\** (?=\|)", r)] for r in rows]
    (published,) = [n for n, row in zip(numbers, rows, strict=True) if "published alg" in row]
    wholes = [_result("published_measurement", machine) for machine in machines]
    assert published == [round(whole["seconds"]["published"], 1) for whole in wholes]
    for way, start, ratio in (
        ("shared", "| Adam", "ratio"),
        ("low_rank", "| SGD", "ratio_sgd"),
        ("tangent", "| tangent limit", "ratio_tangent"),
    ):
        at = next(k for k, row in enumerate(rows) if row.startswith(start))
        reached, with_kernels, at_floor, over = numbers[at : at + 4]
        assert reached == [round(whole[ratio], 1) for whole in wholes]
        for k, cost in enumerate(costs):
            row = cost["ways"][way]
            by = _longest_published(machines[k])
            assert with_kernels[k] == pytest.approx(by / row["seconds_in_kernels"], abs=0.051)
            assert at_floor[k] == pytest.approx(by / row["floor"]["seconds"], abs=0.051)
            assert over[k] == pytest.approx(row["over_floor"], abs=0.0051)
            assert at_floor[k] >= with_kernels[k]
    for label, cost, machine in list(zip(labels, costs, machines, strict=True))[1:]:
        (said,) = [line for line in lines if line.startswith(f"On {label} (commit")]
        allowed, of = _longest_published(machine) / 30, cost["ways"]
        beyond = sum(of[way]["seconds_in_kernels"] > allowed for way in ("shared", "low_rank"))
        assert said.count("out of reach with these kernels") == beyond
        below = [of[way]["floor"]["seconds"] > allowed for way in ("shared", "low_rank")]
        assert said.count("below the floor") == sum(below)
    dense = [_result("dense_networks", machine) for machine in machines]
    for name in ("784-512-512-1", "784-40960-1"):
        for work, words in (("change", "changes by SGD"), ("tangent", "tangent limit")):
            at = next(k for k, row in enumerate(rows) if row.startswith(f"| {name}, {words}"))
            assert numbers[at] == [round(of[name][work]["ratio"], 1) for of in dense]
