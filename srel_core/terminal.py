"""Text of files and of users, made safe to print on a terminal."""


def plain(text: object) -> str:
    r"""One line without anything that a terminal obeys: newlines, escapes, marks that turn the
    direction of text, and halves of broken characters come out as \n, \x1b, \u202e, \udcff."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )
