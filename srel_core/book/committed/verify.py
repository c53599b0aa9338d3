"""Whether the present code still gives what a committed file holds.

`verify` looks at the whole file, in which much follows from the rest (`consistency`,
`regression_file`), and computes a part of it anew by the same public road as the runs themselves:
of a data set the first epoch of the first seed (`first_epoch`), on regression some settings
(`some_settings`). A file that agrees is stamped with the code that it agrees with.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srel_core.book.committed import (
    files,
    first_epoch,
    regression_file,
    some_settings,
    standing,
    study_file,
    write_study,
)
from srel_core.book.committed.consistency import contradiction
from srel_core.experiments import provenance, result_files
from srel_core.experiments.datasets import DataError
from srel_core.experiments.result_files import ResultError

if TYPE_CHECKING:
    import xarray as xr

_DECIDES_ROUNDING = ("device", "threads", "torch")


def verify(path: Path, device: str = "auto", progress: bool = True) -> str:
    """Recompute a part of a committed file with the present code, and re-stamp it if it agrees;
    in words how closely it does.

    ResultError, the file left as it is, if it is not to the schema or contradicts itself, if the
    images at hand are not those it was made from, or if the differences are too large. DataError
    for images that are not there.
    """
    committed = standing.committed_at(path)
    with _named(path.name):
        if committed.attrs["kind"] == regression_file.KIND:
            agreement = _verify_regression(committed)
        elif committed.attrs["kind"] == study_file.KIND:
            agreement = _verify_study(committed, device, progress)
        else:
            agreement = _verify_summary(committed, device, progress)
    stamp = {
        "verified_code_digest": standing.present_code(committed),
        "verified_on": datetime.now(UTC).isoformat(timespec="seconds"),
        "verified_commit": provenance.commit(),
    }
    result_files.save(committed.assign_attrs(stamp), path)
    return agreement


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever is said of the file begins with its name."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except (ResultError, ValueError) as error:
        raise ResultError(f"{name}: {error}: it stays as it is") from error


def _verify_summary(summary: "xr.Dataset", device: str, progress: bool) -> str:
    if fault := contradiction(summary):
        raise ResultError(f"it contradicts itself: {fault}")
    first = files.runs_of(summary)[0]
    whole = standing.experiment_of(first["config"])
    experiment = first_epoch.shortened(whole)
    with tempfile.TemporaryDirectory(prefix="srel-verify-") as folder:
        run = experiment.run(folder, device, progress)
    _check_images(first, run.attrs)
    checkpoint, losses = first_epoch.largest_differences(summary, first_epoch.slice_of(run))
    words = f"S_rel and own to {checkpoint:.1e}, losses to {losses:.1e}"
    words += _made_with(first, run.attrs)
    allowed = first_epoch.TOLERANCE
    if not (checkpoint <= allowed[0] and losses <= allowed[1]):
        raise _other_numbers(words, f"{allowed[0]:g} and {allowed[1]:g} are")
    return words


def _verify_study(committed: "xr.Dataset", device: str, progress: bool) -> str:
    index, apart, run = write_study.first_epoch_again(
        committed, standing.present_code(committed), device, progress
    )
    first = files.runs_of(committed)[index]
    _check_images(first, run)
    words = f"run {index + 1} of {committed.sizes['run']}: " + ", ".join(
        f"{name.removeprefix('slice_')} to {difference:.1e}" for name, difference in apart.items()
    )
    allowed = write_study.TOLERANCES
    if not all(apart[name] <= allowed[name] for name in allowed):
        raise _other_numbers(words, f"{', '.join(f'{a:g}' for a in allowed.values())} are")
    return words + _made_with(first, run)


def _check_images(first: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    for checksum in ("data_checksum", "test_checksum"):
        if run[checksum] != first[checksum]:
            raise ResultError(
                f"the images at hand are not those it was made from ({checksum} "
                f"{run[checksum][:12]}, not {first[checksum][:12]})"
            )


def _verify_regression(table: "xr.Dataset") -> str:
    settings = some_settings.settings_of(table)
    again = some_settings.chosen(settings, standing.present_code(table))
    difference = some_settings.largest_difference(table, again)
    words = f"{len(again)} of {len(settings)} settings to {difference:.1e}"
    if not difference <= some_settings.TOLERANCE:
        raise _other_numbers(words, f"{some_settings.TOLERANCE:g} is")
    return words


def _other_numbers(found: str, allowed: str) -> ResultError:
    return ResultError(
        f"the present code gives other numbers ({found}), where {allowed} allowed, and it must be "
        "computed anew"
    )


def _made_with(first: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In words, where a file was made on another processor, with other threads or another torch."""
    pairs = {name: (str(first[name]), str(here[name])) for name in _DECIDES_ROUNDING}
    return "".join(f"; {n} {now}, not {then}" for n, (then, now) in pairs.items() if then != now)
