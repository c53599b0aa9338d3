"""Words of others in figures: they say what they say, whatever matplotlib would make of them."""

from matplotlib.font_manager import FontProperties, findfont, get_font

from srel_core.experiments.terminal import plain


def literal(data: object, longest: int = 30) -> str:
    r"""`data` as a text for matplotlib: no formula between dollar signs; in a legend although it is
    empty or begins with "_"; \uXXXX for what the font has no sign for, instead of a warning; and
    with a gap in the middle beyond so many letters, which would leave no room to draw in."""
    signs = get_font(findfont(FontProperties())).get_charmap()
    whole = "".join(c if ord(c) in signs else _escaped(c) for c in plain(data))
    shown = shortened(whole, longest)
    return (" " if shown[:1] in ("", "_") else "") + shown.replace("$", r"\$")


def shortened(data: object, longest: int) -> str:
    """`data` in one line of so many letters at most, with its beginning and its end."""
    text = plain(data)
    end = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - end]}…{text[-end:]}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
