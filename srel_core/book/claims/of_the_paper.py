"""The claims of the paper, and what the committed results say about each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from srel_core.book.claims.comparison import BesidePublished, accuracy_rows, curve_rows
from srel_core.book.claims.evidence import Claim, Count, Evidence, Exactness, Finding
from srel_core.book.claims.flow_check import TOLERANCE, flow_errors
from srel_core.book.committed import regression_file, study_file
from srel_core.book.committed.files import ladder_in, load_all
from srel_core.book.published.numbers import DEFINITIONS, PUBLISHED, title_of

if TYPE_CHECKING:
    import xarray as xr

_AGGREGATES = {"mean": "mean of ratios", "ratio_of_means": "ratio of means", "median": "median"}
PUBLISHED_OR_DEFINED = "computing as published or by the definition"
THE_STEP = "the step"
_ACTIVATIONS = {"relu": "ReLU", "tanh": "tanh"}
GRADIENT_STEP, FRESH_ADAM = "gradient step", "fresh Adam"
NEXT_STEP = "training's next step"
BY_ADAMS_NEXT = "by the step that Adam takes next"  # of the same networks once more


def claims(folder: str | Path | None = None) -> list[Claim]:
    """Every claim with what the committed results in `folder` (default: the book's) say."""
    summaries, seeds = load_all(folder), study_file.load("seeds", folder)
    classification = (
        ("Class-based S_rel prefers the sample's own class, through training",
         "sec-preference", partial(_preference, seeds)),
        ("… and does so more sharply than the original S_rel", "sec-sharper", _sharper),
        ("The published curves can be reproduced", "sec-published", _agreement),
    )  # fmt: skip
    missing = "" if summaries else "no results of the paper profile yet"
    found = []
    for title, label, look in classification:
        of_each = _of_each(summaries, look)
        found.append(Claim(title, "paper_scale", label, of_each, missing, _over_data_sets(of_each)))
    found.append(_regression(folder))
    errors = flow_errors()
    exact = tuple(Exactness(name, error, TOLERANCE) for name, error in errors.items())
    title = "The closed forms of four gradient flows are right"
    found.append(Claim(title, "closed_form_flows", "sec-flows-claim", {"": exact}))
    return found


def _regression(folder: str | Path | None) -> Claim:
    """Over all rows with a network of more layers: linear models and gates are the controls."""
    title = "Regression has an elastic and then an inelastic phase, in which S_rel stays large"
    table = regression_file.load(folder)
    if table is None:
        return Claim(title, "", "", {}, "no results of it are committed yet")
    of_networks = table.isel(row=table.family.values == "mlp")
    following = of_networks.isel(row=of_networks.next_step.values)
    networks = of_networks.isel(row=~of_networks.next_step.values)
    passed = networks.passed.sum("row")
    moves = networks.isel(row=networks.passed.sel(check="moves").values)
    readings = [
        Count("a rapid phase, then rest", int(passed.sel(check="own scale")), len(networks.row)),
        Count("… and large in the second", int(passed.sel(check="large")), len(networks.row)),
        Count("S_rel rises", int((moves.plateau > moves.start).sum()), len(moves.row)),
    ]
    parts = [
        Count(f"with {_ACTIVATIONS[name]}", int(passed.sum()), len(passed))
        for name, passed in networks.passed.sel(check="own scale").groupby(_activation(networks))
    ]
    if len(following.row):
        two = int(following.passed.sel(check="own scale").sum())
        by_next_step = Count(BY_ADAMS_NEXT, two, len(following.row))
        readings.append(replace(by_next_step, reading="phases by Adam's next step"))
        parts.append(by_next_step)
    evidence: dict[str, tuple[Evidence, ...]] = {"": tuple(readings)}
    return Claim(title, "regression_two_phase", "sec-two-phases", evidence, parts=tuple(parts))


def _activation(networks: "xr.Dataset") -> "xr.DataArray":
    """Of each row, whose name begins with it."""
    names = [str(row).partition(" ")[0] for row in networks.row.values]
    return networks.family.copy(data=names).rename("activation")


def _over_data_sets(of_each: dict[str, tuple[Evidence, ...]]) -> tuple[Count, ...]:
    """The counts of each reading, summed over data sets; none of other evidence."""
    counts = [f for found in of_each.values() for f in found if isinstance(f, Count)]
    summed: dict[str, tuple[int, int]] = {}
    for f in counts:
        within, of = summed.get(f.reading, (0, 0))
        summed[f.reading] = within + f.within, of + f.of
    return tuple(Count(f"of {name}", within, of) for name, (within, of) in summed.items())


def _of_each(
    summaries: "dict[str, xr.Dataset]",
    look: "Callable[[xr.Dataset, str], Sequence[Evidence]]",
) -> dict[str, tuple[Evidence, ...]]:
    found = {dataset: tuple(look(summary, dataset)) for dataset, summary in summaries.items()}
    return {dataset: readings for dataset, readings in found.items() if readings}


def finding(
    reading: str,
    part: "xr.Dataset",
    name: str,
    threshold: float,
    unit: str = "×",
    choices: Mapping[str, str] | None = None,
) -> Finding:
    """From variables NAME (epoch) and NAME_interval (bound, epoch)."""
    low, high = part[f"{name}_interval"].transpose("bound", "epoch").values.tolist()
    bounds = tuple(zip(low, high, strict=True))
    values = tuple(part[name].values.tolist())
    return Finding(reading, values, bounds, threshold, unit, choices or {})


def _by_definition(at: "xr.Dataset", step: str, of_epoch: str) -> list[Finding]:
    """Readings by each aggregate and by the AUC; `of_epoch` is what the names of variables begin
    with: "epoch_" in a summary, nothing in a study."""
    found = []
    for aggregate, words in _AGGREGATES.items():
        part, chosen = at.sel(aggregate=aggregate), _choices("by the definition", step, words)
        reading, name = f"KL, {step} ({words})", f"{of_epoch}preference"
        found.append(finding(reading, part, name, 1, choices=chosen))
    chosen = _choices("by the definition", step, "AUC")
    found.append(finding(f"KL, {step} (AUC)", at, f"{of_epoch}auc", 0.5, "AUC ", chosen))
    return found


def of_study(study: "xr.Dataset", row: str, rule: str) -> Finding:
    """Whether a step prefers its own class in a row of a study, by the same-class AUC (KL)."""
    return finding("", study.sel(row=row, rule=rule, divergence="kl"), "auc", 0.5, "AUC ")


def _choices(code: str, step: str, aggregate: str = "") -> dict[str, str]:
    found = {PUBLISHED_OR_DEFINED: code, THE_STEP: step, "the aggregate": aggregate}
    return {name: chosen for name, chosen in found.items() if chosen}


def _preference(seeds: "xr.Dataset | None", summary: "xr.Dataset", dataset: str) -> list[Evidence]:
    """By the definition from the study of many seeds, where it has more of them."""
    row = title_of(dataset)
    n_seeds = 0 if seeds is None else int((seeds.row_of_run == row).sum())
    first = ladder_in(summary, "class-based").sel(rung="as published")
    published = _choices("as published", FRESH_ADAM, "mean of ratios")
    found: list[Evidence] = [
        finding(
            "as published (`kl_div` of probabilities)", first, "rung_epoch_preference", 1,
            choices=published,
        )
    ]  # fmt: skip
    steps = {"sgd:1e-4": GRADIENT_STEP, "adam:1e-4": FRESH_ADAM, "optimizer": NEXT_STEP}
    for rule, step in steps.items():
        if seeds is not None and n_seeds > summary.sizes["seed"]:
            at = seeds.sel(row=row, rule=rule, divergence="kl")
            found += _by_definition(at, step, "")
        elif rule in summary.rule.values:
            found += _by_definition(summary.sel(rule=rule, divergence="kl"), step, "epoch_")
    return found


def _sharper(summary: "xr.Dataset", _: str) -> list[Evidence]:
    published = _choices("as published", FRESH_ADAM)
    found: list[Evidence] = [
        finding(
            "as published (ratio of preferences)", summary, "published_gain", 1, choices=published
        )
    ]
    for rule, step in (
        ("sgd:1e-4", GRADIENT_STEP), ("tangent", "vanishing step"), ("adam:1e-4", FRESH_ADAM)
    ):  # fmt: skip
        at = summary.sel(rule=rule, divergence="kl")
        reading = f"KL against norm of logits, {step} (AUC)"
        chosen = _choices("by the definition", step)
        found.append(finding(reading, at, "auc_gain", 0, "ΔAUC ", chosen))
    return found


def _agreement(summary: "xr.Dataset", dataset: str) -> list[Evidence]:
    """Nothing, of a data set of which nothing was published."""
    found: list[Evidence] = []
    if dataset not in PUBLISHED:
        return found
    for definition in DEFINITIONS:
        curves = [curve_rows(summary, dataset, definition, name) for name in ("same", "other")]
        rows = [row for curve in curves for row in curve]
        found.append(_count_within(f"{definition} `same` and `other`", rows))
    found.append(_count_within("training accuracy", accuracy_rows(summary, dataset)))
    return found


def _count_within(reading: str, rows: "Sequence[BesidePublished]") -> Count:
    return Count(reading, sum(row.within_other_mean for row in rows), len(rows))


def rung_findings(ladder: "xr.Dataset") -> dict[str, Finding]:
    """For each rung of a ladder, whether a step prefers its own class there."""
    return {
        str(rung): finding(str(rung), ladder.sel(rung=rung), "rung_epoch_preference", 1)
        for rung in ladder.rung.values
    }


def turns(ladder: "xr.Dataset") -> list[tuple[str, str, Finding, Finding]]:
    """The single changes that change the word: (rung before, rung, finding before, finding)."""
    found = rung_findings(ladder)
    steps = [
        (str(before), str(rung))
        for before, rung in zip(ladder.after.values, ladder.rung.values, strict=True)
        if str(before)
    ]
    return [
        (before, rung, found[before], found[rung])
        for before, rung in steps
        if found[before].word != found[rung].word
    ]
