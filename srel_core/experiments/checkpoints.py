"""The state of an unfinished run on disk: saved as it goes, and gone on from after an interruption.

A state carries its experiment and a digest of all that is in it, and is compared with what this run
must hold at that step. One that is damaged, or another run's, is set aside, with a warning, and the
run starts from the beginning: what is restored gives the numbers of a run without interruption.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from srel_core.experiments import digest
from srel_core.experiments.datasets import ImageSet
from srel_core.experiments.expected import MEASURED, difference
from srel_core.experiments.files import (
    exists,
    read,
    require_writable,
    set_aside,
    unreadable,
    write_atomically,
)
from srel_core.experiments.netcdf import one_line
from srel_core.experiments.terminal import lacks_memory, plain
from srel_core.experiments.training import Trainer
from srel_core.recorder import SrelRecorder

_SCHEMA = "srel-core state 1"
_MOMENTS = {"adam": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}


class Experiment(Protocol):
    """What a state belongs to."""

    @property
    def config(self) -> str: ...

    @property
    def code(self) -> str: ...


class Run(Protocol):
    """What a run of an experiment is made of; `path` is where its result will be."""

    @property
    def experiment(self) -> Experiment: ...

    path: Path
    train: ImageSet
    trainer: Trainer
    recorder: SrelRecorder
    test_curves: list[tuple[float, float]]
    seconds: float


AnyRun = TypeVar("AnyRun", bound=Run)


def state_path(path: Path) -> Path:
    """Where the state of the run for the result at `path` is kept."""
    return path.with_suffix(".state.safetensors")


def begin(run: AnyRun, anew: Callable[[], AnyRun]) -> AnyRun:
    """The run where an interrupted one was saved, or as it is: at its beginning; `anew` makes
    another such one, since damage may be noticed half-way.

    ResultError if nothing can be written where its result will be, or a state that is there cannot
    be read, which stays as it is.
    """
    require_writable(run.path.parent)
    path = state_path(run.path)
    if not exists(path):
        return run
    raw = read(path)
    try:
        state = _checked(run, raw)
    except MemoryError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, RuntimeError, LookupError, ValueError, TypeError) as error:
        if lacks_memory(error):
            raise unreadable(path, error) from error
        reason = str(error) if type(error) is ValueError else one_line(error)
        aside = set_aside(path)
        warnings.warn(
            plain(
                f"the saved state of an interrupted run, {path}, is damaged ({reason}): set aside "
                f"as {aside.name}, starting from the beginning"
            ),
            stacklevel=3,
        )
        return anew()
    _restore(run, state)
    return run


def save(run: Run, seconds: float) -> None:
    """Keep the state of a run that has worked for so many seconds."""
    from safetensors.torch import save as to_bytes

    state = {f"trainer/{name}": t for name, t in run.trainer.state().items()}
    state |= {f"recorder/{name}": t for name, t in run.recorder.state().items()}
    state["test_curves"] = torch.tensor(run.test_curves, dtype=torch.float64).reshape(-1, 2)
    state["seconds"] = torch.tensor(seconds, dtype=torch.float64)
    whole = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    about = _about(run)
    # As bytes: the library's own writing goes by a file of its own, which a kill leaves behind.
    raw = to_bytes(whole, about | {digest.ATTRIBUTE: digest.of_tensors(whole, about)})
    write_atomically(state_path(run.path), lambda partial: partial.write_bytes(raw))


def _about(run: Run) -> dict[str, str]:
    """What a state is the state of."""
    return {
        "schema": _SCHEMA,
        "config": run.experiment.config,
        "code_digest": run.experiment.code,
        "data_checksum": run.train.checksum,
    }


def _checked(run: Run, raw: bytes) -> dict[str, Tensor]:
    """A saved state. ValueError, or an error of reading, if it is not one that this run saved."""
    from safetensors.torch import load

    state, about = load(raw), _metadata(raw)
    stored = about.pop(digest.ATTRIBUTE, None)
    if stored != digest.of_tensors(state, about):
        raise ValueError("its content is not that of its digest")
    for name, value in _about(run).items():
        if about.get(name) != value:
            other = difference(value, str(about.get(name))) if name == "config" else "differs"
            raise ValueError(f"it is of another run: {name}: {other}")

    trained, measured = _part(state, "trainer"), _part(state, "recorder")
    step = trained["curves"].shape[1]
    _check_like("weights", _part(trained, "model"), run.trainer.model.state_dict())
    _check_like("optimizer", *_moments(run.trainer, trained, step))
    _check_like("measurements", measured, _measurements(run, step))
    epochs = step // run.trainer.steps_per_epoch
    _check_finite("curves", trained["curves"], (2, step))
    _check_finite("test_curves", state["test_curves"], (epochs, 2))
    _check_finite("seconds", state["seconds"], ())
    return state


def _restore(run: Run, state: Mapping[str, Tensor]) -> None:
    """Go on from a state that has been checked. What fails here is no fault of the file."""
    run.trainer.restore(_part(state, "trainer"))
    run.recorder.restore(_part(state, "recorder"))
    run.test_curves = [tuple(row) for row in state["test_curves"].tolist()]
    run.seconds = float(state["seconds"])


def _part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}


def _metadata(raw: bytes) -> dict[str, str]:
    """The words in the header of a safetensors file, which `load` leaves out."""
    size = int.from_bytes(raw[:8], "little")
    return dict(json.loads(raw[8 : 8 + size]).get("__metadata__") or {})


def _moments(
    trainer: Trainer, trained: Mapping[str, Tensor], step: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The optimizer's tensors as they are kept, and some like those it must have."""
    total = trainer.schedule.epochs * trainer.steps_per_epoch
    if not 0 < step <= total:
        raise ValueError(f"it is of step {step}, but there are {total}")
    kept = {k: t for k, t in trained.items() if k.startswith("optimizer/")}
    wanted: dict[str, Tensor] = {}
    for index, parameter in enumerate(trainer.model.parameters()):
        moments = _MOMENTS[trainer.schedule.optimizer]
        wanted |= {f"optimizer/{index}/{name}": parameter for name in moments}
        if trainer.schedule.optimizer == "adam":
            wanted[f"optimizer/{index}/step"] = torch.tensor(float(step))
        count = kept.get(f"optimizer/{index}/step")
        if count is not None and float(count) != step:
            raise ValueError(f"the optimizer has taken {float(count):g} steps, not {step}")
    return kept, wanted


def _measurements(run: Run, step: int) -> dict[str, Tensor]:
    """Tensors like those that are measured up to a step, without values."""
    recorder = run.recorder
    sizes = {
        "rule": len(recorder.rules),
        "divergence": len(recorder.divergences),
        "probe": len(recorder.probes),
        "sample": len(recorder.x),
        "output": len(run.train.classes),
    }
    like = {
        name: torch.empty(
            [sizes[dim] for dim in variable.dims[1:]],
            dtype=getattr(torch, variable.kind),
            device="meta",
        )
        for name, variable in MEASURED.items()
    }
    steps = run.trainer.schedule.measured_steps(len(run.trainer.images))
    return {f"{s}/{name}": t for s in steps if s <= step for name, t in like.items()}


def _check_like(what: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """ValueError unless these are the names, with tensors of these shapes and types, all finite."""
    for name in sorted({*found, *wanted}):
        if name not in found or name not in wanted:
            raise ValueError(f"{what}: {name} is {'missing' if name in wanted else 'new'}")
        have, want = found[name], wanted[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            raise ValueError(
                f"{what}: {name} is {have.dtype} {tuple(have.shape)}, "
                f"not {want.dtype} {tuple(want.shape)}"
            )
        _check_finite(f"{what}: {name}", have, tuple(want.shape))


def _check_finite(name: str, found: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(found.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(found.shape)}, not {shape}")
    if not bool(torch.isfinite(found).all()):
        raise ValueError(f"{name} holds NaN or infinite values")
