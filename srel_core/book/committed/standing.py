"""Whether a committed file comes from the present code, has been verified with it, or is stale."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from srel_core.book.committed import regression_file, study_file
from srel_core.book.committed.files import load_summary, runs_of
from srel_core.experiments import result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.training import Schedule

if TYPE_CHECKING:
    import xarray as xr


def experiment_of(config: Any) -> ClassExperiment:
    """The experiment that a parsed config describes. ValueError for one of another version."""
    fields = {f.name for f in dataclasses.fields(ClassExperiment)}
    if not isinstance(config, dict):
        raise ValueError("its config is none")
    if set(config) != fields:
        name = sorted(set(config) ^ fields)[0]
        raise ValueError(f"its config is of another version of srel_core: see {name!r}")
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
    }
    try:
        return ClassExperiment(**given | {"schedule": Schedule(**config["schedule"])})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"its config is of another version of srel_core: {error}") from error


def committed_at(path: Path) -> "xr.Dataset":
    """The committed file at `path`, of whatever kind, whole. ResultError if it is absent, damaged,
    without a digest, or not to its schema."""
    readers = {
        regression_file.KIND: regression_file.load_file,
        study_file.KIND: study_file.load_file,
    }
    return readers.get(result_files.attributes(path)["kind"], load_summary)(path)


def present_code(committed: "xr.Dataset") -> str:
    """The digest of the code that the experiment behind a committed file would run on now; "" if
    there is no such experiment any more."""
    if committed.attrs["kind"] == regression_file.KIND:
        return RegressionExperiment().code
    try:
        codes = [experiment_of(run["config"]).code for run in runs_of(committed)]
    except ValueError:
        return ""
    of_a_study = committed.attrs["kind"] == study_file.KIND
    return study_file.joint_digest(codes) if of_a_study else codes[0]


Standing = Literal["current", "verified", "stale"]


def standing(committed: "xr.Dataset") -> Standing:
    """ "current": made by the present code; "verified": that code has recomputed a part of it with
    the same outcome; "stale": neither."""
    attributes, code = committed.attrs, present_code(committed)
    if attributes["code_digest"] == code:
        return "current"
    stamped = all(isinstance(attributes.get(f"verified_{name}"), str) for name in ("on", "commit"))
    return "verified" if stamped and attributes.get("verified_code_digest") == code else "stale"
