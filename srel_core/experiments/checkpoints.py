"""The state of an unfinished run on disk: saved as it goes, and gone on from after an interruption.

A damaged state is set aside, with a warning, and the run starts from the beginning.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from srel_core.experiments import result_files
from srel_core.experiments.training import Trainer
from srel_core.recorder import SrelRecorder


class Run(Protocol):
    """What a run of an experiment is made of; `path` is where its result will be."""

    path: Path
    trainer: Trainer
    recorder: SrelRecorder
    test_curves: list[tuple[float, float]]
    seconds: float


AnyRun = TypeVar("AnyRun", bound=Run)


def state_path(path: Path) -> Path:
    """Where the state of the run for the result at `path` is kept."""
    return path.with_suffix(".state.safetensors")


def begin(new: Callable[[], AnyRun]) -> AnyRun:
    """A run at its beginning, or where an interrupted one was saved."""
    run = new()
    result_files.require_writable(run.path.parent)
    try:
        _restore(run)
    except (SafetensorError, OSError, RuntimeError, KeyError, ValueError) as error:
        aside = result_files.set_aside(state_path(run.path))
        reason = " ".join(str(error).split())[:200]
        warnings.warn(
            f"the saved state of an interrupted run is damaged ({reason}): set aside as "
            f"{aside.name}, starting from the beginning",
            stacklevel=4,
        )
        run = new()
    return run


def save(run: Run, seconds: float) -> None:
    """Keep the state of a run that has worked for so many seconds."""
    from safetensors.torch import save_file

    state = {f"trainer/{name}": t for name, t in run.trainer.state().items()}
    state |= {f"recorder/{name}": t for name, t in run.recorder.state().items()}
    state["test_curves"] = torch.tensor(run.test_curves, dtype=torch.float64).reshape(-1, 2)
    state["seconds"] = torch.tensor(seconds, dtype=torch.float64)
    whole = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    result_files.write_atomically(state_path(run.path), lambda file: save_file(whole, file))


def _restore(run: Run) -> None:
    """Go on from the saved state, if there is one."""
    from safetensors.torch import load_file

    path = state_path(run.path)
    if not path.exists():
        return
    state = load_file(path)

    def part(name: str) -> dict[str, Tensor]:
        prefix = f"{name}/"
        return {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}

    run.trainer.restore(part("trainer"))
    run.recorder.restore(part("recorder"))
    run.test_curves = [tuple(row) for row in state["test_curves"].tolist()]
    run.seconds = float(state["seconds"])
