"""Whether a committed file comes from the present code, has been verified with it, or is stale."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from srel_core.book.committed import regression_file
from srel_core.book.committed.files import runs_of
from srel_core.experiments import result_files
from srel_core.experiments.class_experiment import ClassExperiment
from srel_core.experiments.regression.experiment import RegressionExperiment
from srel_core.experiments.training import Schedule

if TYPE_CHECKING:
    import xarray as xr


def experiment_of(config: dict[str, Any]) -> ClassExperiment:
    """The experiment that a run's parsed config describes."""
    fields = {f.name for f in dataclasses.fields(ClassExperiment)}
    if set(config) != fields:
        name = sorted(set(config) ^ fields)[0]
        raise result_files.ResultError(
            f"this config is of another version of srel_core: see {name!r}"
        )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
    }
    return ClassExperiment(**given | {"schedule": Schedule(**config["schedule"])})


def present_code(committed: "xr.Dataset") -> str:
    """The digest of the code that the experiment behind a committed file would run on now; "" if
    there is no such experiment any more."""
    if committed.attrs["kind"] == regression_file.KIND:
        return RegressionExperiment().code
    try:
        return experiment_of(runs_of(committed)[0]["config"]).code
    except (result_files.ResultError, ValueError):
        return ""


Standing = Literal["current", "verified", "stale"]


def standing(committed: "xr.Dataset") -> Standing:
    """ "current": made by the present code; "verified": that code has recomputed a part of it with
    the same outcome; "stale": neither."""
    attributes, code = committed.attrs, present_code(committed)
    if attributes["code_digest"] == code:
        return "current"
    return "verified" if attributes.get("verified_code_digest") == code else "stale"
