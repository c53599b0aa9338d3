"""Names the user may get wrong: one wording for all of them."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One line that names the offending word, the nearest known one, and all known ones."""
    words = list(known)
    by_lower = {word.lower(): word for word in words}
    nearest = by_lower[difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0)[0]]
    return f"unknown {kind} {name!r}: the nearest is {nearest!r}, out of {', '.join(words)}"


def check_known(kind: str, name: object, known: Iterable[str]) -> None:
    """ValueError unless `name` is one of the known words."""
    words = list(known)
    if name not in words:
        raise ValueError(unknown(kind, name, words))
