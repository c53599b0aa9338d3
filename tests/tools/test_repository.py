"""A published book: its buttons lead to its repository, and its notebooks get what they need."""

import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from tests.support.book import ROOT, call, make_book, run, tool, tree

PLACE = "https://github.com/someone/a.book"
SCRIPT = "chapters/tiny.py"
# Without what is installed, as on Colab; git works, and pip is only asked.
ELSEWHERE = """
import os, subprocess, sys
from importlib.util import find_spec
really = subprocess.run
def run(command, **options):
    print(*command)
    return really(command, **options) if command[0] == "git" else None
subprocess.run = run
for _ in range(2):
    exec(open(sys.argv[1]).read())
    print("now in", os.path.relpath(os.getcwd(), sys.argv[2]), find_spec("srel_core").origin)
"""


def book_in(folder):
    book = make_book(folder)
    shutil.copyfile(ROOT / "CITATION.cff", book / "CITATION.cff")
    return book


@pytest.fixture
def book(tmp_path):
    return book_in(tmp_path / "book")


def commit_all(book, branch):
    commit = ["-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "m"]
    for command in (["init", "--quiet", "--initial-branch", branch], ["add", "."], commit):
        subprocess.run(["git", *command], cwd=book, check=True)


def first_code(book):
    notebook = nbformat.read(book / "chapters/tiny.ipynb", 4)
    return next(cell for cell in notebook.cells if cell.cell_type == "code")


def test_the_address_is_written_where_it_belongs_and_taken_back(book):
    before = tree(book)
    done = call(book, "repository", PLACE + ".git/", "--branch", "v1/final")
    assert (done.returncode, done.stderr) == (0, "")
    written = ["_config.yml", "CITATION.cff", SCRIPT, "chapters/tiny.ipynb"]
    assert done.stdout.split("\n")[:-1] == [f"wrote {name}" for name in written]
    config = yaml.safe_load((book / "_config.yml").read_text())
    assert config["repository"] == {"url": PLACE, "branch": "v1/final"}
    cited = yaml.safe_load((book / "CITATION.cff").read_text())
    assert cited["repository-code"] == PLACE
    cell = first_code(book)
    assert cell.metadata.tags == ["remove-cell"] and PLACE in cell.source
    assert call(book, "pairs", "check").returncode == 0
    once = tree(book)
    again = call(book, "repository", PLACE, "--branch", "v1/final")
    assert (again.returncode, again.stdout) == (0, "") and tree(book) == once
    assert call(book, "repository", "https://github.com/other/name").returncode == 0
    assert "someone" not in (book / SCRIPT).read_text()
    assert (book / SCRIPT).read_text().count("tools/repository.py") == 1
    assert call(book, "repository", "--clear").returncode == 0
    assert tree(book) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the address of a repository, or --clear"),
        ([PLACE, "--clear"], "give the address of a repository, or --clear"),
        (["github.com/someone/book"], "expected https://github.com/OWNER/NAME, got"),
        (["https://github.com/someone"], "expected https://github.com/OWNER/NAME"),
        (["https://github.com/someone/book/tree/main"], "expected https://github.com/OWNER/NAME"),
        (["https://github.com/someone/.."], "expected https://github.com/OWNER/NAME"),
        (['https://github.com/someone/b"k'], "expected https://github.com/OWNER/NAME"),
        (["https://example.org/someone/book"], "expected https://github.com/OWNER/NAME"),
        ([PLACE, "--branch", "a..b"], "expected the name of a branch"),
        ([PLACE, "--branch", 'x"'], "expected the name of a branch"),
        ([PLACE, "--branch", ""], "expected the name of a branch"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(book, arguments, message):
    before = tree(book)
    done = call(book, "repository", *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("repository: error: ") and message in done.stderr
    assert tree(book) == before


def test_a_book_that_is_not_as_expected_is_left_alone(book):
    script = (book / SCRIPT).read_text()
    (book / SCRIPT).write_text(script + "\n# %%\nlast = 1\n")
    before = tree(book)
    done = call(book, "repository", PLACE)
    assert done.returncode == 2 and "pairs.py sync" in done.stderr and tree(book) == before
    (book / SCRIPT).write_text(script)
    config = (book / "_config.yml").read_text()
    (book / "_config.yml").write_text(config.replace("# end\n", ""))
    assert "_config.yml must hold" in call(book, "repository", PLACE).stderr
    (book / "_config.yml").write_text(config)
    (book / "CITATION.cff").unlink()
    done = call(book, "repository", PLACE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "CITATION.cff" in done.stderr
    assert PLACE not in config and (book / "_config.yml").read_text() == config


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A book in a repository of its own, built after it was told its address."""
    book = book_in(tmp_path_factory.mktemp("published") / "book")
    assert call(book, "repository", PLACE, "--branch", "gh").returncode == 0
    commit_all(book, "gh")
    executed = "_build/executed/smoke"
    for done in (
        call(book, "run_chapter", "chapters/tiny.ipynb", f"{executed}/tiny.ipynb"),
        call(book, "build_book", executed, "_build/book/smoke"),
    ):
        assert done.returncode == 0, done.stderr
    return book


@pytest.fixture(scope="module")
def page(published):
    html = published / "_build/book/smoke/_build/html/chapters/tiny.html"
    return BeautifulSoup(html.read_text("utf8"), "html.parser")


def test_the_page_has_buttons_that_lead_to_its_notebook(page):
    links = [link["href"] for link in page.select(".dropdown-launch-buttons a")]
    assert links == [
        "https://mybinder.org/v2/gh/someone/a.book/gh?urlpath=lab/tree/chapters/tiny.ipynb",
        "https://colab.research.google.com/github/someone/a.book/blob/gh/chapters/tiny.ipynb",
    ]
    code = page.select_one('.made-by-box a[href*="blob"]')["href"]
    assert re.fullmatch(PLACE + r"/blob/\w+/chapters/tiny.py", code)


def test_the_page_does_not_show_the_first_cell(page):
    assert "a sum" not in page.get_text() and "find_spec" not in page.get_text()
    assert "smoke" in page.get_text() or "laptop: " in page.get_text()


def tags(page):
    return {tag["property"]: tag["content"] for tag in page.select("meta[property]")}


def test_the_page_has_a_card_with_its_first_figure(page):
    site = "https://someone.github.io/a.book/"
    shown = tags(page)
    image = shown.pop("og:image")
    assert re.fullmatch(site + r"_images/\w+\.png", image)
    assert page.select_one("article img")["src"] == image.replace(site, "../")
    assert shown == {
        "og:type": "article", "og:site_name": "Local elasticity during training",
        "og:title": "A small chapter", "og:url": f"{site}chapters/tiny.html",
        "og:description": "s(n) is the sum of the first n numbers [He and Su, 2020]. It is "
        "computed below: Definition 1. STALE. Not really.",
        "og:image:alt": "A straight line from zero to one", "twitter:card": "summary_large_image",
    }  # fmt: skip
    assert page.select_one("link[rel=canonical]")["href"] == f"{site}chapters/tiny.html"


def test_a_site_with_an_address_has_a_map_with_dates(published):
    """The copy of this book is committed, and its pages were built below it."""
    site = published / "_build/book/smoke/_build/html"
    pages = ElementTree.parse(site / "sitemap.xml").getroot()
    found = [[item.text for item in page] for page in pages]
    names = ("chapters/bibliography.html", "chapters/tiny.html", "intro.html")
    day = run(published, "git", "log", "-1", "--format=%cs").stdout.strip()
    assert found == [[f"https://someone.github.io/a.book/{name}", day] for name in names]
    for name in names:
        assert f"Last updated on {day}" in (site / name).read_text("utf8")


@pytest.mark.parametrize(
    ("repository", "baseurl", "address"),
    [
        ("https://github.com/Some-One/book", "", "https://some-one.github.io/book/"),
        ("https://github.com/One/one.github.io", "", "https://one.github.io/"),
        ("https://github.com/one/book", "https://book.example", "https://book.example/"),
        ("", "", ""),
    ],
)
def test_where_the_pages_are(repository, baseurl, address):
    config = SimpleNamespace(
        html_baseurl=baseurl, html_theme_options={"repository_url": repository}
    )
    assert tool("published").address_of(config) == address


def test_the_cell_does_nothing_where_the_library_is(book, tmp_path):
    call(book, "repository", PLACE)
    (tmp_path / "cell.py").write_text(
        "import subprocess\nsubprocess.run = None\n" + first_code(book).source
        + "\nprint(os.getcwd())\n"
    )  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(elsewhere, sys.executable, tmp_path / "cell.py")
    assert (done.stdout, done.stderr) == (f"{elsewhere}\n", "")
    assert not list(elsewhere.iterdir())


def test_elsewhere_the_cell_gets_the_book_with_its_results(book, tmp_path):
    call(book, "repository", PLACE, "--branch", "published")
    (book / "results").mkdir()
    (book / "results/kept.nc").touch()
    commit_all(book, "published")
    (tmp_path / "cell.py").write_text(first_code(book).source)
    (tmp_path / "home").mkdir()
    there = {
        **os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{book}.insteadOf",
        "GIT_CONFIG_VALUE_0": PLACE,
    }  # fmt: skip
    command = [sys.executable, "-I", "-S", "-c", ELSEWHERE, tmp_path / "cell.py", tmp_path / "home"]
    for times in (1, 0):  # the second time in a new kernel: the book is there, and pip is asked
        done = subprocess.run(
            command, cwd=tmp_path / "home", env=there, capture_output=True, text=True, check=True
        )
        assert done.stdout.count("git clone --depth 1 --branch published " + PLACE) == times
        assert done.stdout.count("-m pip install --quiet --editable a.book[experiments]") == 1
        library = tmp_path / "home/a.book/srel_core/__init__.py"
        assert done.stdout.count(f"now in a.book/chapters {library}") == 2
    assert (tmp_path / "home/a.book/results/kept.nc").exists()


def test_with_an_address_the_chapters_of_this_book_are_as_tidy_as_without(tmp_path):
    copy = tmp_path / "book"
    for name in ("chapters", "srel_core"):  # without the library, ruff sorts its imports otherwise
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "CITATION.cff", "pyproject.toml"):
        shutil.copyfile(ROOT / name, copy / name)
    address = "https://github.com/" + "a-long-name" * 3 + "/" + "a-long-name" * 4
    assert call(copy, "repository", address, "--branch", "a-long-name" * 4).returncode == 0
    for check in (["format", "--check"], ["check"]):
        done = run(copy, sys.executable, "-m", "ruff", *check, "chapters")
        assert done.returncode == 0, done.stdout
    for script in (copy / "chapters").glob("*.py"):
        parts = re.split(r"^# %%", script.read_text(), flags=re.MULTILINE)
        code = [part for part in parts[1:] if not part.startswith(" [markdown]")]
        assert address in code[0] and address not in "".join(code[1:]), script


def test_files_are_written_together_or_not_at_all(tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    write_all = tool("written").write_all
    first.write_text("old")
    for spoilt in (tmp_path / "missing" / "file", tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)  # no draft, and no place to put one
        with pytest.raises(OSError) as caught:
            write_all({first: "new", second: "new", spoilt: "new", third: "new"})
        assert caught.value.filename == str(spoilt) and caught.value.strerror
        assert first.read_text() == "old"
        assert {path.name for path in tmp_path.iterdir()} == {"first", "folder"}
    write_all({first: "new", second: "néw"})
    assert first.read_text() == "new" and second.read_text("utf8") == "néw"


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    code = (
        "import resource, signal, sys; from pathlib import Path; from written import write_all; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
        "write_all({Path(sys.argv[1]): 'x' * 1000})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "large"],
        cwd=ROOT / "tools", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and f"File too large: '{tmp_path / 'large'}'" in done.stderr
    assert not list(tmp_path.iterdir())
