"""Where the results of the benchmarks go, and how they are written."""

import argparse
import json
from pathlib import Path
from typing import Any

from srel_core.results import ResultError, require_writable, write_atomically

# A path as a string is checked by argparse, as one that is given is.
_FOLDER = str(Path(__file__).parent / "results")


def parser(description: str | None) -> argparse.ArgumentParser:
    """For a benchmark with this docstring: takes `--write-to`, a folder in which files can be
    written, before any time is spent."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument(
        "--write-to", type=_writable, default=_FOLDER, metavar="FOLDER",
        help="where the result goes; default: benchmarks/results",
    )  # fmt: skip
    return made


def save(folder: Path, name: str, result: dict[str, Any]) -> None:
    """Write `name`.json, all of it or nothing."""
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / f"{name}.json", lambda file: file.write_text(text, encoding="utf-8"))


def _writable(path: str) -> Path:
    try:
        require_writable(Path(path))
    except ResultError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(path)
