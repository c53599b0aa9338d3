"""The chapters on the paper's results run with results and without, and say what these say."""

import re

import nbformat
import numpy as np
import pytest

from srel_core.book.claims import of_the_paper
from srel_core.book.claims.evidence import digits
from srel_core.book.committed import files
from srel_core.book.committed.write import summary_of
from srel_core.book.published.ladder import LADDERS
from srel_core.book.published.numbers import NOT_RUN, PUBLISHED
from srel_core.book.text.verdict_tables import details, table
from srel_core.experiments import result_files
from srel_core.experiments.profiles import class_experiments
from tests.support.book import ROOT, call
from tests.support.class_experiments import kept_for_the_pages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of a small experiment, and their summary in the place of CIFAR-10's."""
    place = tmp_path_factory.mktemp("results")
    experiments = class_experiments("smoke", "digits")
    kept = kept_for_the_pages(place / "runs", experiments)
    runs = [e.run(kept, "cpu", progress=False) for e in experiments]
    result_files.save(summary_of(runs, n_resamples=50), place / files.file_name("cifar10"))
    (place / "none").mkdir()
    return place


def execute(name, out, **parameters):
    """Everything that a chapter prints under these parameters, and how many figures it has."""
    given = [word for item in parameters.items() for word in ("-p", *item)]
    path = out / f"{name}.ipynb"
    done = call(
        ROOT, "run_chapter", f"chapters/{name}.ipynb", path, "-p", "profile", "smoke", *given
    )
    assert done.returncode == 0, done.stderr
    return said(path)


def said(path):
    """Everything that an executed chapter prints, and how many figures it has."""
    outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", [])]
    text = "\n\n".join(o.get("data", {}).get("text/markdown", o.get("text", "")) for o in outputs)
    return text, sum("image/png" in o.get("data", {}) for o in outputs)


def rows(text, start):
    """The cells of the rows of the table whose header starts so."""
    lines = text[text.index(start) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def bounds(cell):
    low, high = re.search(r"\[([^\]]*), ([^\]]*)\]", cell).groups()
    return float(low.replace(",", "")), float(high.replace(",", ""))


def check_words(words, effect, threshold):
    """What is said of the last of three epochs is what its interval says, but for rounding."""
    low, high = bounds(effect)
    last = [
        word
        for word, span in re.findall(r"\*\*([a-z ]+)\*\*(?: in epochs? ([\d–, ]*\d))?", words)
        if not span or span.endswith("3")
    ]
    (word,) = last
    assert word != "holds" or low >= threshold
    assert word != "reversed" or high <= threshold
    assert word != "cannot be told" or low <= threshold <= high


def test_paper_scale_states_the_distance_for_every_row(folder, tmp_path):
    text, figures = execute("paper_scale", tmp_path, committed_dir=folder)
    assert figures == 4
    assert "The results below are the committed ones" in text
    assert "CIFAR-10: computed" in text and "with the present code" in text
    summary = files.load_all(folder)["cifar10"]
    found = rows(text, "| data set | definition | curve | epoch | ours")
    ours = [row for row in found if row[0] == "CIFAR-10"]
    assert len(ours) == 2 * 2 * 3 + 3
    for row, want in zip(ours[:3], PUBLISHED["cifar10"].same["class-based"], strict=False):
        assert row[5] == digits(want)
    for *_, value, published, difference, within, stretched in ours:
        low, high = bounds(value)
        there = float(published.replace(",", ""))
        if not np.isclose(there, [low, high], rtol=1e-3).any():  # printed with three digits
            assert (within == "yes") == (low <= there <= high)
        assert within == "no" or stretched == "yes"
        mean = float(value.split()[0].replace(",", ""))
        assert float(difference.rstrip("%")) / 100 == pytest.approx(mean / there - 1, abs=0.01)
    others = [row for row in found if row[0] != "CIFAR-10"]
    assert [row[0] for row in others] == ["CIFAR-100", "SVHN"]
    assert all(NOT_RUN in row for row in others)
    assert "srel run --profile paper --dataset svhn" in text
    words = rows(text, "| data set | step rule | aggregate | class-based")
    words = [row for row in words if row[0] == "CIFAR-10"]
    assert len(words) == summary.sizes["rule"] * 4
    for _, _, aggregate, *cells in words:
        for cell in cells:
            check_words(*cell.split("; "), 0.5 if aggregate == "AUC" else 1)


def test_without_results_the_chapters_say_so_plainly(folder, tmp_path):
    for name, n_figures in (("paper_scale", 0), ("verdicts", 0)):
        text, figures = execute(name, tmp_path, committed_dir=folder / "none")
        assert figures == n_figures
        assert "no results of the" in text
        in_times = 3 * (name == "paper_scale")
        commands = text.count("srel run --profile paper") - in_times
        assert commands == text.count("SVHN: not run") * 3
    assert "| **not examined** | no results of the paper profile yet |" in text


def test_the_chapter_of_verdicts_has_the_tables_of_the_results_and_marks_stale_ones(
    folder, tmp_path
):
    summary = files.load_all(folder)["cifar10"]
    result_files.save(summary, tmp_path / files.file_name("cifar10"))
    former = summary.assign_attrs(code_digest="former")
    result_files.save(former, tmp_path / files.file_name("cifar100"))
    text, _ = execute("verdicts", tmp_path, committed_dir=tmp_path)
    assert text.count("STALE") == 1 and "make verify-results" in text
    assert "CIFAR-100: **STALE.** Computed" in text
    text = text.replace(r"$S_{\rm rel}$", "S_rel")  # typeset on the page
    found = of_the_paper.claims(tmp_path)
    assert details(found) in text
    assert table(found, lambda c: f"{{ref}}`{c.label}`" if c.label else "") in text


def test_the_audit_follows_the_ladder(folder, tmp_path):
    text, figures = execute("audit", tmp_path, committed_dir=folder, results_dir=folder / "runs")
    assert figures == 2
    assert "KL(p‖p):              0.0000" in text and "as published:  -0." in text
    assert re.search(r"of these inside that range: +42 of 42", text)
    found = rows(text, "| data set | definition | rung")
    names = list(dict.fromkeys(row[0] for row in found))
    assert names == ["CIFAR-100", "SVHN", "CIFAR-10", "digits, this page"]
    measured = [row for row in found if NOT_RUN not in row]
    assert len(measured) == 2 * sum(len(rungs) for rungs in LADDERS.values())
    for row in measured:
        check_words(row[7], row[6], 1)
    # The summary under CIFAR-10's name is of the very runs made for the page.
    values = {title: [row[6].split()[0] for row in measured if row[0] == title] for title in names}
    assert values["CIFAR-10"] == values["digits, this page"]
    for title in ("CIFAR-10", "digits, this page"):
        assert f"**{title}.** A step prefers its own class? As published: **" in text


def test_the_rest_of_the_audit_says_what_it_measured(executed):
    text, figures = said(executed / "audit_rest.ipynb")
    assert figures == 2
    assert "new points: 0." in text and "training points: 1.00" in text
    drawn = re.findall(r"next batch, nothing measured: +(.*)|constructed: (.*)", text)
    assert drawn[0][0] != drawn[1][1] and "sc.influence:  untouched" in text
