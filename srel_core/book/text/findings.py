"""What was found, in three sentences computed from the results, in Markdown."""

from collections.abc import Sequence

from srel_core.book.claims.evidence import Claim, Count, Exactness, Finding
from srel_core.book.claims.of_the_paper import (
    BY_ADAMS_NEXT,
    FRESH_ADAM,
    GRADIENT_STEP,
    NEXT_STEP,
    THE_STEP,
)
from srel_core.book.published.numbers import title_of
from srel_core.book.text.markup import plain

_MOVES = {
    "above": "moves **its own class** farther",
    "below": "moves **other classes** farther",
    "undecided": "prefers neither its own class nor others",
    "both": "prefers its own class on one and not on another",
}
_MOVED = ("above", "below")


def findings(found: Sequence[Claim]) -> list[str]:
    """A sentence each on classification, regression and theory; it says so if there are no results
    of one."""
    by_label = {claim.label: claim for claim in found}
    said = []
    for subject, label, say in (
        ("Classification", "sec-preference", _classification),
        ("Regression", "sec-two-phases", _regression),
        ("Theory", "sec-flows-claim", _theory),
    ):
        claim = by_label.get(label)
        known = claim is not None and claim.findings
        said.append(f"**{subject}.** {say(claim) if claim and known else 'No results yet.'}")
    return said


def _classification(claim: Claim) -> str:
    names = " and ".join(plain(title_of(name)) for name in claim.findings)
    said = (
        f"On {names}, a short gradient step "
        f"{_moves(claim, GRADIENT_STEP, ' of comparisons')}; the long first step of Adam, as in "
        f"the published code, {_moves(claim, FRESH_ADAM)}"
    )
    if any(f.choices.get(THE_STEP) == NEXT_STEP for f in _at_end(claim)):
        said += f"; the step that training itself takes next {_moves(claim, NEXT_STEP)}"
    return f"{said}."


def _at_end(claim: Claim) -> list[Finding]:
    """The readings by the same-class AUC."""
    found = [f for findings in claim.findings.values() for f in findings]
    return [f for f in found if isinstance(f, Finding) and f.threshold == 0.5]


def _moves(claim: Claim, step: str, unit: str = "") -> str:
    """What a step moves farther by the AUC of the last epoch, and how often on each data set."""
    at_end = [f for f in _at_end(claim) if f.choices.get(THE_STEP) == step]
    sides = {f.sides[-1] for f in at_end}
    side = sides.pop() if len(sides) == 1 else "both"
    shares = [1 - f.values[-1] if side == "below" else f.values[-1] for f in at_end]
    said = " and ".join(f"{share:.0%}" for share in shares)
    return f"{_MOVES[side]} ({'' if side in _MOVED else 'its own in '}{said}{unit})"


def _regression(claim: Claim) -> str:
    two_phases, large = (f for f in claim.findings[""][:2] if isinstance(f, Count))
    networks = [part for part in claim.parts if part.reading != BY_ADAMS_NEXT]
    parts = ", ".join(f"{part.within} of {part.of} {part.reading}" for part in networks)
    others = [f"; {p.reading}, in {p.within} of {p.of}" for p in claim.parts if p not in networks]
    return (
        f"In {two_phases.within} of {two_phases.of} networks, $S_{{\\rm rel}}$ moves fast and then "
        f"rests ({parts}{''.join(others)}). In {large.within} it also stays large, above that of a "
        "linear model, as claimed."
    )


def _theory(claim: Claim) -> str:
    formulas = [f for f in claim.findings[""] if isinstance(f, Exactness)]
    right = sum(f.word == "holds" for f in formulas)
    return (
        f"{right} of {len(formulas)} closed forms of gradient flows agree with numerical "
        f"integration to one part in {1 / formulas[0].tolerance:,.0f}."
    )
