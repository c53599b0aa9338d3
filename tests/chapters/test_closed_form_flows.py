"""The chapters on closed-form flows run, and say what their numbers say."""

import re

import nbformat
import numpy as np
import pytest

from srel_core.flows import ReluGateFlow, RidgeFlow

PAGES = {  # figures, sliders
    "closed_form_flows": (1, 0), "flow_ridge": (3, 1), "flow_gate": (2, 0), "flow_power": (1, 0),
    "flow_radial": (2, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def texts(executed):
    """All that each executed page prints."""
    found = {}
    for name, counts in PAGES.items():
        shown = [
            output.get("data", {"text/markdown": output.get("text", "")})
            for cell in nbformat.read(executed / f"{name}.ipynb", 4).cells
            for output in cell.get("outputs", [])
        ]
        sliders = [data for data in shown if 'type="range"' in data.get("text/html", "")]
        assert (sum("image/png" in data for data in shown), len(sliders)) == counts, name
        found[name] = "\n".join(data.get("text/markdown", "") for data in shown)
    return found


@pytest.fixture(scope="module")
def text(texts):
    """That of the page which says what the flows show together."""
    return texts["closed_form_flows"]


def number(words):
    """A number as the chapter writes it, 0.12 or $1.2\\times 10^{-3}$."""
    found = re.search(r"\$?([\d.]+)(?:\\times 10\^\{(-?\d+)\}\$)?", words)
    return float(found[1]) * 10.0 ** int(found[2] or 0)


@pytest.fixture(scope="module")
def verdicts(text):
    """The rows of the closing table by flow."""
    table = text.split("| flow |")[1].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[1:] for row in rows if len(row) == 8 and "→" in row[2]}


def test_verdicts_agree_with_their_numbers(verdicts):
    assert len(verdicts) == 18
    for until, _, reach, stop, moves, rests, ends in verdicts.values():
        reach = float(reach.rstrip("%"))
        assert moves == ("yes" if reach > 10 else "no") or reach == 10
        if moves == "no":
            assert (stop, rests, ends) == ("—", "—", "—")
            continue
        share = float(re.search(r"\((\d+)%\)", ends)[1])
        assert ends.split()[0] == (
            "larger" if share >= 90 else "smaller" if share <= 10 else "either"
        )
        if rests == "yes":
            assert number(stop) <= 0.51 * number(until)


def test_what_the_propositions_say_is_seen(verdicts):
    """Constant without penalty and at degree 1; no other flow is as still."""
    for name in ("ridge, ‖h‖² ≈ 1, λ/K = 0", "power, d = 1", "radial, d = 1"):
        assert verdicts[name][2] == "0%"
    for name in ("power, d = 2", "power, d = 3", "radial, d = 3", "gate, gradient flow"):
        assert verdicts[name][4] == "yes"


def test_the_closing_sentence_sorts_the_rows_of_the_table(text, verdicts):
    defined = {name: row for name, row in verdicts.items() if "published" not in name}
    groups = {
        "does not move": [n for n, row in defined.items() if row[4] == "no"],
        "ends larger": [
            n for n, row in defined.items() if row[5] == "yes" and row[6].startswith("larger")
        ],
        "without ending larger": [
            n for n, row in defined.items() if row[5] == "yes" and not row[6].startswith("larger")
        ],
        "without two clear phases": [
            n for n, row in defined.items() if row[4] == "yes" and row[5] == "no"
        ],
    }
    assert sum(map(len, groups.values())) == len(defined)
    for words, names in groups.items():
        assert int(text.split(f"**{words}** in ")[1].split()[0].strip(",.")) == len(names)
        listed = "; ".join(names) or "none"
        assert f": {listed}." in text


def test_the_source_of_the_climb_is_read_off_the_ladder(texts):
    text = texts["flow_ridge"]
    growth = {
        line.split("|")[1].strip(): [
            float(v.replace(",", "")) for v in re.findall(r"\(×([\d.,]+)\)", line)
        ]
        for line in text.splitlines()
        if "(×" in line
    }
    clean = max(growth["as defined"] + growth["Nλ/K for λ/K"])
    alone, both = growth["1/N in the numerator"], growth["both"]
    assert ("comes from the $1/N$" in text) == (clean < 1.5 < min(alone))
    assert ("amplifies it" in text) == all(b > a for a, b in zip(alone, both, strict=True))


def test_closed_forms_agree_with_the_integrations_on_the_pages(texts):
    errors = re.findall(r"largest difference: (\S+)", "".join(texts.values()))
    errors = [float(error) for error in errors]
    assert len(errors) == 2 and max(errors) < 1e-9


def test_bound_on_the_movement_of_a_ridge_flow():
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((40, 6)), np.arange(40) % 2
    probe, sample, t = features[:15], features[-15:], np.geomspace(0.01, 10, 30)
    flow = RidgeFlow(features, labels, 3.0, rng.standard_normal((6, 2)))
    s_rel = flow.s_rel(t, probe, sample, labels[-15:])
    c = (probe * sample).sum(1) / (sample**2).sum(1)
    outputs = flow.outputs(t, sample)
    residual = outputs - np.eye(2)[labels[-15:]]
    own = (sample**2).sum(1)[:, None] * residual + 1.5 * outputs
    sideways = flow.outputs(t, probe - c[:, None] * sample)
    bound = 1.5 * np.linalg.norm(sideways, axis=2) / np.linalg.norm(own, axis=2)
    distance = np.abs(s_rel - np.abs(c))
    assert (distance <= bound * (1 + 1e-9)).all()
    assert (distance > 0.5 * bound).any()


@pytest.mark.parametrize("kind", ["glm_tron", "gradient"])
def test_share_of_probes_crossed_is_the_angle_turned(kind):
    rng = np.random.default_rng(1)
    flow = ReluGateFlow(rng.standard_normal(5), rng.standard_normal(5), flow=kind)
    crossing = flow.crossing_times(rng.standard_normal((40_000, 5)))
    for t in (0.5, 2.0, 6.0):
        w = flow.weights(t)
        angle = np.arccos(w @ flow.w0 / np.linalg.norm(w) / np.linalg.norm(flow.w0))
        assert np.mean(crossing <= t) == pytest.approx(angle / np.pi, abs=0.01)
