"""Put the built book beside its other versions: python tools/versions.py [--push]

A site holds each version in versions/NAME, the name being the tag or branch that is checked out.
What is there of the same name is replaced, all others stay as they are. Every page says at its top
which version it is of and links to the others: by one script beside the folders, so that old pages
learn of new versions. At the top of the site are the pages of the newest release, where links to
the book lead.

With --push the site is the branch `pages` of the repository that this one was cloned from, and what
else is in its folder here is removed: the version is added to the branch, and pushed. GitHub Pages
can show it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAME = re.compile(r"[\w][\w.-]*")
BRANCH = "pages"
VERSIONS = "versions"
SCRIPT = re.compile(r'<script defer src="[./a-z]*versions\.js" .*?</script>\n')


def check(pages: Path, site: Path, version: str) -> None:
    """ValueError for a name that is no folder's, without pages, or for a folder of other things,
    which would be removed."""
    if not NAME.fullmatch(version):
        raise ValueError(f"no name for a version: {version!r}; give one, such as --version v1.0")
    if not (pages / "index.html").is_file():
        raise ValueError(f"no book in {pages}: `make book` first")
    if site.exists() and not (site / VERSIONS).is_dir() and any(site.iterdir()):
        raise ValueError(f"{site} holds something else than versions of the book: name another")


def deposit(pages: Path, site: Path, version: str) -> None:
    """Put the pages into a site as this version, and those of its newest version to its top."""
    kept = site / VERSIONS
    shutil.rmtree(kept / version, ignore_errors=True)
    put(pages, kept / version, version, "../")
    found = versions_of(site)
    listed = [{"name": name, "pages": pages_of(kept / name)} for name in found]
    template = (HERE / "versions.js").read_text("utf8")
    script = template.replace("const versions = [];", f"const versions = {json.dumps(listed)};")
    (kept / "versions.js").write_text(script, "utf8")
    for old in site.iterdir():
        if old != kept and not old.name.startswith(".git"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    put(kept / found[0], site, found[0], f"{VERSIONS}/")
    (site / ".nojekyll").touch()  # or GitHub leaves out folders such as _static


def put(pages: Path, folder: Path, version: str, way: str) -> None:
    """Copy pages into a folder, with the script of versions, which is that way from there."""
    shutil.copytree(pages, folder, dirs_exist_ok=True)
    for place in pages_of(pages):
        page, up = folder / place, "../" * place.count("/")
        script = (
            f'<script defer src="{up}{way}versions.js" data-version="{version}" '
            f'data-page="{place}"></script>\n'
        )
        text = SCRIPT.sub("", page.read_text("utf8"))
        page.write_text(text.replace("</head>", f"{script}</head>", 1), "utf8")


def versions_of(site: Path) -> list[str]:
    """The versions in a site: releases, the newest first, then branches by name."""
    found = [folder.parent.name for folder in (site / VERSIONS).glob("*/index.html")]
    releases = [name for name in found if re.match(r"v\d", name)]
    by_number = sorted(releases, key=lambda n: [int(d) for d in re.findall(r"\d+", n)])
    return [*reversed(by_number), *sorted(set(found) - set(releases))]


def pages_of(folder: Path) -> list[str]:
    return sorted(page.relative_to(folder).as_posix() for page in folder.rglob("*.html"))


def checked_out() -> str:
    """The tag that is checked out, else the branch; "" where there is neither."""
    for command in (["describe", "--tags", "--exact-match"], ["branch", "--show-current"]):
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    return ""


def git(site: Path, *arguments: str) -> str:
    """Git of this repository, whose credentials count, with the site in the place of its files."""
    place = site.absolute()
    own = {"GIT_WORK_TREE": str(place), "GIT_INDEX_FILE": f"{place}.index"}
    done = subprocess.run(
        ["git", *arguments], env={**os.environ, **own}, capture_output=True, text=True
    )
    if done.returncode:
        raise ValueError(f"git {arguments[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def fetch(site: Path) -> str:
    """Fill the site with what is on the origin's branch of pages; the commit, "" if there is no
    such branch yet."""
    there = git(site, "ls-remote", "--heads", "origin", BRANCH)
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    if not there:
        git(site, "read-tree", "--empty")
        return ""
    git(site, "fetch", "--quiet", "origin", BRANCH)
    git(site, "read-tree", "FETCH_HEAD")
    git(site, "checkout-index", "--all", "--force")
    return git(site, "rev-parse", "FETCH_HEAD")


def push(site: Path, version: str, before: str) -> None:
    """Add the site to the branch, as the commit after that one."""
    git(site, "add", "--all", "--force", ".")
    tree = git(site, "write-tree")
    if before and git(site, "rev-parse", f"{before}^{{tree}}") == tree:
        return
    author = ("-c", "user.name=make publish", "-c", "user.email=publish@localhost")
    parent = ("-p", before) if before else ()
    commit = git(site, *author, "commit-tree", tree, *parent, "-m", f"Pages of {version}")
    git(site, "push", "--quiet", "origin", f"{commit}:refs/heads/{BRANCH}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Put the built book beside its other versions.")
    parser.add_argument("--pages", type=Path, default=Path("_build/html"))
    parser.add_argument("--site", type=Path, default=Path("_build/site"))
    parser.add_argument("--version", help="default: the tag or branch that is checked out")
    parser.add_argument("--push", action="store_true", help=f"to the origin's branch {BRANCH!r}")
    options = parser.parse_args()
    version = options.version or checked_out()
    try:
        check(options.pages, options.site, version)
        before = fetch(options.site) if options.push else ""
        deposit(options.pages, options.site, version)
        if options.push:
            push(options.site, version, before)
    except (ValueError, OSError) as error:
        sys.exit(f"versions: error: {error}")
    print(f"{', '.join(versions_of(options.site))}: {options.site / 'index.html'}")


if __name__ == "__main__":
    main()
