"""The chapters on cost run, and say what the benchmarks' results and its own pilot say."""

import json
import re

import nbformat
import pytest

from srel_core.statistics.variance_components import Components, interval_width
from tests.support.book import ROOT

RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def text(executed):
    """All that the executed chapters print, without the marks of what may vary."""
    outputs = []
    for name, figures in (("cost", 2), ("how_much", 2)):
        cells = nbformat.read(executed / f"{name}.ipynb", 4).cells
        here = [output for cell in cells for output in cell.get("outputs", [])]
        assert sum("image/png" in o.get("data", {}) for o in here) == figures
        outputs += here
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
        (line, _) = [line for line in text.splitlines() if line.startswith(f"| {name}")]
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


def _in_kernels(cost, way):
    row, kinds = cost["ways"][way], ("convolutions", "matrix products")
    of_one_run = {k: v * row["cpu_seconds_on_one_thread"] for k, v in row["shares_by_kind"].items()}
    seconds = row.get("least_seconds_by_kind_on_one_thread", of_one_run)
    return sum(seconds[kind] for kind in kinds) / cost["threads"]


def _reach(said, machine):
    """What a paragraph says of a thirtieth of the time, against the files of a machine."""
    cost, allowed = _result("cost_model", machine), _longest_published(machine) / 30
    assert float(re.search(r"([\d.]+) s are allowed", said)[1]) == pytest.approx(allowed, abs=0.006)
    for way, name in (("shared", "a fresh Adam"), ("low_rank", "SGD by change propagation")):
        least = _in_kernels(cost, way)
        part = re.search(rf"for {name} these kernels take ([\d.]+) s, which ([^;]*)", said)
        assert float(part[1]) == pytest.approx(least, abs=0.006)
        assert ("is more" in part[2] and "out of reach with them" in part[2]) == (least > allowed)
        floor = cost["ways"][way]["floor"]["seconds"]
        assert ("so is the floor" in part[2]) == (least > allowed and floor > allowed)


def test_kernels_and_what_is_beside_them_add_up_to_what_was_measured(text):
    cost, lines = _result("cost_model"), text.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| convolutions |"))
    rows = [
        [float(v) for v in re.findall(r"(-?[\d.]+)(?: s|×)? (?=\|)", line)]
        for line in lines[start : start + 8]
    ]
    for way, column in zip(("shared", "low_rank", "tangent"), zip(*rows, strict=True), strict=True):
        row = cost["ways"][way]
        convolutions, products, least, over, ratio, others, waiting, measured = column
        assert convolutions + products == pytest.approx(least, abs=0.011)
        assert least == pytest.approx(_in_kernels(cost, way), abs=0.006)
        assert over == pytest.approx(least / row["floor_in_cpu_time"]["seconds"], rel=0.02)
        assert ratio == pytest.approx(_longest_published() / least, rel=0.02)
        assert least + others + waiting == pytest.approx(row["seconds"], abs=0.016)
        assert measured == pytest.approx(row["seconds"], abs=0.006)
    (said,) = [line for line in lines if line.startswith("**Is 30 times in reach?**")]
    _reach(said, ".")
    (said,) = [line for line in lines if line.startswith("**Is 1.5 times the floor?**")]
    room = 1.5 * cost["ways"]["shared"]["floor_in_cpu_time"]["seconds"]
    assert ("out of reach with them" in said) == (room <= _in_kernels(cost, "shared"))


def test_the_floor_is_held_against_the_layer_that_comes_closest(text):
    closest = min(row["over_floor"] for row in _result("cost_model")["layers"])
    assert f"comes closest to this rate takes {closest:.2f} times as long" in text
    assert ("so that this floor is none" in text) == (closest < 1)


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
        if name.startswith("published"):
            way = re.search(r"`(\w+)`", name)[1]
            floor = _result("cost_model")["ways"][way]["floor"]["seconds"]
            assert rows[name].endswith(f"| {_longest_published() / floor:.0f}× |")
        missed = re.search(r"\*\*Missed: (.*?)\.\*\*", text)
        assert (missed is not None and name in missed[1]) == (ratio < wanted)


def test_machines_stand_beside_each_other(text):
    """Each row of the table against the files, and what is said of the kernels of each machine."""
    compared = ("cost_model", "published_measurement", "dense_networks")
    others = [
        folder.name
        for folder in sorted(RESULTS.iterdir())
        if all((folder / f"{name}.json").is_file() for name in compared)
    ]
    assert others
    machines, lines = [".", *others], text.splitlines()
    start = lines.index(f"|  | this book | {' | '.join(f'`{name}`' for name in others)} |")
    table = [line.strip("| ").split(" | ") for line in lines[start:] if line.startswith("|")]
    labels, cells = [row[0] for row in table], [row[1:] for row in table]
    wholes = [_result("published_measurement", machine) for machine in machines]
    costs = [_result("cost_model", machine) for machine in machines]

    def row(label, after=0):
        return cells[labels.index(label) + after]

    assert row("published algorithm") == [f"{w['seconds']['published']:.1f} s" for w in wholes]
    for cost, processor, commits in zip(costs, row("processor"), row("commits"), strict=True):
        assert processor == cost["environment"]["device"].replace("(R)", "")
        assert cost["environment"]["commit"] in commits
    for way, name, ratio in (
        ("shared", "Adam (`shared`)", "ratio"),
        ("low_rank", "SGD (`low_rank`)", "ratio_sgd"),
        ("tangent", "tangent limit", "ratio_tangent"),
    ):
        label = f"{name}, reached"
        assert row(label) == [f"**{whole[ratio]:.1f}×**" for whole in wholes]
        by = [_longest_published(machine) for machine in machines]
        for k, cost in enumerate(costs):
            of = cost["ways"][way]
            assert row(label, 1)[k] == f"{by[k] / _in_kernels(cost, way):.1f}×"
            assert row(label, 2)[k] == f"{by[k] / of['floor']['seconds']:.1f}×"
            assert row(label, 3)[k] == f"{of['over_floor']:.2f}"
    for machine in others:
        (said,) = [line for line in lines if line.startswith(f"On `{machine}` ")]
        _reach(said, machine)
    for k, machine in enumerate(machines):
        dense, rates = _result("dense_networks", machine), costs[k]["rates"]["by_clock"]
        for name in ("784-512-512-1", "784-40960-1"):
            for work, words in (("change", "changes by SGD"), ("tangent", "tangent limit")):
                cell = row(f"{name}, {words}")[k]
                assert cell.startswith(f"{dense[name][work]['ratio']:.1f}× (")
                assert ("one process" in cell) == ("ratios" not in dense[name][work])
        assert row("Gflop/s, single precision")[k].startswith(f"{rates['float32'] / 1e9:.0f} (")
