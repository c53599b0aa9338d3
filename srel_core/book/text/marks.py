"""Marks in the text of chapters, for the book's tools."""


def varying(text: object) -> str:
    """`text` in Markdown, marked as what differs between two equal runs: times, dates, commits,
    and what was decided by times. Whoever compares two builds of the book leaves it out."""
    return f'<span class="varies">{text}</span>'
