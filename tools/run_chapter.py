"""Execute a chapter with papermill, strictly.

    python tools/run_chapter.py chapters/NAME.ipynb OUT.ipynb -p profile smoke -p seeds "[0, 1]"

Exit code 0: the executed notebook was written. 1: the chapter failed; no output, the notebook
with its traceback is kept beside it. 2: the call was wrong; nothing was executed or written.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import nbformat
import papermill  # type: ignore[import-untyped]
import pictures
import record
from executed import drop_progress, join_streams, one_line, problems
from papermill.exceptions import PapermillExecutionError  # type: ignore[import-untyped]
from parameters import ParameterError, declared, read

from srel_core.book.text.markup import without_folders


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run_chapter",
        description="Execute a chapter; a parameter that it does not declare is an error.",
    )
    add = parser.add_argument
    add("notebook", type=Path, help="the chapter, for example chapters/NAME.ipynb")
    add("out", type=Path, help="where the executed notebook goes")
    add(
        "-p",
        dest="given",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a value for a parameter of the chapter; -p may be given several times",
    )
    given, rest = parameters_in(sys.argv[1:])
    options = parser.parse_args(rest)
    options.given += given
    return options


def parameters_in(words: list[str]) -> tuple[list[list[str]], list[str]]:
    """The pairs after each -p, and the other words: argparse takes a value such as -1e-4, which is
    a number, for an option."""
    given, rest = [], []
    while words:
        word, *words = words
        if word == "-p" and len(words) > 1:
            given.append(words[:2])
            words = words[2:]
        else:
            rest.append(word)
    return given, rest


def fail(message: str, code: int) -> NoReturn:
    print(f"run_chapter: error: {message}", file=sys.stderr)
    sys.exit(code)


def load(path: Path) -> nbformat.NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}", 2)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError):
        fail(f"{path} is not a notebook; give a chapter's .ipynb file", 2)


def prepare(out: Path, notebook: Path) -> None:
    """See to it that `out` can be written before hours are spent on what goes there."""
    if out.suffix != ".ipynb":
        fail(f"the output {out} must end in .ipynb", 2)
    if out.exists() and out.samefile(notebook):
        fail(f"the output {out} is the chapter itself; choose another name", 2)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot make the folder {out.parent}: {error.strerror}", 2)
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        fail(f"cannot write {out}: choose a file in a folder that can be written to", 2)


def prepare_kernel() -> None:
    """Make `python3` mean this interpreter, whatever kernels the user has installed elsewhere, and
    its threads leave their core to other processes while they wait."""
    os.environ["JUPYTER_PATH"] = str(Path(sys.prefix, "share", "jupyter"))
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # or the debugger warns in each kernel
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def execute(notebook: Path, out: Path, values: dict[str, Any]) -> str | None:
    """Write the executed `notebook` to `out`; if it failed, keep it aside and return why."""
    partial = out.with_name(f".{out.stem}.partial.ipynb")
    failed = failed_name(out)
    failed.unlink(missing_ok=True)
    try:
        result = papermill.execute_notebook(
            notebook,
            partial,
            values,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=600,  # seconds: a busy machine starts a kernel slowly
            stderr_file=sys.stderr,  # progress bars, as they come
            extra_arguments=["--log-level=CRITICAL"],  # errors of the chapter arrive anyway
        )
        shown = {name: without_folders(value) for name, value in values.items()}
        tidy(result, out, shown)
        pictures.shrink(result)
        defaults = {name: parameter.default for name, parameter in declared(result).items()}
        record.keep(result, defaults | {name: repr(value) for name, value in shown.items()})
        nbformat.write(result, partial)
        reason = "; ".join(problems(result))
    except PapermillExecutionError as error:
        reason = f"In [{error.exec_count}] raised {one_line(f'{error.ename}: {error.evalue}')}"
    except RuntimeError as error:  # the kernel did not start, or it died
        reason = f"{one_line(str(error))} (for want of memory?)"
    try:
        if partial.exists():
            partial.replace(failed if reason else out)
    finally:
        partial.unlink(missing_ok=True)
    return reason or None


def failed_name(out: Path) -> Path:
    return out.with_name(f"{out.stem}.failed.ipynb")


def tidy(result: nbformat.NotebookNode, out: Path, values: dict[str, Any]) -> None:
    """Leave nothing in the notebook that changes from run to run but the record of the run, and no
    folder of this machine: parameters are shown as `values`."""
    drop_progress(result)
    join_streams(result)
    run = result.metadata.papermill
    run.update(input_path=Path(run.input_path).name, output_path=out.name, parameters=values)
    hidden: list[str] = []  # how the chapter hides its parameters, so that these are hidden too
    for cell in result.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            hidden = [tag for tag in tags if tag.startswith(("hide-", "remove-"))]
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"
            cell.metadata.tags = [*tags, *hidden]
            lines = [f"{name} = {value!r}" for name, value in values.items()]
            cell.source = "\n".join(["# Parameters", *lines])
        cell.metadata.pop("execution", None)
        cell.metadata.pop("papermill", None)


def main() -> None:
    options = arguments()
    chapter = load(options.notebook)
    try:
        values = read(chapter, options.given)
    except ParameterError as error:
        fail(f"{options.notebook}: {error}", 2)
    prepare(options.out, options.notebook)
    prepare_kernel()
    given = ", ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
    print(f"run_chapter: {options.notebook} with {given or 'its defaults'}", file=sys.stderr)
    start = time.monotonic()
    try:
        reason = execute(options.notebook, options.out, values)
    except OSError as error:
        fail(f"cannot write {options.out}: {error.strerror}", 1)
    except KeyboardInterrupt:
        fail("interrupted; nothing was written", 130)
    if reason:
        options.out.unlink(missing_ok=True)
        traceback = failed_name(options.out)
        kept = f" (all of it: {traceback})" if traceback.exists() else ""
        fail(f"{options.notebook} failed: {reason}{kept}", 1)
    seconds = time.monotonic() - start
    print(f"run_chapter: wrote {options.out} after {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
