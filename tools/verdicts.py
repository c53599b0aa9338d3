"""Keep the verdicts in README.md and in the map of the paper as the committed results have them.

    python tools/verdicts.py check    exit code 1 if one of the two says anything else
    python tools/verdicts.py write    write them anew

The README has a table of all claims between two marks. In the map a cell begins with the mark
`<!-- verdict: LABEL -->`, or `<!-- verdict: LABEL / READING -->` for those readings of the claim
that begin like this; the label is that of the place where the book examines the claim.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from srel_core.claims import claims
from srel_core.names import unknown
from srel_core.verdicts import Claim, in_brief, table

README, MAP = Path("README.md"), Path("chapters/paper_map.md")
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the verdicts in README.md and in the map.")
    parser.add_argument("action", choices=["check", "write"])
    action = parser.parse_args().action
    present = {path: path.read_text("utf8") for path in (README, MAP)}
    found = claims()
    try:
        wanted = {README: with_table(present[README], found), MAP: with_words(present[MAP], found)}
    except ValueError as error:
        sys.exit(f"verdicts: error: {error}")
    for path, text in wanted.items():
        if action == "write":
            path.write_text(text, "utf8")
        elif present[path] != text:
            sys.exit(
                f"verdicts: error: {path} does not say what the results give: "
                "`python tools/verdicts.py write` writes it anew"
            )


if __name__ == "__main__":
    main()
