"""How precise the runs of the paper profile are: python benchmarks/paper_precision.py

Takes the kept runs of every data set, all seeds, at the last checkpoint, and writes the variance
components of the class-level summaries (KL, `srel_core.statistics.variance_components`) and the
seconds that a run took to benchmarks/results/paper_precision.json. A data set without runs is named
and left out; without any, nothing is written. Takes seconds.
"""

import dataclasses
from pathlib import Path
from typing import Any

import _results

from srel_core.book.committed.write import kept_runs
from srel_core.book.published.numbers import DATASETS
from srel_core.experiments import result_files
from srel_core.experiments.profiles import class_experiments
from srel_core.statistics.variance_components import Pilot, estimate_components

NAME = "paper_precision"
SUMMARIES = ("log_preference", "auc")


def precision(paths: list[Path]) -> dict[str, Any]:
    """Variance components by rule and summary, of the runs of one data set."""
    runs = [result_files.load(path) for path in paths]
    last = runs[0].sizes["step"] - 1
    by_rule: dict[str, Any] = {}
    for rule in runs[0].rule.values:
        pilots = []
        for run in runs:
            at = run.isel(step=last).sel(rule=rule, divergence="kl")
            pilots.append(
                Pilot(
                    at.change.transpose("probe", "sample").values,
                    at.own.values,
                    run.probe_class.values,
                    run.sample_class.values,
                    run.same_input.transpose("probe", "sample").values,
                )
            )
        estimates = {name: estimate_components(pilots, name) for name in SUMMARIES}
        by_rule[str(rule)] = {
            name: {"estimate": value, "components": dataclasses.asdict(components)}
            for name, (value, components) in estimates.items()
        }
    return {
        "per_class": runs[0].sizes["probe"] // len(runs[0].class_name),
        "runs": len(runs),
        "step": int(runs[0].step[last]),
        "checkpoints": runs[0].sizes["step"],
        "seconds": [float(run.attrs["wall_seconds"]) for run in runs],
        "created": max(str(run.attrs["created"]) for run in runs),
        "device": str(runs[0].attrs["device"]),
        "rules": by_rule,
    }


def main() -> None:
    parser = _results.parser(__doc__)
    parser.add_argument("--results-dir", help="where kept runs are; default: the book's own")
    options = parser.parse_args()
    found = {}
    for dataset in DATASETS:
        try:
            paths = kept_runs(class_experiments("paper", dataset), options.results_dir)
        except result_files.ResultError as error:
            print(error)
            continue
        found[dataset] = precision(paths)
    if not found:
        print(f"no runs of the paper profile are kept: {NAME}.json stays as it is")
        return
    _results.save(options.write_to, NAME, found)
    print(f"{', '.join(found)}: written to {NAME}.json")


if __name__ == "__main__":
    main()
