"""Tables of what stands in the files of results, from the code that checks them."""

from collections.abc import Callable, Mapping
from typing import Any

from srel_core.book.committed import regression_file, schema, study_file
from srel_core.book.figures.table import COLUMNS
from srel_core.book.text.markup import code, plain
from srel_core.experiments.expected import class_result, regression_result
from srel_core.experiments.training import Schedule

ATTRIBUTES = {
    "schema": "the format, with its version",
    "kind": "which of the kinds below it is",
    "config": "the experiment, as JSON",
    "code_digest": "SHA-256 of the code that the numbers depend on",
    "commit": "of the code; +changes stands for some that are in no commit",
    "created": "when it was computed",
    "wall_seconds": "how long that took",
    "device, machine, threads": "what it was computed on",
    "python, srel-core, torch, torchvision, numpy, scipy, scikit-learn, xarray": "versions",
    "data_source, data_checksum, test_checksum": "which images, with the SHA-256 of their content",
    "level": "of the intervals, in committed files",
    "intervals": "over what they were drawn again, in committed files; where it is not said, runs "
    "and samples",
    "runs": "the attributes of each seed's own run, as JSON, in committed files",
    "verified_code_digest, verified_on, verified_commit": "the code with which a part of a "
    "committed file was last computed again, and agreed",
    "content_sha256": "SHA-256 over all values and attributes, checked whenever a file is read",
}
MEASURED = {
    "change": "change of the prediction at a probe after one step on a sample",
    "own": "change of the prediction at the sample itself",
    "prediction": "outputs at a probe before the step",
    "sample_prediction": "outputs at a sample before the step",
    "prediction_change": "change of each output at a probe",
    "own_prediction_change": "change of each output at the sample",
    "in_float64": "whether the step was computed in double precision",
    "same_input": "whether probe and sample are one image",
    "train_loss": "of a batch; in regression, of all training data",
    "train_accuracy": "on the images of a batch",
    "test_loss": "on the test images",
    "test_accuracy": "on the test images",
    "s_rel": "S_rel of a pair of held-out points; NaN where a step changes nothing at its sample",
    "s_rel_linear": "the same of the linear model on the same data",
    "held_loss": "mean loss on held-out data",
}
JUDGED = {
    "family": "network, line or other model of the row",
    "pairs": "which pairs of points S_rel is taken over",
    "next_step": "whether S_rel is that of the step Adam takes next, not of an SGD step",
    "p_value": "of two lines against one; 1 if there is nothing to fit",
    "p_adjusted": "Holm's, over all rows",
    "moved": "range of the mean curve over its largest value",
    "start": "mean over seeds at step 0",
    "plateau": "mean over seeds after the break, or over the last half without one",
    "to_tangent": "plateau over that of the tangent kernel of the final network",
    "to_linear": "plateau over that of the linear model, with its interval",
    "break_step": "step of the break; NaN without one",
    "break_interval": "its bootstrap interval",
    "break_at": "break over the last step",
    "slopes": "late slope over early slope",
    "drift": "change along the late line, over the plateau",
    "half_break": "break of the first half of the steps over that of all",
    "resolved": "whether the steps are fine enough for this break",
    "passed": "the answer to each check of the rule",
    "verdict": "the answers in words",
}


def attributes() -> list[list[str]]:
    return [["attribute", "meaning"], *([names(n), plain(m)] for n, m in ATTRIBUTES.items())]


def figures() -> list[list[str]]:
    return [["column", "meaning"], *([code(n), plain(m)] for n, m in COLUMNS.items())]


def class_srel() -> list[list[str]]:
    return measured(class_result("", "", Schedule(), (), ()).variables)


def regression() -> list[list[str]]:
    return measured(regression_result("", "", (), (), ()).variables)


def measured(variables: Any) -> list[list[str]]:
    rows = [[code(n), dims(v.dims), v.kind, plain(MEASURED[n])] for n, v in variables.items()]
    return [["variable", "dimensions", "type", "meaning"], *rows]


def class_srel_summary() -> list[list[str]]:
    return committed(schema.VARIABLES)


def class_srel_study() -> list[list[str]]:
    return committed(study_file.VARIABLES)


def committed(variables: Mapping[str, schema.Variable]) -> list[list[str]]:
    rows = [
        [code(n), dims(v.dims), "yes" if v.interval else "", plain(v.meaning)]
        for n, v in variables.items()
    ]
    return [["variable", "dimensions", "interval", "meaning"], *rows]


def regression_summary() -> list[list[str]]:
    rows = [[code(n), dims(d), plain(JUDGED[n])] for n, d in regression_file.VARIABLES.items()]
    return [["variable", "dimensions", "meaning"], *rows]


def names(listed: str) -> str:
    return ", ".join(code(name) for name in listed.split(", "))


def dims(listed: tuple[str, ...]) -> str:
    return ", ".join(listed)


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    made.__name__: made
    for made in (
        attributes,
        class_srel,
        regression,
        class_srel_summary,
        class_srel_study,
        regression_summary,
        figures,
    )
}
