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
    first = shares[0].replace(")", " comparisons that differ in nothing else)")
    return f"The answer turns on {', '.join([first, *shares[1:]])}."


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
