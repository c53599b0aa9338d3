"""The record of the run that executed a chapter: kept in the notebook, shown on its page."""

import shlex
from dataclasses import dataclass
from typing import Any

import gpu
import nbformat

from srel_core.experiments.provenance import commit, installed, processor

KEY = "srel_core"
SEEDS = ("seed", "seeds")
VARYING = ("commit", "threads", "run time", "computed")  # of a result, from run to run
SHOWN = ("srel-core", "torch", "numpy", "scipy", "xarray")


@dataclass(frozen=True)
class Record:
    """The run in words, as pages show them. `results` has what a chapter passed on about the
    results it shows, one mapping each (`srel_core.book.text.sources`)."""

    profile: str
    parameters: dict[str, str]
    commit: str
    date: str
    seconds: str
    device: str
    versions: str
    results: list[dict[str, str]]

    @property
    def seeds(self) -> str:
        """The seeds among the parameters, as the beginning of a list; empty if there are none."""
        found = [f"{name} {self.parameters[name]}" for name in SEEDS if name in self.parameters]
        return "".join(f"{text}, " for text in found if not text.endswith("[]"))


def keep(notebook: nbformat.NotebookNode, parameters: dict[str, str]) -> None:
    """Put what only the runner knows into an executed `notebook`: parameters as text, machine."""
    found = {**installed(), "device": _device(), "commit": commit()}
    notebook.metadata[KEY] = {"parameters": parameters, "environment": found}


def _device() -> str:
    """The GPU, if there is one, or the CPU, in words."""
    if not gpu.has_driver():
        return processor()
    import torch  # not above: it takes seconds, more than many a chapter

    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor()


def find(notebook: nbformat.NotebookNode) -> Record | None:
    """The record of an executed notebook; None if there is none."""
    kept, run = notebook.metadata.get(KEY), notebook.metadata.get("papermill")
    if kept is None or run is None:
        return None
    here: dict[str, str] = kept.environment
    return Record(
        profile=kept.parameters.get("profile", "none").strip("'\""),
        parameters=dict(kept.parameters),
        commit=here["commit"],
        date=run.start_time[:10],
        seconds=f"{run.duration:.0f} s",
        device=f"{here['device']}, {here['machine']}",
        versions=", ".join(["python " + here["python"], *(f"{n} {here[n]}" for n in SHOWN)]),
        results=[dict(row) for output in displayed(notebook) for row in output],
    )


def command(notebook: nbformat.NotebookNode, chapter: str) -> str:
    """The command that executes a chapter as this `notebook` of it was executed."""
    call = ["python", "tools/run_chapter.py", f"chapters/{chapter}.ipynb", "out.ipynb"]
    for name, value in notebook.metadata.papermill.parameters.items():
        call += ["-p", name, value if isinstance(value, str) else repr(value)]
    return shlex.join(call)


def displayed(notebook: nbformat.NotebookNode) -> list[Any]:
    """What the chapter's cells passed on about their results, in their order."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return [o.metadata[KEY] for o in outputs if KEY in o.get("metadata", {})]
