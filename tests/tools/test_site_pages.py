"""The built pages of this book, read as files."""

import base64
import csv
import functools
import io
import re
from collections import Counter
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import numpy as np
from bs4 import BeautifulSoup
from PIL import Image

from srel_core.book.committed.files import ladder_in, load_all
from srel_core.book.figures import table
from srel_core.book.published.numbers import title_of
from srel_core.experiments.profiles import class_experiments
from srel_core.statistics.class_summary import class_summary
from tests.support.book import ROOT, call, page_names, tool

HOME = "http://site/"
COMPLAINT = re.compile(r"Traceback \(most recent call last\)|\b\w*Warning: |\bTODO\b|\bFIXME\b")
ELSEWHERE = re.compile(r"data:|\w+://")
MEGABYTE = 1_000_000
EXECUTED = ROOT / "_build/executed/smoke"


@functools.cache
def parsed(path):
    return BeautifulSoup(path.read_text("utf8"), "html.parser")


@functools.cache
def ids(path):
    """How often each id stands in a page."""
    return Counter(tag["id"] for tag in parsed(path).find_all(id=True))


def text_part(path):
    """What a page says, without what stands around it on each page."""
    return parsed(path).find("article") or parsed(path)


def pages(site):
    """The pages of the site by name, those included that Sphinx adds."""
    found = {str(path.relative_to(site)): path for path in site.rglob("*.html")}
    return {name: path for name, path in found.items() if not name.startswith("_static")}


def test_every_page_of_the_contents_is_there(site):
    assert set(page_names()) <= set(pages(site))


def test_the_first_page_says_what_made_it_at_its_end(site):
    text = text_part(site / "chapters/intro.html")
    first, *_, last = text.find_all(class_="made-by")
    assert "Numbers in the text are computed" in last.text
    assert text.select_one(".srel-explorer") in first.find_all_previous()


def test_only_the_first_page_has_no_contents_beside_it(site):
    beside = {name for name in page_names() if parsed(site / name).select(".bd-sidebar-secondary")}
    assert "chapters/intro.html" not in beside and "chapters/class_srel.html" in beside


def test_every_internal_link_and_anchor_resolves(site):
    broken, followed = [], 0
    for name, path in pages(site).items():
        for link in parsed(path).find_all("a", href=True):
            address = urlsplit(urljoin(HOME + name, link["href"]))
            if f"{address.scheme}://{address.netloc}/" != HOME:
                continue
            target = site / (unquote(address.path).lstrip("/") or "index.html")
            followed += 1
            if not target.is_file() or (
                address.fragment and unquote(address.fragment) not in ids(target)
            ):
                broken.append(f"{name}: {link['href']}")
    assert broken == []
    assert followed > 100


def test_no_page_uses_an_id_twice(site):
    for name, path in pages(site).items():
        assert [i for i, times in ids(path).items() if times > 1] == [], name


def test_every_figure_says_in_words_what_it_shows(site):
    seen = 0
    for name, path in pages(site).items():
        for image in text_part(path).find_all("img"):
            alt = image.get("alt", "")
            assert len(alt.split()) >= 5, f"{name}: {image['src']} has the alt text {alt!r}"
            assert not re.search(r"\.(png|svg|jpe?g)\b", alt), f"{name}: {alt!r} is a file's name"
            caption = image.find_parent("figure").find("figcaption").get_text()
            assert len(caption.split()) >= 5, f"{name}: {image['src']} has the caption {caption!r}"
            seen += 1
    assert seen > 10


def drawn_in(cell):
    """Whether the output of a code cell shows a figure."""
    return cell.find("img") or cell.select_one("svg [data-mark]")


def data_of(path):
    """(lines of comment, rows) of the data of a figure."""
    lines = path.read_text("utf8").splitlines()
    said = [line for line in lines if line.startswith("#")]
    return said, list(csv.DictReader(lines[len(said) :]))


def test_every_figure_has_its_data_with_the_command_that_made_it(site):
    found = set()
    for name, path in pages(site).items():
        for cell in filter(drawn_in, text_part(path).select(".cell")):
            links = cell.select("a.figure-data")
            assert links, f"{name}: {cell.select_one('figcaption')} has no data"
            for link in links:
                file = (path.parent / link["href"]).resolve()
                said, rows = data_of(file)
                chapter = name.removesuffix(".html")
                assert said[1] == (
                    f"# made by: python tools/run_chapter.py {chapter}.ipynb out.ipynb "
                    "-p profile smoke"
                )
                assert rows and set(rows[0]) <= set(table.COLUMNS)
                numbers = [row[n] for row in rows for n in ("x", "y", "x_to", "y_to") if row.get(n)]
                assert np.isfinite(np.array(numbers, dtype=float)).all()
                found.add(file.name)
    assert found == {path.name for path in (site / "data").iterdir()} and len(found) > 25


def test_the_data_of_figures_are_those_of_the_results(site):
    """Read from the pages, and computed here from what is kept."""
    summary = class_summary([e.run(progress=False) for e in class_experiments("smoke", "digits")])
    _, rows = data_of(site / "data/class_srel-fig-auc.csv")
    for panel, divergence in (("1", "kl"), ("2", "l2_logits")):
        for rule in map(str, summary.rule.values):
            own = [r for r in rows if (r["panel"], r["mark"], r["series"]) == (panel, "line", rule)]
            wanted = summary.auc.sel(rule=rule, divergence=divergence)
            assert [int(row["x"]) for row in own] == summary.step.values.tolist()
            np.testing.assert_allclose([float(row["y"]) for row in own], wanted, rtol=1e-6)
    said, rows = data_of(site / "data/paper_scale-fig-as-published.csv")
    for dataset, summary in load_all(ROOT / "results").items():
        (panel,) = (line for line in said if f"title: {title_of(dataset)}, original;" in line)
        number = panel.removeprefix("# panel ").partition(":")[0]
        part = ladder_in(summary, "original").sel(rung="as published")
        for mark, column, wanted in (
            ("line", "y", part.rung_epoch_same),
            ("band", "y_to", part.rung_epoch_same_interval.isel(bound=1)),
        ):
            own = [r for r in rows if (r["panel"], r["mark"]) == (number, mark)]
            shown = [float(row[column]) for row in own[: wanted.size]]
            np.testing.assert_allclose(shown, wanted, rtol=1e-6)


def opened(page, source):
    """The file of an image, or what a page holds of it itself."""
    kind, _, content = source.partition(",")
    return (
        io.BytesIO(base64.b64decode(content)) if kind.startswith("data:") else page.parent / source
    )


def test_the_letters_of_a_figure_can_be_read(site):
    """A figure as wide as this shrinks them to 10 pixels in the column of text."""
    for name, path in pages(site).items():
        for image in text_part(path).find_all("img"):
            if image["src"].endswith(".svg"):  # as wide as a column: tests/tools/test_packages.py
                continue
            with Image.open(opened(path, image["src"])) as picture:
                assert picture.width <= 1250, f"{name}: {image['alt']}"


def test_no_page_shows_a_traceback_a_warning_or_an_open_end(site):
    for name, path in pages(site).items():
        text = text_part(path).get_text()
        assert COMPLAINT.findall(text) == [], name
        assert parsed(path).select(".output.stderr, .output.traceback") == [], name


def test_pages_are_under_a_megabyte_with_their_figures(site):
    for name, path in pages(site).items():
        shown = {image["src"] for image in parsed(path).find_all("img", src=True)}
        files = [
            path,
            *((path.parent / src).resolve() for src in shown if not ELSEWHERE.match(src)),
        ]
        size = sum(file.stat().st_size for file in files if file.is_file())
        assert size < MEGABYTE, f"{name}: {size} bytes"


def test_no_folder_of_this_machine_is_in_the_pages(site):
    texts = (path for path in site.rglob("*") if path.suffix in {".html", ".js", ".csv", ".ipynb"})
    assert [path.name for path in texts if str(ROOT) in path.read_text("utf8")] == []


def test_a_chapter_executed_twice_is_the_same_but_for_times(site, tmp_path, monkeypatch):
    """All of them: `make check-reproducible`."""
    monkeypatch.setenv("SREL_RESULTS", str(tmp_path / "results"))
    timeless, again = tool("compare_books").timeless, tmp_path / "class_srel.ipynb"
    done = call(ROOT, "run_chapter", "chapters/class_srel.ipynb", again, "-p", "profile", "smoke")
    assert done.returncode == 0, done.stderr
    assert timeless(EXECUTED / again.name) == timeless(again)


def test_every_chapter_is_downloaded_as_an_executed_notebook(site):
    for name in tool("toc").sources(ROOT)[0]:
        page = site / name.with_suffix(".html")
        link = parsed(page).select_one(".btn-download-source-button")["href"]
        notebook = nbformat.read((page.parent / link).resolve(), 4)
        assert notebook.metadata.papermill.exception is None
        assert any(cell.get("outputs") for cell in notebook.cells), name
