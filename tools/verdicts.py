"""Keep the README's table of verdicts as the committed results have it.

python tools/verdicts.py check    exit code 1 if README.md says anything else
python tools/verdicts.py write    write the table anew, between its two markers
"""

import argparse
import sys
from pathlib import Path

from srel_core.claims import claims
from srel_core.verdicts import Claim, table

START, END = "<!-- verdicts: written by tools/verdicts.py -->", "<!-- end of verdicts -->"


def link(claim: Claim) -> str:
    if not claim.page:
        return ""
    return f"[{claim.page}](chapters/{claim.page}.ipynb)"


def rewritten(text: str) -> str:
    """README's text with the present table; ValueError unless it has both markers, once each."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f"README.md must hold the lines {START!r} and {END!r} once each")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{table(claims(), link)}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep the README's table of verdicts.")
    parser.add_argument("action", choices=["check", "write"])
    action = parser.parse_args().action
    readme = Path("README.md")
    present = readme.read_text("utf8")
    try:
        wanted = rewritten(present)
    except ValueError as error:
        sys.exit(f"verdicts: error: {error}")
    if action == "write":
        readme.write_text(wanted, "utf8")
    elif present != wanted:
        sys.exit(
            "verdicts: error: README.md does not say what the results give: "
            "`python tools/verdicts.py write` writes its table anew"
        )


if __name__ == "__main__":
    main()
