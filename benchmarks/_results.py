"""Where the results of the benchmarks go, and how they are written.

Imported before torch, it makes threads that wait leave their core to other processes.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from srel_core.experiments.result_files import ResultError, require_writable, write_atomically

HERE = Path(__file__).parent / "results"


def parser(description: str) -> argparse.ArgumentParser:
    """For a benchmark with this docstring: takes `--write-to`, a folder in which files can be
    written, before any time is spent."""
    made = argparse.ArgumentParser(description=description.partition("\n")[0])
    # As a string the default is checked like what is given.
    made.add_argument(
        "--write-to", type=_writable, default=str(HERE), metavar="FOLDER",
        help="where the result goes; default: benchmarks/results",
    )  # fmt: skip
    return made


def positive(text: str) -> int:
    """An option's value that must be at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, not {text!r}")
    return int(text)


def save(folder: Path, name: str, result: dict[str, Any]) -> None:
    """Write `name`.json, all of it or nothing; one line and exit code 1 if it cannot be."""
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    path = folder / f"{name}.json"
    try:
        write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    except ResultError as error:
        sys.exit(f"{name}: error: {error} with --write-to")


def _writable(path: str) -> Path:
    try:
        require_writable(Path(path))
    except ResultError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(path)
