"""What the book says about the claims, in Markdown."""

from collections import Counter
from collections.abc import Callable, Sequence

from srel_core.book.claims.decided import decided_by
from srel_core.book.claims.evidence import Claim, overall
from srel_core.book.published.numbers import NOT_RUN, PUBLISHED, title_of, with_published
from srel_core.book.text.markup import plain
from srel_core.choices import unknown


def table(found: Sequence[Claim], link: Callable[[Claim], str]) -> str:
    """The claims as Markdown: one row each with its verdict, and what decides it."""
    lines = ["| | Claim | Verdict | What decides it | See |", "|---|---|---|---|---|"]
    for number, claim in enumerate(found, start=1):
        why = decided_by(claim) or claim.missing
        lines.append(f"| {number} | {claim.title} | **{claim.word}** | {why} | {link(claim)} |")
    return "\n".join(lines)


def in_brief(claim: Claim, beginning: str = "") -> str:
    """The verdict on those readings of a claim that begin like this, with the number of readings
    for each word where they differ, and the data sets that were run; Markdown. ValueError if the
    claim was examined and has no such reading."""
    readings = [reading for reading in claim.readings if reading.startswith(beginning)]
    if claim.readings and not readings:
        raise ValueError(unknown("reading", beginning, claim.readings))
    words = [claim.under(reading) for reading in readings]
    counts = Counter(words)
    verdict = f"**{overall(words)}**"
    if len(counts) > 1:
        verdict += f" ({', '.join(f'{number} *{word}*' for word, number in counts.items())})"
    where = [plain(title_of(dataset)) for dataset in claim.findings if dataset]
    return f"{verdict}, on {' and '.join(where)}" if where else verdict


def details(found: Sequence[Claim]) -> str:
    """Every finding of the claims about classification: a column for each published data set, and
    for each other one that was run."""
    shown = with_published(name for claim in found for name in claim.findings if name)
    lines = [
        f"| Read as | {' | '.join(plain(title_of(name)) for name in shown)} |",
        "|---|" + "---|" * len(shown),
    ]
    for number, claim in enumerate(found, start=1):
        if "" in claim.findings or not claim.findings:
            continue
        lines.append(f"| **{number}. {claim.title}** |" + " |" * len(shown))
        for reading in claim.readings:
            cells = [_cell(claim, dataset, reading) for dataset in shown]
            lines.append(f"| {reading} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _cell(claim: Claim, dataset: str, reading: str) -> str:
    if dataset not in claim.findings:
        return NOT_RUN if dataset in PUBLISHED else "nothing was published"
    return next(f.text for f in claim.findings[dataset] if f.reading == reading)


def other_details(found: Sequence[Claim]) -> str:
    """Every finding of the other claims, as a list."""
    lines = []
    for number, claim in enumerate(found, start=1):
        if "" in claim.findings:
            lines.append(f"**{number}. {claim.title}**\n")
            lines += [f"- {evidence.reading}: {evidence.text}" for evidence in claim.findings[""]]
            lines.append("")
    return "\n".join(lines)
