"""Data in text that is Markdown: what comes from a result, a parameter or the name of a folder says
what it says, and is never markup."""

import re
from pathlib import PurePath

_MARKUP = frozenset("&<>\"'`*_[]|$#{}\\~!^")


# In an address, which would become a link.
_JOINTS = re.compile(r"[:/.@](?=[^\s\d:.@]|/)")


def plain(data: object) -> str:
    """`data` as text in a line of Markdown, in a table too, or of HTML: neither markup nor link nor
    line breaks, and no control characters."""
    line = " ".join(str(data).split())
    shown = "".join(c for c in line if c.isprintable())
    joints = {found.start() for found in _JOINTS.finditer(shown)}
    return "".join(
        f"&#{ord(c)};" if c in _MARKUP or i in joints else c for i, c in enumerate(shown)
    )


def code(data: object) -> str:
    """`data` in the letters of code, where it has none that would end them; else as `plain`."""
    text = " ".join(str(data).split())
    return f"`{text}`" if text.isprintable() and not set(text) & set("`|\\$") else plain(text)


def varying(text: object) -> str:
    """`text` in Markdown, marked as what differs between two equal runs: times, dates, commits,
    and what was decided by times. Whoever compares two builds of the book leaves it out."""
    return f'<span class="varies">{text}</span>'


def without_folders(value: object) -> object:
    """A parameter without the folders above what it names: "folder:/home/me/birds" as
    "folder:birds". What is no absolute path stays as it is."""
    if not isinstance(value, str):
        return value
    kind, colon, path = value.partition(":") if value.startswith("folder:") else ("", "", value)
    given = PurePath(path)
    if not given.is_absolute() and not path.startswith("~"):
        return value
    return kind + colon + given.name


def folded(title: str, content: str) -> str:
    """Markdown behind a title: a reader who wants it opens it."""
    return f":::{{dropdown}} {title}\n\n{content}\n\n:::"
