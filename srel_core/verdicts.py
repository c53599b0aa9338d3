"""What the results say about each claim of the paper: words that follow from intervals.

A `Finding` is one reading of a claim on one data set: a quantity at each epoch, its interval, and
the threshold that it has to exceed. Its words are made from the side of the threshold on which each
interval lies, so that "holds" stands only where they all lie above. A `Claim` holds if all its
findings do; does not hold if some lie below and none above; else it depends on the reading.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from srel_core.committed import DATASETS, ladder_in, load_all
from srel_core.flow_check import TOLERANCE, flow_errors
from srel_core.published import PUBLISHED, QUANTITIES
from srel_core.summaries import side_of

if TYPE_CHECKING:
    import xarray as xr

Word = Literal["holds", "does not hold", "depends", "cannot be told", "not examined"]
TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN"}
NOT_RUN = "not run: data not at hand"
OTHER_MEAN = float(np.sqrt(2))
"""The spread of the difference of two means of as many runs, over the spread of one of them."""


@dataclass(frozen=True)
class Finding:
    """One reading of a claim: `values` and `intervals` (low, high) at each epoch, as `unit`
    ("×" for a ratio, "AUC ", "") shows them, to be compared with `threshold`."""

    reading: str
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    threshold: float
    unit: str = "×"

    def __post_init__(self) -> None:
        if not self.values or len(self.values) != len(self.intervals):
            raise ValueError("a finding needs a value and an interval for each epoch")

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
class Agreement:
    """How many of our values agree with published ones: those within the interval that, were our
    spread theirs too, holds the mean of as many other runs."""

    reading: str
    within: int
    of: int

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


Evidence = Finding | Agreement | Exactness


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, in our words; `findings` by data set ("" for none in particular), in
    the same order of readings; where the book examines it (`page`, a label)."""

    title: str
    page: str
    label: str
    findings: dict[str, tuple[Evidence, ...]]
    missing: str = ""

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


def claims(folder: str | Path | None = None) -> list[Claim]:
    """Every claim with what the committed results in `folder` (default: the book's) say."""
    summaries = load_all(folder)
    classification = (
        ("Class-based S_rel prefers the sample's own class, through training",
         "sec-preference", _preference),
        ("… and does so more sharply than the original S_rel", "sec-sharper", _sharper),
        ("The published curves come out again", "sec-published", _agreement),
    )  # fmt: skip
    missing = "" if summaries else "no results of the paper profile yet"
    found = [
        Claim(title, "paper_scale", label, _of_each(summaries, look), missing)
        for title, label, look in classification
    ]
    found.append(
        Claim(
            "Regression has an elastic and then an inelastic phase", "", "", {},
            "no results of it are committed yet",
        )
    )  # fmt: skip
    errors = flow_errors()
    exact = tuple(Exactness(name, error, TOLERANCE) for name, error in errors.items())
    title = "The closed forms of four gradient flows are right"
    found.append(Claim(title, "closed_form_flows", "sec-flows-claim", {"": exact}))
    return found


def _of_each(
    summaries: "dict[str, xr.Dataset]",
    look: "Callable[[xr.Dataset, str], Sequence[Evidence]]",
) -> dict[str, tuple[Evidence, ...]]:
    return {dataset: tuple(look(summary, dataset)) for dataset, summary in summaries.items()}


def finding(
    reading: str, part: "xr.Dataset", name: str, threshold: float, unit: str = "×"
) -> Finding:
    """From variables NAME (epoch) and NAME_interval (bound, epoch)."""
    low, high = part[f"{name}_interval"].transpose("bound", "epoch").values.tolist()
    bounds = tuple(zip(low, high, strict=True))
    return Finding(reading, tuple(part[name].values.tolist()), bounds, threshold, unit)


def _preference(summary: "xr.Dataset", _: str) -> list[Evidence]:
    first = ladder_in(summary, "class-based").sel(rung="as published")
    found: list[Evidence] = [finding("as published", first, "epoch_preference", 1)]
    for rule, step in (("sgd:1e-4", "gradient step"), ("adam:1e-4", "fresh Adam")):
        at = summary.sel(rule=rule, divergence="kl")
        for aggregate, words in (
            ("mean", "mean of ratios"), ("ratio_of_means", "ratio of means"), ("median", "median")
        ):  # fmt: skip
            part = at.sel(aggregate=aggregate)
            found.append(finding(f"KL, {step} ({words})", part, "epoch_preference", 1))
        found.append(finding(f"KL, {step} (AUC)", at, "epoch_auc", 0.5, "AUC "))
    return found


def _sharper(summary: "xr.Dataset", _: str) -> list[Evidence]:
    found: list[Evidence] = [
        finding("as published (ratio of preferences)", summary, "published_gain", 1)
    ]
    for rule, step in (
        ("sgd:1e-4", "gradient step"), ("tangent", "vanishing step"), ("adam:1e-4", "fresh Adam")
    ):  # fmt: skip
        at = summary.sel(rule=rule, divergence="kl")
        found.append(
            finding(f"KL against norm of logits, {step} (AUC)", at, "auc_gain", 0, "AUC +")
        )
    return found


def _agreement(summary: "xr.Dataset", dataset: str) -> list[Evidence]:
    found: list[Evidence] = []
    for definition in QUANTITIES:
        curves = [curve_rows(summary, dataset, definition, name) for name in ("same", "other")]
        rows = [row for curve in curves for row in curve]
        found.append(_agreement_of(f"{definition} `same` and `other`", rows))
    found.append(_agreement_of("training accuracy", accuracy_rows(summary, dataset)))
    return found


def _agreement_of(reading: str, rows: "Sequence[Row]") -> Agreement:
    return Agreement(reading, sum(row.within_other_mean for row in rows), len(rows))


def accuracy_rows(summary: "xr.Dataset", dataset: str) -> "list[Row]":
    """Our training accuracy in each epoch, with the range over the seeds for an interval."""
    ours = summary.train_accuracy
    bounds = [ours.min("seed"), ours.max("seed")]
    return beside_published(ours.mean("seed"), bounds, PUBLISHED[dataset].train_accuracy)


def curve_rows(summary: "xr.Dataset", dataset: str, definition: str, name: str) -> "list[Row]":
    """Our `same` or `other` curve as published, in each epoch."""
    first = ladder_in(summary, definition).sel(rung="as published")
    published = getattr(PUBLISHED[dataset], name)[definition]
    return beside_published(first[f"epoch_{name}"], first[f"epoch_{name}_interval"], published)


@dataclass(frozen=True)
class Row:
    """A value of ours with its interval beside a published one."""

    ours: float
    low: float
    high: float
    published: float

    @property
    def difference(self) -> float:
        """Relative to the published value."""
        return self.ours / self.published - 1

    @property
    def within(self) -> bool:
        return self.low <= self.published <= self.high

    @property
    def within_other_mean(self) -> bool:
        """Within the interval stretched about our value by √2, on the log scale: the published
        value is a mean of other runs, with a spread of its own, which is taken to be ours."""
        low, ours, high, there = np.log([self.low, self.ours, self.high, self.published])
        stretched = ours + OTHER_MEAN * (low - ours), ours + OTHER_MEAN * (high - ours)
        return bool(stretched[0] <= there <= stretched[1])


def beside_published(ours: ArrayLike, interval: ArrayLike, published: Sequence[float]) -> list[Row]:
    """A row for each published epoch that was measured too: ours (epoch,), interval (2, epoch)."""
    return [
        Row(float(value), float(low), float(high), there)
        for value, low, high, there in zip(
            np.asarray(ours), *np.asarray(interval), published, strict=False
        )
    ]


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


def table(found: Sequence[Claim], link: Callable[[Claim], str]) -> str:
    """The claims as Markdown: one row each with its verdict, and under which reading."""
    lines = ["| | Claim | Verdict | Under which reading | See |", "|---|---|---|---|---|"]
    for number, claim in enumerate(found, start=1):
        lines.append(
            f"| {number} | {claim.title} | **{claim.word}** | {_in_short(claim)} | {link(claim)} |"
        )
    return "\n".join(lines)


def _in_short(claim: Claim) -> str:
    if claim.word == "not examined":
        return claim.missing
    by_word: dict[str, list[str]] = {}
    for reading in claim.readings:
        by_word.setdefault(claim.under(reading), []).append(reading)
    if len(by_word) == 1:
        return f"all {len(claim.readings)} readings"
    return "; ".join(f"*{word}*: {' · '.join(readings)}" for word, readings in by_word.items())


def details(found: Sequence[Claim]) -> str:
    """Every finding of the claims about classification, a column for each published data set."""
    lines = [
        f"| Read as | {' | '.join(TITLES.values())} |",
        "|---|" + "---|" * len(TITLES),
    ]
    for number, claim in enumerate(found, start=1):
        if "" in claim.findings or not claim.findings:
            continue
        lines.append(f"| **{number}. {claim.title}** |" + " |" * len(TITLES))
        for position, reading in enumerate(claim.readings):
            cells = [
                claim.findings[dataset][position].text if dataset in claim.findings else NOT_RUN
                for dataset in DATASETS
            ]
            lines.append(f"| {reading} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""
