"""What the results say about each claim of the paper: words that follow from intervals.

A `Finding` is one reading of a claim on one data set: a quantity at each epoch, its interval, and
the threshold that it has to exceed. Its words are made from the side of the threshold on which each
interval lies, so that "holds" stands only where they all lie above. A `Claim` holds if all its
findings do; does not hold if some lie below and none above; else it depends on the reading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from srel_core.statistics.intervals import side_of

Word = Literal["holds", "does not hold", "depends", "cannot be told", "not examined"]


@dataclass(frozen=True)
class Finding:
    """One reading of a claim: `values` and `intervals` (low, high) at each epoch, as `unit`
    ("×" for a ratio, "AUC ", "ΔAUC ") shows them, to be compared with `threshold`. `choices` says
    what was chosen in this reading, as in {"the step": "fresh Adam"}."""

    reading: str
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    threshold: float
    unit: str = "×"
    choices: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.values or len(self.values) != len(self.intervals):
            raise ValueError("a finding needs a value and an interval for each epoch")
        for value, (low, high) in zip(self.values, self.intervals, strict=True):
            if np.isnan(value) or not low <= high:
                raise ValueError(
                    f"{self.reading!r} has a value {value:g} in [{low:g}, {high:g}]: expected "
                    "numbers, and a lower bound that is not above the upper one"
                )

    @property
    def sides(self) -> tuple[str, ...]:
        return tuple(side_of(interval, self.threshold) for interval in self.intervals)

    @property
    def word(self) -> Word:
        sides = set(self.sides)
        if sides == {"above"}:
            return "holds"
        if sides == {"undecided"}:
            return "cannot be told"
        return "depends" if "above" in sides else "does not hold"

    @property
    def text(self) -> str:
        """The word, in which epochs, and the effect at the last one with its interval."""
        return f"{self.words}; {self.effect}"

    @property
    def words(self) -> str:
        by_side = {"above": "holds", "below": "reversed", "undecided": "cannot be told"}
        found = {
            word: [epoch for epoch, s in enumerate(self.sides, start=1) if s == side]
            for side, word in by_side.items()
        }
        found = {word: epochs for word, epochs in found.items() if epochs}
        if len(found) == 1:
            return f"**{next(iter(found))}**"
        return ", ".join(f"**{word}** in {spans(epochs)}" for word, epochs in found.items())

    @property
    def effect(self) -> str:
        low, high = self.intervals[-1]
        return f"{self.unit}{digits(self.values[-1])} [{digits(low)}, {digits(high)}]"


@dataclass(frozen=True)
class Count:
    """How many cases agree with the claim: values with published ones, those within the interval
    that, were our spread theirs too, holds the mean of as many other runs; or settings."""

    reading: str
    within: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.within <= self.of or not self.of:
            raise ValueError(f"{self.within} of {self.of} values cannot agree")

    @property
    def word(self) -> Word:
        if self.within == self.of:
            return "holds"
        return "depends" if self.within else "does not hold"

    @property
    def text(self) -> str:
        word = {"holds": "holds", "depends": "in part", "does not hold": "does not hold"}
        return f"**{word[self.word]}**; {self.within} of {self.of} agree"


@dataclass(frozen=True)
class Exactness:
    """A formula against an independent computation."""

    reading: str
    error: float
    tolerance: float

    @property
    def word(self) -> Word:
        return "holds" if self.error < self.tolerance else "does not hold"

    @property
    def text(self) -> str:
        side = "below" if self.word == "holds" else "NOT below"
        return f"**{self.word}**; largest relative difference {side} {self.tolerance:g}"


Evidence = Finding | Count | Exactness


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, in our words; `findings` by data set ("" for none in particular), in
    the same order of readings; where the book examines it (`page`, a label). `parts`: the cases of
    a claim that is counted, by what decides between them."""

    title: str
    page: str
    label: str
    findings: dict[str, tuple[Evidence, ...]]
    missing: str = ""
    parts: tuple[Count, ...] = ()

    @property
    def word(self) -> Word:
        return overall([f.word for found in self.findings.values() for f in found])

    @property
    def readings(self) -> list[str]:
        found = [f.reading for findings in self.findings.values() for f in findings]
        return list(dict.fromkeys(found))

    def under(self, reading: str) -> Word:
        """The word for one reading over all data sets."""
        of_all = [f for found in self.findings.values() for f in found]
        return overall([f.word for f in of_all if f.reading == reading])


def overall(words: Sequence[Word]) -> Word:
    """The word for a claim from those of its findings."""
    if not words:
        return "not examined"
    found = set(words)
    if found == {"holds"}:
        return "holds"
    if found & {"holds", "depends"}:
        return "depends"
    return "does not hold" if "does not hold" in found else "cannot be told"


def digits(value: float) -> str:
    """Three digits, or three decimals near 1, without an exponent below a million."""
    if not np.isfinite(value):
        return "not defined"
    size = abs(value)
    return f"{value:{'.3f' if 0.1 <= size < 10 else ',.0f' if 1e3 <= size < 1e6 else '.3g'}}"


def spans(numbers: Sequence[int]) -> str:
    """Epochs in words: [1, 2, 3, 5] → "epochs 1–3, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = [f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return f"epoch{'s' if len(numbers) > 1 else ''} {', '.join(words)}"
