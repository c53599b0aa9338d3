"""A small book, from its script to its pages."""

import re
import shutil
import sys
from importlib.metadata import version

import pytest
from bs4 import BeautifulSoup

from srel_core.experiments import provenance
from srel_core.experiments.profiles import PROFILES
from tests.support.book import CHAPTER, ROOT, call, make_book, program, run

PAGES = "_build/book/smoke/_build/html"


def snakemake(book):
    return program(book, "snakemake", "--cores", "1", "--quiet", "all", "--config", "profile=smoke")


def build(book):
    return call(book, "build_book", "_build/executed/smoke", "_build/book/smoke")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A book that `snakemake` has built; a test that changes it works on a copy."""
    book = make_book(tmp_path_factory.mktemp("built") / "book")
    done = snakemake(book)
    assert done.returncode == 0, done.stderr
    return book


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "book")


def test_the_page_shows_what_the_chapter_computed(built):
    page = (built / PAGES / "chapters/tiny.html").read_text()
    assert f"smoke: {sum(range(1003))}, 0.5, [0, 1]" in page
    assert 'alt="A straight line from zero to one"' in page
    assert "Definition 1" in page and "tiny-sum" in page
    assert "it/s" not in page  # no progress bar


def test_the_page_says_what_made_it(built):
    page = BeautifulSoup((built / PAGES / "chapters/tiny.html").read_text(), "html.parser")
    above, line = page.select("p.made-by")
    assert above.find_previous_sibling().name == "h1"
    assert above.get_text() == (
        "Numbers in the text are computed: by the code of this page, or in the results that it "
        f"loads and names. Profile smoke, seeds [0, 1], commit {provenance.commit()}; "
        "what made this page."
    )
    assert "made-by-box" in page.find(id=above.find("a")["href"].removeprefix("#"))["class"]
    assert line.get_text() == (
        f"Made by this code, profile smoke, seeds [0, 1], commit {provenance.commit()}."
    )
    cell = page.find(id=line.find("a")["href"].removeprefix("#"))
    assert "plt.plot([0, 1])" in cell.get_text()
    names = [name.get_text().strip(": ") for name in page.select(".made-by-box dt")]
    values = [value.get_text().strip() for value in page.select(".made-by-box dd")]
    said = dict(zip(names, values, strict=True))
    assert said["code"].startswith("chapters/tiny.py, commit ")
    assert {"count = 3", "seeds = [0, 1]"} <= set(said["parameters"].split("; "))
    assert f"torch {version('torch')}," in said["packages"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d, in \d+ s", said["executed"])


def test_a_stale_result_carries_a_badge(built):
    page = BeautifulSoup((built / PAGES / "chapters/tiny.html").read_text(), "html.parser")
    assert [badge.get_text() for badge in page.select("strong.stale")] == ["STALE."]


def test_the_status_table_has_a_row_for_each_chapter(built):
    page = BeautifulSoup((built / PAGES / "intro.html").read_text(), "html.parser")
    first, second = (
        dict(
            zip(
                *([cell.get_text() for cell in line.find_all(["th", "td"])] for line in lines),
                strict=True,
            )
        )
        for table in page.select(".chapter-status table")
        for lines in [table.find_all("tr")]
    )
    assert first["chapter"] == second["chapter"] == "A small chapter"
    assert (first["profile"], first["commit"]) == ("smoke", provenance.commit())
    assert re.fullmatch(r"\d+ s", first["run\N{NO-BREAK SPACE}time"])
    assert "count = 3" in second["parameters"]
    assert f"torch {version('torch')}, " in page.select(".chapter-status p")[-1].get_text()


def test_the_pages_need_no_network(built):
    done = call(built, "check_site", PAGES)
    assert (done.returncode, done.stderr) == (0, "")
    page = (built / PAGES / "chapters/tiny.html").read_text()
    assert "../_static/mathjax/tex-chtml.js" in page
    served = built / PAGES / "_static/mathjax"
    for needed in (
        "tex-chtml.js",
        "input/tex/extensions/boldsymbol.js",
        "output/chtml/fonts/woff-v2/MathJax_Main-Regular.woff",
    ):
        assert (served / needed).exists()


def test_a_second_call_does_nothing_and_a_change_is_followed(copy):
    executed, index = copy / "_build/executed/smoke/tiny.ipynb", copy / PAGES / "index.html"
    first = executed.read_bytes(), index.stat().st_mtime_ns
    assert snakemake(copy).returncode == 0
    assert (executed.read_bytes(), index.stat().st_mtime_ns) == first
    (copy / "intro.md").write_text("# Changed\n\nIt has $1$ chapter.\n")
    assert snakemake(copy).returncode == 0
    assert executed.read_bytes() == first[0]
    assert "Changed" in (copy / PAGES / "intro.html").read_text()
    with (copy / "tools/record.py").open("a") as runner:
        runner.write("# changed\n")
    assert snakemake(copy).returncode == 0
    assert executed.read_bytes() != first[0]  # it records when it was executed


def test_a_chapter_that_fails_stops_the_book(tmp_path):
    book = make_book(
        tmp_path / "book", CHAPTER.replace('mode: str = "plain"', 'mode: str = "raise"')
    )
    done = snakemake(book)
    assert done.returncode != 0
    assert "run_chapter: error: chapters/tiny.ipynb failed: In [5] raised ValueError" in done.stderr
    assert not (book / PAGES).exists()


def test_a_notebook_that_was_not_executed_is_not_published(copy):
    shutil.copyfile(copy / "chapters/tiny.ipynb", copy / "_build/executed/smoke/tiny.ipynb")
    done = build(copy)
    assert done.returncode == 1 and "tiny.ipynb: it was not executed" in done.stderr
    (copy / "_build/executed/smoke/tiny.ipynb").unlink()
    done = build(copy)
    assert done.returncode == 1 and "execute chapters/tiny.ipynb first" in done.stderr
    assert not (copy / PAGES).exists()


def test_every_broken_reference_is_an_error(copy):
    broken = ["{prf:ref}`nowhere`", "{cite:p}`nobody1999`", "![a figure](no.png)", "[page](no.md)"]
    (copy / "intro.md").write_text("# A small book\n\n" + "\n\n".join(broken) + "\n")
    done = build(copy)
    assert done.returncode == 1
    assert "jupyter-book reported the problems above" in done.stderr
    assert all(word in done.stderr for word in ("nowhere", "nobody1999", "no.png", "no.md"))


def test_a_page_of_the_contents_that_is_missing_is_named(copy):
    (copy / "intro.md").unlink()
    done = build(copy)
    assert done.returncode == 1
    assert "_toc.yml names intro: expected one .ipynb or .md, got no such file" in done.stderr


def test_plain_jupyter_book_builds_the_bare_sources(tmp_path):
    book = make_book(tmp_path / "book")
    done = program(book, "jupyter-book", "build", ".", "-W", "-n", "--keep-going")
    assert done.returncode == 0, done.stdout + done.stderr
    assert call(book, "check_site", "_build/html").returncode == 0
    assert not (book / "_build/html/README.html").exists()
    assert "not executed" in (book / "_build/html/intro.html").read_text()
    assert "made-by" not in (book / "_build/html/chapters/tiny.html").read_text()


def test_make_book_knows_the_profiles_of_the_library(tmp_path):
    for profile in PROFILES:
        assert run(ROOT, "make", "--dry-run", "book", f"PROFILE={profile}").returncode == 0
    done = run(ROOT, "make", "book", "PROFILE=lap", f"VENV={tmp_path}/venv")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert f"unknown PROFILE=lap: choose {PROFILES[0]}, {' or '.join(PROFILES[1:])}" in done.stderr


@pytest.mark.parametrize("name", ["chapters/running.md", "README.md"])
def test_the_examples_in_the_text_run(tmp_path, name):
    examples = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert examples
    done = run(tmp_path, sys.executable, "-c", "\n".join(examples))
    assert (done.returncode, done.stderr) == (0, "")
