"""The grid of verdicts shows each finding once, by a sign and in words, and its number."""

import pytest
from bs4 import BeautifulSoup

from srel_core.book.claims.decided import decided_by
from srel_core.book.claims.evidence import Claim, Count, Exactness, Finding
from srel_core.book.claims.of_the_paper import claims
from srel_core.book.figures.verdict_grid import SIGNS, verdict_grid
from tests.support.browser import PHONE, chromium, served, visit

MARKS = {"above": "up", "below": "down", "undecided": "level"}


def grid(found):
    return BeautifulSoup(verdict_grid(found, lambda claim: f"x.html#{claim.label}"), "html.parser")


def test_every_finding_of_the_committed_results_has_its_cell():
    found = claims()
    page = grid(found)
    for body, claim in zip(page.select("tbody"), found, strict=True):
        head = body.select_one(".srel-claim")
        assert claim.title.replace("S_rel", "Srel") in head.text and head.a["href"].endswith(
            claim.label
        )
        assert f"{SIGNS[claim.word]} {claim.word}" in head.select_one(".srel-word").text
        assert head.p.text == decided_by(claim).replace("*", "").replace("`", "")
        wanted = [
            f for reading in claim.readings for found in claim.findings.values()
            for f in found if f.reading == reading
        ]  # fmt: skip
        buttons = body.select("button")
        assert len(buttons) == len(wanted) > 0
        for button, f in zip(buttons, wanted, strict=True):
            assert button.b.text == SIGNS[f.word]
            tip = button.select_one(".srel-tip").text
            if isinstance(f, Finding):
                assert tip == f"{f.words.replace('*', '')}; {f.effect}"
                marks = [mark["class"][0] for mark in button.select(".srel-epochs i")]
                assert marks == [MARKS[side] for side in f.sides]
            else:
                assert f.word in tip


def test_signs_differ_and_so_do_their_colours():
    assert len(set(SIGNS.values())) == len(SIGNS)
    page = grid([])
    kinds = [sign["class"][0] for sign in page.select(".srel-legend > [class]")]
    assert len(set(kinds)) == len(kinds) == 4


def test_a_published_data_set_that_was_not_run_is_named():
    finding = Finding("r", (2.0,), ((1.5, 3.0),), 1.0)
    page = grid([Claim("C", "page", "label", {"cifar10": (finding,), "mine": (finding,)})])
    assert [th.text for th in page.select("thead th")][1:] == [
        "CIFAR-10",
        "CIFAR-100",
        "SVHN",
        "mine",
    ]
    cells = page.select("tbody tr")[1].select("td")
    assert [bool(cell.button) for cell in cells] == [True, False, False, True]
    assert cells[1].text == "not run"


def test_counts_and_formulas_have_no_columns():
    found = Claim("C", "page", "label", {"": (Count("all", 1, 4), Exactness("ridge", 1e-9, 1e-6))})
    row = grid([found]).select("tbody tr")[1]
    first, second = row.select("td > button")
    assert "all" in first.text and "1 of 4" in first.text
    assert first.select_one(".srel-share i")["style"] == "--share:0.250"
    assert "largest relative difference below 1e-06" in second.text


def test_what_was_not_examined_says_why_and_texts_are_escaped():
    page = grid([Claim("<b>", "page", "label", {}, "no results of it yet")])
    assert page.select_one(".srel-claim p").text == "no results of it yet"
    assert "<b>" in page.select_one(".srel-claim a").text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_come_up_when_pointed_at_and_a_phone_holds_it(tmp_path, theme):
    html = verdict_grid(claims(), lambda claim: "")
    (tmp_path / "index.html").write_text(
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>t</title>'
        '<meta name="viewport" content="width=device-width"><style>[data-theme=dark] body '
        "{ background: #121212; color: #ced6dd; --pst-color-text-muted: #9ca4af; }</style>"
        f"<body><main><h1>t</h1>{html}</main></body></html>"
    )
    (tmp_path / "favicon.ico").touch()
    with chromium() as browser, served(tmp_path) as address, visit(browser, address) as visited:
        page = visited.open("index.html")
        visited.turn(theme)
        cell = page.locator("tbody button").first
        tip = cell.locator(".srel-tip")
        opacity = "tip => getComputedStyle(tip).opacity"
        assert tip.evaluate(opacity) == "0"
        cell.hover()
        assert tip.evaluate(opacity) == "1"
        page.locator("h1").hover()
        cell.focus()
        assert tip.evaluate(opacity) == "1"
        assert visited.violations() + visited.pale() == []
        visited.resize(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert (visited.complaints, visited.foreign) == ([], [])
