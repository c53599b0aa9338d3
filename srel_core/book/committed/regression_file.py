"""The committed results on regression: one small file with what was found in every setting.

Each row is one setting and kind of pairs, by the SGD step or the next of Adam, judged by
`srel_core.book.regression.two_phase_rule` together with all others. The file holds the numbers that
the rule asks for, and what follows from them: a file in which it does not follow is refused.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srel_core.book.committed.files import committed_dir
from srel_core.book.regression.two_phase_rule import CHECKS, Judgement, holm
from srel_core.experiments import result_files
from srel_core.experiments.result_files import ResultError

if TYPE_CHECKING:
    import xarray as xr

KIND = "regression_summary"
FILE = "regression.nc"
_ROW = ("row",)
MEASURED: dict[str, tuple[str, ...]] = {
    "p_value": _ROW, "moved": _ROW, "start": _ROW, "plateau": _ROW, "to_tangent": _ROW,
    "break_step": _ROW, "break_at": _ROW, "slopes": _ROW, "drift": _ROW, "half_break": _ROW,
    "resolved": _ROW, "break_interval": ("bound", "row"), "to_linear": ("estimate", "row"),
}  # fmt: skip
VARIABLES = MEASURED | {
    "family": _ROW, "pairs": _ROW, "next_step": _ROW, "p_adjusted": _ROW,
    "passed": ("row", "check"), "verdict": _ROW,
}  # fmt: skip
"""The schema: MEASURED is as in `Judgement`, with NaN in what hangs on a break where there is none;
`passed` has the answers of `CHECKS` in their order, `verdict` them in words."""

_TEXTS, _TRUTHS = ("family", "pairs", "verdict"), ("passed", "resolved", "next_step")
_COORDINATES = {"bound": ("low", "high"), "estimate": ("mean", "low", "high"), "check": CHECKS}
_OF_A_BREAK = ("break_step", "break_at", "slopes", "drift", "break_interval")
_FINITE = ("moved", "start", "plateau", "to_tangent", "to_linear")


def load(folder: str | Path | None = None) -> "xr.Dataset | None":
    """The committed file, or None if there is none. ResultError if it is damaged, without a digest
    or not to the schema, or says what does not follow from its numbers."""
    path = committed_dir(folder) / FILE
    return load_file(path) if path.is_file() else None


def load_file(path: Path) -> "xr.Dataset":
    """The file at `path`; errors as for `load`."""
    dataset = result_files.load(path)
    check(dataset, path.name)
    return dataset


def check(dataset: "xr.Dataset", name: str) -> None:
    """ResultError, in one line, unless these are rows to the schema whose answers follow."""
    fault = _fault_of_form(dataset) or _fault_of_numbers(dataset) or _fault_of_answers(dataset)
    if fault:
        raise ResultError(
            f"{name} does not keep to the schema: {fault}; `make results` writes it anew"
        )


def _fault_of_form(dataset: "xr.Dataset") -> str:
    if dataset.attrs.get("kind") != KIND:
        return f"its kind is {dataset.attrs.get('kind')!r}, not {KIND!r}"
    for variable, dims in VARIABLES.items():
        if variable not in dataset or dataset[variable].dims != dims:
            return f"expected {variable} {dims}"
        kind = "U" if variable in _TEXTS else "b" if variable in _TRUTHS else "f"
        if dataset[variable].dtype.kind != kind:
            return f"{variable} is {dataset[variable].dtype}"
    for coordinate, values in _COORDINATES.items():
        if coordinate not in dataset.coords or {*dataset[coordinate].values.tolist()} != {*values}:
            return f"expected the coordinate {coordinate} to be {', '.join(values)}"
    if "row" not in dataset.coords or dataset.row.dtype.kind != "U":
        return "expected the names of the settings as the coordinate row"
    if tuple(dataset.check.values) != CHECKS:
        return f"its checks are {', '.join(map(str, dataset.check.values))}"
    return ""


def _fault_of_numbers(dataset: "xr.Dataset") -> str:
    """What no run can have given."""
    broken = np.isfinite(dataset.break_step.values)
    for variable in _OF_A_BREAK:
        values = dataset[variable].values
        if not (np.isfinite(values) | ~broken).all() or not (np.isnan(values) | broken).all():
            return f"{variable} must be a number where there is a break, and nowhere else"
    for variable in _FINITE:
        if not np.isfinite(dataset[variable].values).all():
            return f"{variable} is not finite everywhere"
    if not ((dataset.p_value >= 0) & (dataset.p_value <= 1)).all():
        return "p_value does not lie between 0 and 1"
    middle, low, high = dataset.to_linear.sel(estimate=["mean", "low", "high"]).values
    early, late = dataset.break_interval.sel(bound=["low", "high"]).values[:, broken]
    if not ((low <= middle) & (middle <= high)).all() or not (early <= late).all():
        return "the lower bound of an interval lies above the upper one"
    return ""


def _fault_of_answers(dataset: "xr.Dataset") -> str:
    expected = answers(dataset)
    for variable, values in expected.items():
        given = dataset[variable].values
        wrong = given != values if values.dtype.kind != "f" else ~np.isclose(given, values, 1e-9, 0)
        if wrong.any():
            row = dataset.row.values[np.nonzero(wrong)[0][0]]
            return f"{variable} of {row!s} does not follow from the numbers beside it"
    return ""


def answers(dataset: "xr.Dataset") -> dict[str, np.ndarray]:
    """What follows from what was measured: p_adjusted, passed and verdict, by the rule."""
    p_adjusted = holm(dataset.p_value.values.tolist())
    judged = []
    for at, p in enumerate(p_adjusted):
        row = {name: dataset[name].values[..., at] for name in MEASURED}
        judged.append(
            Judgement(
                fit=None, p_value=float(row["p_value"]), p_adjusted=float(p),
                resolved=bool(row["resolved"]), to_linear=tuple(row["to_linear"].tolist()),
                **{
                    name: float(row[name])
                    for name in ("moved", "start", "plateau", "to_tangent", "break_at", "slopes",
                                 "drift", "half_break")
                },
            )
        )  # fmt: skip
    return {
        "p_adjusted": p_adjusted,
        "passed": np.array([[j.checks[check] for check in CHECKS] for j in judged]),
        "verdict": np.array([j.words for j in judged]),
    }
