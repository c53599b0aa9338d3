"""Versions of the book side by side: old pages learn of new ones, and are else as they were."""

import subprocess

import pytest

from tests.support.book import call, tool, tree
from tests.support.browser import DESK, Visit, chromium, served

PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>{name}</title></head>
<body><article><h1>{name}</h1></article></body></html>
"""


def pages(folder, *names):
    for name in names:
        page = folder / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(PAGE.format(name=name))
    (folder / "_static").mkdir()
    (folder / "_static/some.css").write_text("body {}")
    return folder


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def site(tmp_path):
    """A site of three versions; the second has a page more."""
    versions, site = tool("versions"), tmp_path / "site"
    site.mkdir()
    versions.deposit(pages(tmp_path / "a", "index.html", "chapters/x.html"), site, "v1.9")
    versions.deposit(
        pages(tmp_path / "b", "index.html", "chapters/x.html", "y.html"), site, "v1.10"
    )
    versions.deposit(tmp_path / "a", site, "main")
    return site


def test_releases_come_first_the_newest_before_the_others(site):
    assert tool("versions").versions_of(site) == ["v1.10", "v1.9", "main"]
    newest = {path.relative_to(site / "versions/v1.10") for path in files(site / "versions/v1.10")}
    top = {path.relative_to(site) for path in files(site) if "versions" not in path.parts}
    assert {str(path) for path in top} == {".nojekyll", *map(str, newest)}


def test_the_others_stay_as_they_are_when_one_is_put_there_again(site, tmp_path):
    before = {name: content for name, content in tree(site).items() if "/main/" not in name}
    tool("versions").deposit(pages(tmp_path / "c", "index.html"), site, "main")
    after = {name: content for name, content in tree(site).items() if "/main/" not in name}
    changed = {name for name in before if before[name] != after[name]}
    assert set(before) == set(after) and changed == {str(site / "versions/versions.js")}
    assert not (site / "versions/main/chapters").exists()


def test_pages_lead_to_the_same_page_of_the_others_or_to_their_first(site):
    with chromium() as context, served(site) as address:
        visit = Visit(context, address, DESK, {})
        page = visit.open("y.html")
        said = page.locator("nav.book-versions")
        assert said.inner_text() == "This is version v1.10. Others: v1.9, main"
        links = [link.get_attribute("href") for link in said.locator("a").all()]
        assert links == [f"{address}versions/{name}/index.html" for name in ("v1.9", "main")]
        page = visit.open("versions/main/chapters/x.html")
        page.locator("nav.book-versions a").first.click()
        page.wait_for_url(f"{address}versions/v1.10/chapters/x.html")
        assert page.locator("h1").inner_text() == "chapters/x.html"
        assert not visit.complaints and not visit.foreign


def test_it_is_pushed_beside_what_was_pushed_before(tmp_path):
    def git(folder, *arguments):
        as_someone = ("-c", "user.name=n", "-c", "user.email=e")
        command = ["git", *as_someone, *arguments]
        return subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True
        ).stdout

    book = tmp_path / "book"
    pages(book / "_build/html", "index.html")
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(book, "init", "--quiet", "--initial-branch=main")
    git(book, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(book, "commit", "--quiet", "--allow-empty", "-m", "m")
    first = call(book, "versions", "--push")
    assert (first.returncode, first.stderr) == (0, "")
    git(book, "tag", "v1.0")
    second = call(book, "versions", "--push")
    assert second.stdout.startswith("v1.0, main: ")
    held = git(tmp_path / "origin.git", "ls-tree", "-r", "--name-only", "pages").split()
    assert {
        "versions/main/index.html",
        "versions/v1.0/index.html",
        ".nojekyll",
        "index.html",
    } <= set(held)
    assert call(book, "versions", "--push").returncode == 0
    commits = git(tmp_path / "origin.git", "log", "--oneline", "pages").splitlines()
    assert len(commits) == 2  # nothing new the third time
    assert git(book, "status", "--porcelain").split() == ["??", "_build/"]
    assert git(book, "branch").split() == ["*", "main"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version", "../up"], "no name for a version: '../up'"),
        ([], "no name for a version: ''"),
        (["--version", "v1", "--pages", "nowhere"], "no book in nowhere: `make book` first"),
        (["--version", "v1", "--push"], "git ls-remote: "),
        (["--version", "v1", "--site", "_build"], "_build holds something else than versions"),
        (["--version", "v1", "--site", "_build", "--push"], "_build holds something else than"),
    ],
)
def test_what_cannot_be_gets_a_line(tmp_path, arguments, said):
    pages(tmp_path / "_build/html", "index.html")
    before = tree(tmp_path)
    done = call(tmp_path, "versions", *arguments)
    assert done.returncode == 1 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"versions: error: {said}")
    assert tree(tmp_path) == before
