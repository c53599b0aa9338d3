"""A chapter depends on what it imports of the library, and on all of it where that is in doubt."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.book import CHAPTER, ROOT, make_book, program, tool

MODULES = {
    "__init__": '_MODULES = {"deep.lazy": ("Lazy",)}\n',
    "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from srel_core import apart\n",
    "b": "def late():\n    from srel_core.deep.c import thing\n",
    "deep/__init__": "",
    "deep/c": "import srel_core.a as a\n",
    "deep/lazy": "",
    "apart": "",
    "keyed": "from digest import Sources\nCODE = Sources('keyed', packages=('deep', 'none'))\n",
    "offers/__init__": '_MODULES = {"one": ("One",), "two": ("Two",)}\nimport_module("o" + "ne")\n',
    "offers/one": "",
    "offers/two": "",
    "computed": "import importlib\nimportlib.import_module('srel_core.' + 'a')\n",
    "broken": "def\n",
}
EVERYTHING = set(MODULES)


@pytest.fixture
def imported(tmp_path):
    """The names of the modules that a notebook with this code depends on."""
    for name, text in MODULES.items():
        path = tmp_path / "srel_core" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def of(*cells):
        notebook = tmp_path / "chapter.ipynb"
        code = [{"cell_type": "code", "source": [cell]} for cell in cells]
        text = {"cell_type": "markdown", "source": ["import srel_core.apart"]}
        notebook.write_text(json.dumps({"cells": [text, *code]}))
        files = tool("depends").Library(tmp_path).imported_by(notebook)
        return {
            str(file.relative_to(tmp_path / "srel_core").with_suffix("")).replace("\\", "/")
            for file in files
        }

    return of


def test_what_lies_beside_a_module_under_its_name_counts(imported, tmp_path):
    for name in ("a.js", "apart.js"):
        (tmp_path / "srel_core" / name).touch()
    imported("import srel_core.a")
    files = tool("depends").Library(tmp_path).imported_by(tmp_path / "chapter.ipynb")
    assert [f.name for f in files] == ["__init__.py", "a.js", "a.py"]


def test_what_is_imported_on_the_way_counts(imported):
    assert imported("import numpy as np", "print('srel_core.a')") == set()
    assert imported("import srel_core.a") == {"__init__", "a"}
    assert imported("from srel_core import a") == {"__init__", "a"}
    assert imported("x = 1", "def f():\n    from srel_core.b import late") == {
        "__init__", "a", "b", "deep/__init__", "deep/c",
    }  # fmt: skip


def test_what_the_package_loads_when_it_is_asked_counts_when_it_is_asked(imported):
    lazy = {"__init__", "deep/__init__", "deep/lazy"}
    assert imported("import srel_core as sc\nsc.__file__") == {"__init__"}
    assert imported("import srel_core as sc\nsc.Lazy(1).value") == lazy
    assert imported("import srel_core\nsrel_core.Lazy") == lazy
    assert imported("from srel_core import Lazy as Other") == lazy
    assert imported("import srel_core.a\nsrel_core.Lazy") == lazy | {"a"}


def test_modules_whose_text_is_part_of_a_result_count(imported):
    assert imported("from srel_core import keyed") == {
        "__init__", "a", "deep/__init__", "deep/c", "deep/lazy", "keyed",
    }  # fmt: skip
    assert imported("Sources('a', packages=('deep' + 'er',))") == EVERYTHING


def test_what_a_package_inside_loads_counts_for_who_may_ask_for_it(imported):
    asked = {"__init__", "offers/__init__", "offers/one"}
    assert imported("from srel_core.offers import One") == asked
    assert imported("import srel_core.offers.one") == asked
    assert imported("from srel_core import offers") == asked | {"offers/two"}
    assert imported("import srel_core.offers as o\no.One") == asked | {"offers/two"}
    assert imported("import srel_core.a\nsrel_core.offers.One") == asked | {"a", "offers/two"}


@pytest.mark.parametrize(
    "code",
    [
        "import srel_core as sc\ngetattr(sc, 'La' + 'zy')",
        "from srel_core import *",
        "from . import a",
        "from importlib import import_module as load\nload('srel_core.a')",
        "__import__('srel_core.a')",
        "%matplotlib inline\nimport srel_core.a",
        "import srel_core.computed",
        "import srel_core.broken",
    ],
)
def test_in_doubt_everything_counts(imported, code):
    assert imported(code) == EVERYTHING


@pytest.mark.parametrize("chapter", ["closed_form_flows", "class_srel"])
def test_what_a_chapter_of_this_book_loads_is_foreseen(chapter):
    found = list(ast.walk(ast.parse((ROOT / "chapters" / f"{chapter}.py").read_text())))
    imports = [ast.unparse(n) for n in found if isinstance(n, ast.Import | ast.ImportFrom)]
    lazy = [ast.unparse(n) for n in found if isinstance(n, ast.Attribute)]
    listing = "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('srel_core')))"
    code = "\n".join(
        [*imports, *(n for n in lazy if re.fullmatch(r"sc\.\w+", n)), "import sys", listing]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = {Path(name) for name in done.stdout.split()}
    foreseen = set(tool("depends").Library(ROOT).imported_by(ROOT / f"chapters/{chapter}.ipynb"))
    assert len(loaded) > 10 and loaded <= foreseen
    assert ROOT / "srel_core/cli/__init__.py" not in foreseen


def test_a_chapter_is_executed_again_after_an_edit_of_what_it_imports(tmp_path):
    book = make_book(tmp_path / "book", CHAPTER + "\n# %%\nfrom srel_core.used import value\n")
    library, executed = book / "srel_core", "_build/executed/smoke/tiny.ipynb"
    (library / "used.py").write_text("from srel_core.deeper import value\n")
    (library / "deeper.py").write_text("value = 1\n")
    (library / "apart.py").write_text("value = 1\n")
    call = ("snakemake", "--cores", "1", "--config", "profile=smoke", "--")

    def would_do(edited):
        (library / edited).write_text((library / edited).read_text() + "other = 2\n")
        return program(book, *call[:-1], "--dry-run", "--", executed).stdout

    assert program(book, *call, executed).returncode == 0
    assert "Nothing to be done" in would_do("apart.py")
    for edited in ("used.py", "deeper.py", "__init__.py"):
        assert "rule chapter:" in would_do(edited)
        assert program(book, *call[:-1], "--touch", "--", executed).returncode == 0
    assert "Nothing to be done" in would_do("apart.py")
