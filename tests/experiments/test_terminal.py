"""Text of others on the user's terminal."""

import pytest

from srel_core.experiments.terminal import plain


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("größe ‖w‖ → 1", "größe ‖w‖ → 1"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("two\nlines\r\tand\x85\u2028more", r"two\nlines\r\tand\x85\u2028more"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("\udcff", r"\udcff"),
        (3, "3"),
    ],
)
def test_nothing_is_left_that_a_terminal_obeys(text, printed):
    assert plain(text) == printed
    assert plain(text).isprintable() and plain(text).encode()
