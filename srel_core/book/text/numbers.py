"""Numbers and names in a line of Markdown."""

from collections.abc import Iterable


def rounded(value: float) -> str:
    """Two digits, an exponent as a formula."""
    text = f"{value:.2g}"
    if "e" not in text:
        return text
    digits, power = text.split("e")
    return f"${digits}\\times 10^{{{int(power)}}}$"


def factor(value: float) -> str:
    """Three digits or more, without an exponent."""
    return f"×{value:.3g}" if value < 1000 else f"×{value:,.0f}"


def listed(names: Iterable[str]) -> str:
    """Names in a row; "none" if there are none."""
    return "; ".join(names) or "none"
