"""Where data sets are looked for.

The data root is the folder that the environment variable SREL_DATA names, else
`~/.cache/srel_core/data` (`$XDG_CACHE_HOME/srel_core/data` where that is set).
"""

import os
from pathlib import Path

from srel_core.experiments.datasets.store import DataError, printable


def data_root() -> tuple[Path, str]:
    """The data root as the user gave it, `~` and all, and a name for it without a path."""
    if given := os.environ.get("SREL_DATA"):
        return Path(given), "SREL_DATA"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return cache / "srel_core" / "data", "the default data root"


def expanded(path: Path) -> Path:
    """The path with its `~` replaced; DataError where nobody knows what `~` stands for."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DataError(
            f"{printable(str(path))}: expected a home folder in place of the ~, none is known: "
            "write the whole path, or set SREL_DATA"
        ) from error
