"""The chapters on other choices and on what others found say what the studies hold."""

import re

import nbformat
import numpy as np
import pytest

from srel_core.book.claims.evidence import digits
from srel_core.book.committed import study_file
from srel_core.experiments.studies import study
from tests.support.book import ROOT, call

STEPS = {
    "a gradient step": "sgd:1e-4", "the first step of a fresh Adam": "adam:1e-4",
    "a vanishing step": "tangent", "the step that training takes next": "optimizer",
}  # fmt: skip
COMMITTED = study_file.load_all(ROOT / "results")


def text_of(path):
    outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", [])]
    return "\n\n".join(o.get("data", {}).get("text/markdown", "") for o in outputs)


def table(text, start):
    lines = text[text.index(start) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def said(executed):
    return text_of(executed / "other_choices.ipynb")


@pytest.mark.parametrize(
    ("name", "unit"),
    [("classes", "choices of classes"), ("networks", "networks and trainings")],
)
def test_rows_are_counted_by_their_intervals(said, name, unit):
    if name not in COMMITTED:
        assert f"`srel study {name}`" in said
        return
    of = COMMITTED[name].sel(divergence="kl")
    n_rows = of.sizes["row"]
    in_brief = {row[0]: row[1:] for row in table(said, "| under |")}
    own, others = (in_brief[f"{of_}, of {n_rows} {unit}"] for of_ in ("own class", "other classes"))
    for i, (rule, row) in enumerate(
        zip(STEPS.values(), table(said, f"| step, {n_rows} {unit} |"), strict=True)
    ):
        at = of.sel(rule=rule)
        low, high = at.auc_interval.transpose("bound", "row", "epoch").values
        above, below = low > 0.5, high < 0.5
        counts = [f"{n.sum()}" for side in (above, below) for n in (side.all(1), side[:, -1])]
        assert row[1:5] == counts
        assert own[i] == f"{counts[0]} ({counts[1]})"
        assert others[i] == f"{counts[2]} ({counts[3]})"
        last = at.auc.isel(epoch=-1).values
        assert row[5] == f"{last.min():.2f} to {last.max():.2f}"


def test_what_is_found_with_each_network_is_said(said):
    of = COMMITTED["networks"].sel(divergence="kl")
    rows = table(said, "| network, training | step |")
    assert len(rows) == of.sizes["row"] * of.sizes["rule"]
    for network, step, found in rows:
        cell = of.sel(row=network.replace("&#95;", "_"), rule=STEPS[step])
        low = cell.auc_interval.isel(bound=0)
        assert (found.split(";")[0] == "**holds**") == bool((low > 0.5).all())
        assert f"; AUC {digits(cell.auc.isel(epoch=-1))} [" in found


def test_what_is_missing_is_named_with_its_command(said):
    for name in ("classes", "seeds", "networks"):
        rows = study(name).rows
        there = COMMITTED[name].row.values.tolist() if name in COMMITTED else []
        lacking = [row for row in rows if row not in there]
        command = re.search(rf"`srel study {name}( --rows \"(.*?)\")?`", said)
        assert command or not lacking
        if lacking and there:
            assert re.search(rf"`srel study {name} --rows \"{'; '.join(lacking)}\"`", said)


def test_without_studies_the_chapters_say_so(tmp_path):
    for name, n in (("other_choices", 3), ("since_2021", 0)):
        done = call(
            ROOT, "run_chapter", f"chapters/{name}.ipynb", tmp_path / f"{name}.ipynb",
            "-p", "profile", "smoke", "-p", "committed_dir", tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        text = text_of(tmp_path / f"{name}.ipynb")
        assert text.count("Not run yet: ") == n
        assert "There are no results of the studies yet." in text or n == 0
        assert text.count("There are no committed results to ask yet.") == (0 if n else 4)


def test_stiffness_is_that_of_the_study(executed):
    text = text_of(executed / "since_2021.ipynb")
    of = COMMITTED.get("seeds", COMMITTED.get("classes"))
    rows = table(text, "| step | loss rises")
    for row, rule in zip(rows, map(str, of.rule.values), strict=True):
        for cell, pair in zip(row[1:], ("same", "other"), strict=True):
            last = of.raises_loss.sel(rule=rule, pair=pair).isel(epoch=-1)
            assert cell.startswith(f"{float(last.mean()):.1%} (")


def test_the_dynamics_are_those_of_the_kernel(executed):
    rows = table(text_of(executed / "since_2021.ipynb"), "| learning rate")
    apart = np.array([float(row[1]) for row in rows])
    assert (np.diff(apart) < 0).all() and apart[-1] < 1e-3
