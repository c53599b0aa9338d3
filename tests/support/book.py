"""A small book in a folder of its own, and the tools as a user calls them."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
sys.path.append(str(TOOLS))  # the tools import one another by name, as scripts do


def lacks(reason: str) -> NoReturn:
    """End a test for which this machine lacks something: failed in CI, elsewhere skipped."""
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def tool(name: str) -> ModuleType:
    """The module tools/`name`.py."""
    return importlib.import_module(name)


CHAPTER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A small chapter
#
# :::{prf:definition} Sum
# :label: tiny-sum
# $\\boldsymbol{s}(n)$ is the sum of the first $n$ numbers {cite:p}`he2020local`.
# :::
#
# It is computed below: {prf:ref}`tiny-sum`. **STALE.** Not really.

# %% tags=["parameters"]
profile: str = "laptop"
results_dir: str = ""
count: int = 3
rate: float = 0.5
seeds: list[int] = [0, 1]
mode: str = "plain"

# %%
import os
import sys
import warnings

import matplotlib.pyplot as plt
from tqdm import tqdm

total = sum(tqdm(range(1000 + count)))
print(f"{profile}: {total}, {rate}, {seeds}")

# %% mystnb={"image": {"alt": "A straight line from zero to one"}}
plt.plot([0, 1])
plt.show()

# %%
if mode == "raise":
    raise ValueError("no such\\nsum")
if mode == "warn":
    warnings.warn("careful", stacklevel=1)
if mode == "die":
    os.kill(os.getpid(), 9)
if mode == "interpreter":
    print(sys.prefix)
"""


def make_book(folder: Path, chapter: str = CHAPTER) -> Path:
    """Fill `folder` with a book of one chapter that is built as this repository is."""
    (folder / "chapters").mkdir(parents=True)
    (folder / "srel_core").mkdir()
    (folder / "srel_core" / "__init__.py").write_text("")
    for name in ("Snakefile", "sweep.smk", "_config.yml", "pyproject.toml", "references.bib"):
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(TOOLS, folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "chapters/bibliography.md", folder / "chapters/bibliography.md")
    (folder / "intro.md").write_text(
        "# A small book\n\nIt has $1$ chapter.\n\n```{chapter-status}\n```\n"
    )
    (folder / "README.md").write_text("# Not a page\n")
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters:\n"
        "  - file: chapters/tiny\n  - file: chapters/bibliography\n"
    )
    (folder / "chapters" / "tiny.py").write_text(chapter)
    call(folder, "pairs", "sync")
    return folder


def call(folder: Path, tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run tools/`tool`.py in `folder`."""
    return run(folder, sys.executable, TOOLS / f"{tool}.py", *arguments)


def program(folder: Path, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment in `folder`."""
    return run(folder, Path(sys.executable).with_name(name), *arguments)


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its content."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def page_names() -> list[str]:
    """The pages of this book, in the order of _toc.yml, as names of files of the site."""
    notebooks, pages = tool("toc").sources(ROOT)
    return [str(path.with_suffix(".html")) for path in (*pages, *notebooks)]
