"""Tell the book from which GitHub repository it is published, so that its pages can be launched.

    python tools/repository.py https://github.com/OWNER/NAME [--branch main]
    python tools/repository.py --clear      take it back

_config.yml gets the address, with the buttons that open a chapter on Colab or Binder, and
CITATION.cff too. Each chapter gets a first code cell, not shown on its page, that fetches the book
and installs its library where there is none, as on Colab; Binder goes by environment.yml. Exit
code 2: the call was wrong, or a file not as expected; nothing was written.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pairs
from written import write_all

ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9-]+)/([\w.-]+?)(?:\.git)?/?")
BRANCH = re.compile(r"(?!.*(?:\.\.|//|/\.|\.lock(?:/|$)))[\w][\w./-]*(?<![./])", re.ASCII)
START, END = "# repository: written by tools/repository.py\n", "# end\n"
SECTION = re.compile(rf"(?<={re.escape(START)}).*?(?={END})", re.DOTALL)
CITED = re.compile(r"^repository-code: .*\n", re.MULTILINE)
WRITTEN = "# Written by tools/repository.py: "
CELL = re.compile(rf'^# %% tags=\["remove-cell"\]\n{WRITTEN}.*?(?=^# %%)', re.MULTILINE | re.DOTALL)
FIRST_CODE = re.compile(r"^# %%(?! \[markdown\])", re.MULTILINE)


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub, the one host whose notebooks Colab opens by their address."""

    owner: str
    name: str
    branch: str

    @property
    def url(self) -> str:
        return f"https://github.com/{self.owner}/{self.name}"


def settings(place: Repository | None) -> str:
    """The section of _config.yml."""
    if place is None:
        return 'repository:\n  url: ""\n'
    return (
        f"repository:\n  url: {place.url}\n  branch: {place.branch!r}\n"
        "launch_buttons:\n  binderhub_url: https://mybinder.org\n"
        "  colab_url: https://colab.research.google.com\n  notebook_interface: jupyterlab\n"
    )


def first_cell(place: Repository) -> str:
    """The cell for a chapter: silent, and without effect, where the library can be imported."""
    return f'''\
# %% tags=["remove-cell"]
{WRITTEN}where there is no srel_core, as on Colab, get the book.
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

repository = "{place.url}"
branch = "{place.branch}"
fetched = Path("{place.name}")
if find_spec("srel_core") is None:
    if not fetched.exists():
        clone = ["git", "clone", "--depth", "1", "--branch", branch, repository]
        subprocess.run(clone, check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--editable"]
    subprocess.run([*install, f"{{fetched}}[experiments]"], check=True)
    sys.path.insert(0, str(fetched.resolve()))  # this kernel was started before
if (fetched / "_toc.yml").exists():
    os.chdir(fetched / "chapters")  # the committed results are found from here

'''


def changed(root: Path, place: Repository | None) -> dict[Path, str]:
    """The text of each file that is to be written, all of them checked; ValueError, in one line,
    for a file that is not as expected."""
    config, cited = root / "_config.yml", root / "CITATION.cff"
    text, found = SECTION.subn(lambda _: settings(place), config.read_text("utf8"))
    if found != 1:
        raise ValueError(f"{config} must hold the line {START!r} once, and {END!r} below it")
    texts = {config: text}
    text = CITED.sub("", cited.read_text("utf8"))
    if place is not None:
        text, found = re.subn(
            r"^license: .*\n", rf"\g<0>repository-code: {place.url}\n", text, flags=re.MULTILINE
        )
        if found != 1:
            raise ValueError(f"{cited} must hold one line `license: …`, to be followed by another")
    texts[cited] = text
    for script in sorted((root / "chapters").glob("*.py")):
        notebook = script.with_suffix(".ipynb")
        if fault := pairs.difference(script, notebook):
            raise ValueError(f"{fault}; call `python tools/pairs.py sync` first")
        text = CELL.sub("", script.read_text("utf8"))
        if place is not None:
            text = FIRST_CODE.sub(lambda cell: first_cell(place) + cell[0], text, count=1)
        texts[script] = text
        texts[notebook] = pairs.text_of(pairs.from_text(text))
    return {path: text for path, text in texts.items() if path.read_text("utf8") != text}


def fail(message: str) -> NoReturn:
    print(f"repository: error: {message}", file=sys.stderr)
    sys.exit(2)


def asked(options: argparse.Namespace) -> Repository | None:
    """The repository that the command line names; None for --clear."""
    if options.clear == bool(options.address):
        fail("give the address of a repository, or --clear")
    if options.clear:
        return None
    address = ADDRESS.fullmatch(options.address)
    if address is None or address[2] in (".", ".."):
        fail(f"expected https://github.com/OWNER/NAME, got {options.address!r}")
    if not BRANCH.fullmatch(options.branch):
        fail(f"expected the name of a branch, such as main, got {options.branch!r}")
    return Repository(address[1], address[2], options.branch)


def main() -> None:
    parser = argparse.ArgumentParser(description="Tell the book where it is published.")
    parser.add_argument("address", nargs="?", help="https://github.com/OWNER/NAME")
    parser.add_argument("--branch", default="main", help="what is published (default: main)")
    parser.add_argument("--clear", action="store_true", help="forget the repository")
    place = asked(parser.parse_args())
    try:
        texts = changed(Path(), place)
        write_all(texts)
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read or write {error.filename}: {error.strerror}")
    for path in texts:
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
