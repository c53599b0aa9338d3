"""What chapters say about committed results, in Markdown: where they come from, what is missing."""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from srel_core.book.committed.files import runs_of
from srel_core.book.committed.standing import standing
from srel_core.book.published.numbers import DATASETS, NOT_RUN, PUBLISHED, title_of, with_published
from srel_core.book.text.markup import code, plain
from srel_core.experiments.studies import STUDIES

if TYPE_CHECKING:
    import xarray as xr

Summaries = Mapping[str, "xr.Dataset"]


def badges(summaries: Summaries, regression: "xr.Dataset | None" = None) -> str:
    """For each data set, and for regression, whether its results are those of the present code."""
    lines = [f"- {plain(title_of(name))}: {badge(part)}" for name, part in summaries.items()]
    if regression is not None:
        lines.append(f"- Regression: {badge(regression)}")
    return "\n".join(lines)


def intervals(summaries: Summaries) -> str:
    """How the intervals of these results were made, and what that means, in Markdown."""
    older = [plain(title_of(n)) for n, part in summaries.items() if "intervals" not in part.attrs]
    seeds = sorted({part.sizes["seed"] for part in summaries.values()})
    if not seeds:
        return ""
    if older:
        return (
            f"The intervals of {' and '.join(older)} are older than the rest of the book: "
            "percentiles over seeds and samples, without a new draw of the probes. With so few "
            "seeds they are too short ({ref}`sec-coverage`), and a verdict that hangs by a hair "
            "should not be trusted."
        )
    number = " or ".join(map(str, seeds))
    return f"With {number} seeds an interval has to be wide ({{ref}}`sec-coverage`)."


def badge(committed: "xr.Dataset") -> str:
    """Where a committed result comes from, and whether the present code agrees with it."""
    a = committed.attrs
    made = f"computed {plain(a['created'][:10])} by {_commit(a['commit'])}"
    state = standing(committed)
    if state == "current":
        return f"{made}, with the present code."
    if state == "verified":
        on = plain(a["verified_on"][:10])
        return (
            f"{made}; on {on} a part of them was recomputed with the present code "
            f"({_commit(a['verified_commit'])}), and agreed."
        )
    return (
        f"**STALE.** {made[0].upper()}{made[1:]}; the code has changed since, and they have not "
        "been verified with it: `make verify-results`."
    )


def _commit(name: str) -> str:
    clean = name.removesuffix("+changes")
    return f"commit {code(clean)}" + (
        " **with changes that are in no commit**" if clean != name else ""
    )


def missing(summaries: Summaries) -> str:
    """One line for each published data set without results, with the commands that make them."""
    lines = [
        f"- {plain(title_of(name))}: {NOT_RUN}. With its images under `SREL_DATA`, or online: "
        f"`srel run --profile paper --dataset {name}`, then `make results`."
        for name in DATASETS
        if name not in summaries
    ]
    return "\n".join(lines)


def settings_table(summaries: Summaries) -> str:
    """Settings and run time of each data set; a row for those without results too."""
    lines = [
        "| data set | classes | images per class | batch | epochs | checkpoints | probes per class "
        "| seeds | our run time, all seeds | published, a definition |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in with_published(summaries):
        if name not in summaries:
            lines.append(f"| {plain(title_of(name))} | {NOT_RUN} |" + " |" * 8)
            continue
        summary, runs = summaries[name], runs_of(summaries[name])
        config = runs[0]["config"]
        wall = sum(float(run["wall_seconds"]) for run in runs)
        published = PUBLISHED[name].wall_seconds.values() if name in PUBLISHED else ()
        lines.append(
            f"| {plain(title_of(name))} | {', '.join(map(plain, summary.probe_class.values))} "
            f"| {plain(config['images_per_class'] or 'all')} "
            f"| {plain(config['schedule']['batch_size'])} "
            f"| {plain(config['schedule']['epochs'])} | {summary.sizes['step']} "
            f"| {plain(config['probes_per_class'])} | {len(runs)} "
            f"| {hours(wall)} ({plain(runs[0]['device'])}, threads: {plain(runs[0]['threads'])}) "
            f"| {' and '.join(map(hours, published)) or 'not printed'} |"
        )
    return "\n".join(lines)


def times_table(summaries: Summaries, studies: Summaries, regression: "xr.Dataset | None") -> str:
    """For each experiment whose results are committed, or could be: the command that makes them
    again, how many runs that is, and how long they took."""
    found = [
        *((f"srel run --profile paper --dataset {n}", n, summaries) for n in DATASETS),
        *((f"srel study {n}", n, studies) for n in STUDIES),
    ]
    lines = ["| command | runs | median run | in all | on |", "|---|---|---|---|---|"]
    for command, name, there in found:
        runs = runs_of(there[name]) if name in there else []
        lines.append(_time_of(command, runs))
    lines.append(_time_of("srel regression", [regression.attrs] if regression is not None else []))
    return "\n".join(lines)


def _time_of(command: str, runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        return f"| {code(command)} | {NOT_RUN} | | | |"
    seconds = [float(run["wall_seconds"]) for run in runs]
    places = sorted({f"{run['device']}, threads: {run['threads']}" for run in runs})
    return (
        f"| {code(command)} | {len(runs)} | {hours(statistics.median(seconds))} "
        f"| {hours(sum(seconds))} | {plain('; '.join(places))} |"
    )


def hours(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def provenance_table(summaries: Summaries) -> str:
    """A row for each run behind the summaries."""
    lines = [
        "| data set | seed | commit | device | threads | run time | computed | torch "
        "| data checksum |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {plain(title_of(name))} | {plain(run['config']['seed'])} | {code(run['commit'])} "
        f"| {plain(run['device'])} | {plain(run['threads'])} "
        f"| {hours(float(run['wall_seconds']))} | {plain(run['created'][:10])} "
        f"| {plain(run['torch'])} | {code(run['data_checksum'][:12])} |"
        for name, summary in summaries.items()
        for run in runs_of(summary)
    ]
    return "\n".join(lines)
