"""What keeps an executed notebook from being published.

A notebook that failed under papermill still builds without a warning, traceback and all, and so
does one that was never executed.
"""

import re
from collections.abc import Iterator
from typing import Any

import nbformat

# What a cell may leave on stderr: progress bars, and what matplotlib says when it runs for the
# first time, or on a busy machine.
HARMLESS = re.compile(
    r"(.*\d+%\|.*\|.*\[.*\].*|.*\d+\w* \[\d+:\d+.*\].*"
    r"|Matplotlib is building the font cache; this may take a moment\."
    r'|.*UserWarning: Creating legend with loc="best" can be slow with large amounts of data\.'
    r"|fig\.canvas\.print_figure\(bytes_io, \*\*kw\))?"
)
# Another chapter, or another user, computes what this one needs; the second line is the cell's.
WAITED = re.compile(r".*UserWarning: waiting for another process that computes .*\n.*\n?")
CURSOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def drop_progress(notebook: nbformat.NotebookNode) -> None:
    """Remove progress bars from the outputs: they are for whoever waits, not for the reader."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if not is_stderr(out) or complaint(out)]


def join_streams(notebook: nbformat.NotebookNode) -> None:
    """Make one output of what a cell wrote to one stream in several pieces: where the kernel cuts
    depends on how busy the machine is."""
    for cell in notebook.cells:
        joined: list[Any] = []
        for output in cell.get("outputs", []):
            before = joined[-1] if joined else None
            if (
                before is not None
                and output.output_type == before.output_type == "stream"
                and output.name == before.name
            ):
                before.text += output.text
            else:
                joined.append(output)
        if cell.cell_type == "code":
            cell.outputs = joined


def is_stderr(output: Any) -> bool:
    return output.output_type == "stream" and output.name == "stderr"


def complaint(output: Any) -> str:
    """What is left of the text of a stderr output without the harmless lines."""
    text = WAITED.sub("", CURSOR.sub("", output.text))
    lines = map(str.strip, re.split(r"[\r\n]", text))
    return " ".join(line for line in lines if not HARMLESS.fullmatch(line))


def problems(notebook: nbformat.NotebookNode) -> list[str]:
    """One line for each reason not to publish `notebook`."""
    record = notebook.metadata.get("papermill")
    if record is None:
        return ["it was not executed by papermill"]
    found: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip():
            found += [f"In [{cell.execution_count}] {fault}" for fault in cell_problems(cell)]
    if record.get("exception") and not found:
        found.append("papermill recorded an exception")
    return found


def cell_problems(cell: nbformat.NotebookNode) -> Iterator[str]:
    if cell.execution_count is None:
        yield f"was not executed: {one_line(cell.source)[:40]}"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"raised {one_line(f'{output.ename}: {output.evalue}')}"
        elif is_stderr(output):
            yield f"wrote to stderr: {complaint(output)}"
        elif "image/png" in output.get("data", {}) and not has_alt_text(cell):
            yield (
                "shows a figure without alternative text; give the cell the metadata "
                'mystnb={"image": {"alt": "…"}}'
            )


def has_alt_text(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip())


def one_line(text: str) -> str:
    return " ".join(text.split())
