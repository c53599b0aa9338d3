"""Data in text that is Markdown: what comes from a result, a parameter or the name of a folder says
what it says, and is never markup."""

from pathlib import PurePath

_MARKUP = frozenset("&<>\"'`*_[]|$#{}\\~!^")


def plain(data: object) -> str:
    """`data` as text in a line of Markdown, in a table too, or of HTML: neither markup nor line
    breaks, and no control characters."""
    line = " ".join(str(data).split())
    shown = (c for c in line if c.isprintable())
    return "".join(f"&#{ord(c)};" if c in _MARKUP else c for c in shown)


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
