"""What users are told: of names they got wrong, and of what was done in another way than asked."""

import difflib
import sys
import warnings
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One line that names the offending word, the nearest known one, and all known ones."""
    words = list(known)
    by_lower = {word.lower(): word for word in words}
    nearest = by_lower[difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0)[0]]
    between = "; " if any("," in word for word in words) else ", "
    return f"unknown {kind} {name!r}: the nearest is {nearest!r}, out of {between.join(words)}"


def check_known(kind: str, name: object, known: Iterable[str]) -> None:
    """ValueError unless `name` is one of the known words."""
    words = list(known)
    if name not in words:
        raise ValueError(unknown(kind, name, words))


def warn_user(message: str) -> None:
    """A RuntimeWarning that points to the line from which the package was called."""
    frame, level = sys._getframe(0), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


_PACKAGE = __name__.partition(".")[0] + "."
