"""What decides a claim: the choice that, changed alone, changes what the results say."""

from itertools import combinations

from srel_core.book.claims.evidence import Claim, Exactness, Finding

DATA_SET = "the data set"


def changes(claim: Claim) -> dict[str, tuple[int, int]]:
    """For each choice (differ, compared): two findings that differ in it alone are compared epoch
    by epoch, and differ where their intervals lie on other sides. The choice that changes most
    comes first."""
    found = [
        (dict(f.choices) | {DATA_SET: name}, f)
        for name, findings in claim.findings.items()
        for f in findings
        if isinstance(f, Finding)
    ]
    counts: dict[str, tuple[int, int]] = {}
    for (first, one), (second, other) in combinations(found, 2):
        changed = {name for name in first | second if first.get(name) != second.get(name)}
        if len(changed) != 1:
            continue
        (name,) = changed
        differ, compared = counts.get(name, (0, 0))
        sides = list(zip(one.sides, other.sides, strict=True))
        differ += sum(before != after for before, after in sides)
        counts[name] = differ, compared + len(sides)
    return dict(sorted(counts.items(), key=lambda item: -item[1][0] / item[1][1]))


def decided_by(claim: Claim) -> str:
    """One sentence, in Markdown, about what decides a claim; empty for one not examined."""
    evidence = [f for found in claim.findings.values() for f in found]
    if not evidence:
        return ""
    if all(isinstance(f, Exactness) for f in evidence):
        agree = sum(f.word == "holds" for f in evidence)
        return f"{agree} of {len(evidence)} formulas agree with independent computations."
    if parts := sorted(claim.parts, key=lambda part: -part.within / part.of):
        return _sentence(
            [f"{part.reading}, **{part.within} of {part.of}** agree" for part in parts]
        )
    shares = [
        f"{f'**{name}**' if 2 * differ > compared else name} ({differ} of {compared})"
        for name, (differ, compared) in changes(claim).items()
    ]
    if not shares:
        return ""
    first = shares[0].replace(")", " pairs of readings that differ in nothing else)")
    turns = f"The answer turns on {', '.join([first, *shares[1:]])}."
    return " ".join(filter(None, [in_one_line(claim), turns]))


def in_one_line(claim: Claim) -> str:
    """Of the choice that changes most of what was compared, which of its values speak for the
    claim and which against it, and at how many epochs; empty where no choice changes most."""
    deciding = {n: compared for n, (differ, compared) in changes(claim).items()
                if 2 * differ > compared and n != DATA_SET}  # fmt: skip
    if not deciding:
        return ""
    name = max(deciding, key=lambda n: deciding[n])
    sides: dict[str, list[str]] = {}
    for findings in claim.findings.values():
        for f in findings:
            if isinstance(f, Finding) and name in f.choices:
                sides.setdefault(f.choices[name], []).extend(f.sides)
    said = [f"{value} {_leaning(found)}" for value, found in sides.items()]
    return f"By {name}: {', '.join(said)}."


def _leaning(sides: list[str]) -> str:
    for side, word in (("above", "for"), ("below", "against")):
        if 2 * (at := sides.count(side)) > len(sides):
            return f"**{word} it** ({at} of {len(sides)} epochs)"
    return "neither for nor against it"


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
