"""Keep the verdicts in README.md and in the map of the paper as the committed results have them.

    python tools/verdicts.py check    exit code 1 if anything says something else
    python tools/verdicts.py write    write all anew

The README has a table of all claims between two marks, and a picture of all readings, a file beside
the results. In the map a cell begins with the mark
`<!-- verdict: LABEL -->`, or `<!-- verdict: LABEL / READING -->` for those readings of the claim
that begin like this; the label is that of the place where the book examines the claim.
"""

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from written import write_all

from srel_core.book.claims.evidence import Claim
from srel_core.book.claims.of_the_paper import claims
from srel_core.book.figures.style import style
from srel_core.book.figures.verdict_picture import verdict_picture
from srel_core.book.text.verdict_tables import in_brief, table
from srel_core.choices import unknown

README, MAP = Path("README.md"), Path("chapters/paper_map.md")
PICTURE = Path("results/verdicts.svg")
START, END = "<!-- verdicts: written by tools/verdicts.py -->", "<!-- end of verdicts -->"
MARK = re.compile(r"<!-- verdict: (?P<label>[\w-]+)(?: / (?P<reading>[^>]+))? -->(?P<said>[^|\n]*)")


def link(claim: Claim) -> str:
    if not claim.page:
        return ""
    return f"[{claim.page}](chapters/{claim.page}.ipynb)"


def with_table(text: str, found: Sequence[Claim]) -> str:
    """README's text with the present table; ValueError unless it has both marks, once each."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f"{README} must hold the lines {START!r} and {END!r} once each")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{table(found, link)}\n\n{END}{after}"


def with_words(text: str, found: Sequence[Claim]) -> str:
    """The map's text with the present verdict after each mark; ValueError for a mark that names
    no claim or none of its readings, and if there is no mark."""
    by_label = {claim.label: claim for claim in found}

    def cell(mark: re.Match[str]) -> str:
        if mark["label"] not in by_label:
            raise ValueError(f"{MAP}: {unknown('label', mark['label'], by_label)}")
        kept = mark[0].removesuffix(mark["said"])
        return f"{kept} {in_brief(by_label[mark['label']], mark['reading'] or '')} "

    text, written = MARK.subn(cell, text)
    if not written:
        raise ValueError(f"{MAP} must hold a mark `<!-- verdict: LABEL -->` where a verdict goes")
    return text


def picture(found: Sequence[Claim]) -> str:
    """The verdicts at a glance, as SVG. The same results give the same text."""
    # Without a salt, the ids in the file would be random.
    with style(), matplotlib.rc_context({"svg.hashsalt": "srel_core"}):
        figure, file = verdict_picture(found), io.StringIO()
        figure.savefig(
            file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
        plt.close(figure)
    return re.sub(r"\n\s+", "\n", file.getvalue())  # a tenth of the file is indentation


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the verdicts in README.md and in the map.")
    parser.add_argument("action", choices=["check", "write"])
    action = parser.parse_args().action
    present = {p: p.read_text("utf8") if p.exists() else "" for p in (README, MAP, PICTURE)}
    found = claims()
    try:
        wanted = {README: with_table(present[README], found), MAP: with_words(present[MAP], found)}
    except ValueError as error:
        sys.exit(f"verdicts: error: {error}")
    if found[0].findings:
        wanted[PICTURE] = picture(found)
    stale = {path: text for path, text in wanted.items() if present[path] != text}
    if stale and action == "check":
        sys.exit(
            f"verdicts: error: {next(iter(stale))} does not say what the results give: "
            "`python tools/verdicts.py write` writes it anew"
        )
    try:
        write_all(stale)
    except OSError as error:
        sys.exit(f"verdicts: error: cannot write {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
