"""Hold each chapters/NAME.py and its notebook NAME.ipynb together.

    python tools/pairs.py check     exit code 1, and what differs, if a pair is out of step
    python tools/pairs.py sync      write the notebooks anew from the .py files

The .py file is the master. The notebook carries no outputs, and each cell's id is a digest of
its content: a cell that was edited in Jupyter gives itself away, and is never overwritten.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped]
import nbformat
from written import write_all

METADATA = {
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
# No part of a cell: jupytext's own notes about blank lines, and what Jupyter leaves behind.
NOISE = {
    *("lines_to_next_cell", "lines_to_end_of_cell_marker"),
    *("collapsed", "editable", "execution", "scrolled", "trusted"),
}


def content(cell: Any) -> tuple[str, str, dict[str, Any]]:
    return cell.cell_type, cell.source, {k: v for k, v in cell.metadata.items() if k not in NOISE}


def digest(cell: Any) -> str:
    return hashlib.sha256(json.dumps(content(cell), sort_keys=True).encode()).hexdigest()[:12]


def from_script(script: Path) -> nbformat.NotebookNode:
    """The notebook that belongs to `script`; the same bytes for the same script."""
    return from_text(script.read_text("utf8"))


def from_text(text: str) -> nbformat.NotebookNode:
    """The notebook of a script with this content; some editors put a mark before it."""
    parsed = jupytext.reads(text.removeprefix("\ufeff"), fmt="py:percent")
    seen: Counter[str] = Counter()
    cells = []
    for cell in parsed.cells:
        kind, source, metadata = content(cell)
        make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        identity = digest(cell)
        seen[identity] += 1
        repeat = f"-{seen[identity]}" if seen[identity] > 1 else ""
        cells.append(make(source, metadata=metadata, id=identity + repeat))
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA, nbformat_minor=5)


def text_of(notebook: nbformat.NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def edited(notebook: nbformat.NotebookNode, script: nbformat.NotebookNode) -> list[int]:
    """Numbers of the cells that were written or changed in the notebook and are not in the .py."""
    known = [content(cell) for cell in script.cells]
    return [
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.get("id", "").partition("-")[0] != digest(cell) and content(cell) not in known
    ]


def difference(script: Path, notebook: Path) -> str | None:
    """What sets the pair apart, in one line; None if nothing does."""
    if not notebook.exists():
        return f"{notebook} is missing"
    if notebook.read_text("utf8") == text_of(wanted := from_script(script)):
        return None
    present = nbformat.read(notebook, as_version=4)
    if len(present.cells) != len(wanted.cells):
        return f"{notebook} has {len(present.cells)} cells, {script} has {len(wanted.cells)}"
    for number, (here, there) in enumerate(zip(present.cells, wanted.cells, strict=True), start=1):
        if content(here) != content(there):
            return f"{notebook}: cell {number} differs from {script}"
        if here.get("outputs") or here.get("execution_count"):
            return f"{notebook}: cell {number} holds outputs"
    return f"{notebook}: metadata or cell ids differ from {script}"


def sync(script: Path, notebook: Path) -> str | None:
    """Write `notebook` anew; returns why not, in one line, if work would be lost."""
    wanted = from_script(script)
    if notebook.exists():
        if notebook.read_text("utf8") == text_of(wanted):
            return None
        if cells := edited(nbformat.read(notebook, as_version=4), wanted):
            return (
                f"{notebook}: cell {cells[0]} was edited in the notebook; take it over with "
                f"`jupytext --to py:percent {notebook}`, or delete the notebook, and sync again"
            )
    write_all({notebook: text_of(wanted)})
    print(f"wrote {notebook}")
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep chapters/NAME.py and NAME.ipynb together.")
    parser.add_argument("action", choices=["check", "sync"])
    action = parser.parse_args().action
    step = difference if action == "check" else sync
    scripts = sorted(Path("chapters").glob("*.py"))
    faults = [fault for path in scripts if (fault := step(path, path.with_suffix(".ipynb")))]
    faults += [
        f"{path} has no {path.with_suffix('.py').name}; make it with "
        f"`jupytext --to py:percent {path}`"
        for path in sorted(Path("chapters").glob("*.ipynb"))
        if path.with_suffix(".py") not in scripts
    ]
    for fault in faults:
        print(f"pairs: error: {fault}", file=sys.stderr)
    if faults and action == "check":
        print("pairs: `python tools/pairs.py sync` writes the notebooks anew", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
