"""Numbers in a line of Markdown."""

import pytest

from srel_core.book.text.numbers import factor, listed, rounded


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123, "0.12"),
        (12.3, "12"),
        (1234, r"$1.2\times 10^{3}$"),
        (0.0000123, r"$1.2\times 10^{-5}$"),
    ],
)
def test_two_digits_and_an_exponent_as_a_formula(value, text):
    assert rounded(value) == text


def test_factors_and_lists():
    assert [factor(v) for v in (1, 17.52, 12345.6)] == ["×1", "×17.5", "×12,346"]
    assert listed(["a", "b"]) == "a; b" and listed([]) == "none"
