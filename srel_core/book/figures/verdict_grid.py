"""The verdicts at a glance: readings by data sets, each with a sign, a colour and its number."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from srel_core.book.claims.decided import decided_by
from srel_core.book.claims.evidence import Claim, Count, Evidence, Exactness, Finding, Word
from srel_core.book.published.numbers import NOT_RUN, PUBLISHED, title_of, with_published
from srel_core.book.text.verdict_tables import table

SIGNS: dict[Word, str] = {
    "holds": "✓", "does not hold": "✗", "depends": "±", "cannot be told": "?", "not examined": "–",
}  # fmt: skip
_KINDS: dict[Word, str] = {
    "holds": "holds", "does not hold": "fails", "depends": "mixed", "cannot be told": "open",
    "not examined": "open",
}  # fmt: skip


@dataclass(frozen=True)
class VerdictGrid:
    """All claims for a chapter: on its page the grid, and in print a table."""

    found: Sequence[Claim]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {
            "text/html": verdict_grid(self.found, _address),
            "text/markdown": table(self.found, _reference).replace("S_rel", r"$S_{\rm rel}$"),
        }


def _address(claim: Claim) -> str:
    """Of the place where a claim is examined, from the page of a chapter."""
    return f"{claim.page}.html#{claim.label}" if claim.label else ""


def _reference(claim: Claim) -> str:
    return f"{{ref}}`{claim.label}`" if claim.label else ""


def verdict_grid(found: Sequence[Claim], link: Callable[[Claim], str]) -> str:
    """HTML of a table with a body for each claim: what decides it, and its readings by data sets.

    link   the address of the place where a claim is examined, or ""
    """
    shown = with_published(name for claim in found for name in claim.findings if name)
    head = "".join(f'<th scope="col">{escape(title_of(name))}</th>' for name in shown)
    bodies = "\n".join(
        _body(number, claim, shown, link(claim)) for number, claim in enumerate(found, start=1)
    )
    css = Path(__file__).with_suffix(".css").read_text("utf8")
    return (
        f'<div class="srel-verdicts"><style>\n{css}</style>{_legend()}\n'
        f'<table><thead><tr><th scope="col">claim, and how it is read</th>{head}</tr></thead>'
        f"\n{bodies}\n</table></div>"
    )


def _legend() -> str:
    signs = " ".join(
        f'<span class="srel-{_KINDS[word]}"><b>{SIGNS[word]}</b> {word}</span>'
        for word in ("holds", "does not hold", "depends", "cannot be told")
    )
    marks = " ".join(
        f'<span><span class="srel-epochs" aria-hidden="true"><i class="{mark}"></i></span>'
        f" {said}</span>"
        for mark, said in (("up", "for"), ("level", "undecided"), ("down", "against"))
    )
    return (
        f'<p class="srel-legend">{signs} <span>in each epoch:</span> {marks} '
        "<span>Point at a cell, or tap it, for its number.</span></p>"
    )


def _body(number: int, claim: Claim, shown: list[str], address: str) -> str:
    title = _html(claim.title)
    if address:
        title = f'<a href="{escape(address)}">{title}</a>'
    kind = _KINDS[claim.word]
    rows = [
        f'<tr class="srel-claim"><th colspan="{1 + len(shown)}" scope="rowgroup">'
        f'{number}. {title} <span class="srel-word srel-{kind}">{SIGNS[claim.word]} {claim.word}'
        f"</span><p>{_html(decided_by(claim) or claim.missing)}</p></th></tr>"
    ]
    for reading in claim.readings if "" not in claim.findings else ():
        cells = "".join(
            f"<td>{_cell(_of(claim, dataset, reading), dataset)}</td>" for dataset in shown
        )
        rows.append(f'<tr><th scope="row">{_html(reading)}</th>{cells}</tr>')
    if "" in claim.findings:
        cells = "".join(_cell(evidence, name=evidence.reading) for evidence in claim.findings[""])
        rows.append(f'<tr><td class="srel-all" colspan="{1 + len(shown)}">{cells}</td></tr>')
    return "<tbody>" + "\n".join(rows) + "</tbody>"


def _html(markdown: str) -> str:
    """A line with strong words, code and S_rel in it."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(markdown))
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", text)
    return text.replace("S_rel", "<i>S</i><sub>rel</sub>")


def _of(claim: Claim, dataset: str, reading: str) -> Evidence | None:
    return next((f for f in claim.findings.get(dataset, ()) if f.reading == reading), None)


def _cell(evidence: Evidence | None, dataset: str = "", name: str = "") -> str:
    if evidence is None:
        why = NOT_RUN if dataset in PUBLISHED else "nothing was published"
        return f'<span class="srel-none">{escape(why.partition(":")[0])}</span>'
    word = evidence.word
    words, number, picture = _told(evidence)
    label = f"<span>{_html(name)}</span>" if name else ""
    return (
        f'<button type="button" class="srel-{_KINDS[word]}"><b aria-hidden="true">{SIGNS[word]}</b>'
        f'{label}{picture}<span class="srel-tip">{escape(words)}; {escape(number)}</span></button>'
    )


def _told(evidence: Evidence) -> tuple[str, str, str]:
    """The verdict in words, its number, and a small picture of it in HTML."""
    match evidence:
        case Finding():
            marks = {"above": "up", "below": "down", "undecided": "level"}
            epochs = "".join(f'<i class="{marks[side]}"></i>' for side in evidence.sides)
            picture = f'<span class="srel-epochs" aria-hidden="true">{epochs}</span>'
            return evidence.words.replace("*", ""), evidence.effect, picture
        case Count():
            share = evidence.within / evidence.of
            bar = f'<span class="srel-share" aria-hidden="true"><i style="--share:{share:.3f}">'
            number = f"{evidence.within} of {evidence.of}"
            picture = f'{bar}</i></span><span aria-hidden="true">{number}</span>'
            return evidence.word, f"{number} agree", picture
        case Exactness():
            side = "below" if evidence.word == "holds" else "not below"
            number = f"largest relative difference {side} {evidence.tolerance:g}"
            return evidence.word, number, ""
