"""Faults of files: flipped bits, cut ends, files of others, and files made to harm."""

import os
import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import xarray as xr
from _fault_table import Outcome, Tally
from safetensors import SafetensorError
from safetensors.torch import load as load_state

from srel_core.experiments import checkpoints, class_experiment, digest, result_files
from srel_core.experiments.expected import Expected, class_result, regression_result
from srel_core.experiments.files import ResultError
from srel_core.experiments.regression.experiment import RegressionExperiment
from tests.support.forgeries import (
    HOSTILE,
    SMALL,
    STATES,
    altered,
    forged,
    state_of_an_interrupted_run,
)  # fmt: skip
from tests.support.results import flipped

FLIPS, CUTS, WHOLE_RUNS = 300, 50, 30
REGRESSION = RegressionExperiment(n_steps=20, n_points=10, width=5, n_pairs=5, seeds=(0, 1))
COMMITTED = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Kind:
    """A file that is whole, and what becomes of it when its content is another."""

    name: str
    content: bytes
    judge: Callable[[bytes], Outcome]


def tallies(folder: Path) -> list[Tally]:
    """All faults of files, tried in a folder."""
    committed = [_committed(folder, name) for name in ("class_srel-cifar10.nc", "regression.nc")]
    kinds = [_class(folder), _regression(folder), *committed, _state(folder)]
    found = [_tried(f"{kind.name}: a flipped bit", kind, _flips(kind)) for kind in kinds]
    found += [_tried(f"{kind.name}: cut short", kind, _cuts(kind)) for kind in kinds]
    return [*found, _whole_runs(folder), _forged_results(folder), _forged_states(folder),
            _hostile(folder), _unreadable(folder)]  # fmt: skip


def _tried(fault: str, kind: Kind, changes: Iterable[tuple[object, bytes]]) -> Tally:
    tally = Tally(fault)
    for where, content in changes:
        tally.add(kind.judge(content), where)
    return tally


def _flips(kind: Kind) -> Iterable[tuple[int, bytes]]:
    return flipped(kind.content, FLIPS)


def _cuts(kind: Kind) -> Iterable[tuple[int, bytes]]:
    draw = random.Random(0)
    lengths = [0, 1, 8, len(kind.content) - 1]
    lengths += [draw.randrange(len(kind.content)) for _ in range(CUTS - len(lengths))]
    return ((length, kind.content[:length]) for length in lengths)


def _run(folder: Path, experiment: class_experiment.ClassExperiment = SMALL) -> xr.Dataset:
    return experiment.run(folder, "cpu", progress=False)


def _kept(name: str, path: Path, ask: Callable[[], xr.Dataset | None]) -> Kind:
    """A result under `path`, which `ask` loads, or sets aside."""
    whole, content = ask(), path.read_bytes()

    def judge(changed: bytes) -> Outcome:
        path.write_bytes(changed)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                found = ask()
            except ResultError:
                return "refused"
            finally:
                path.write_bytes(content)
                for aside in path.parent.glob("*.damaged*"):
                    aside.unlink()
        if found is None:
            return "refused" if any("set aside as" in str(w.message) for w in said) else "silent"
        return "harmless" if found.identical(whole) else "silent"

    return Kind(name, content, judge)


def _class_expected() -> Expected:
    e = SMALL
    return class_result(e.config, e.code, e.schedule, e.rules, e.divergences)


def _class(folder: Path) -> Kind:
    path = folder / "class" / SMALL.file_name
    _run(path.parent)
    expected = _class_expected()
    return _kept("a class result", path, lambda: result_files.load_kept(path, expected))


def _regression(folder: Path) -> Kind:
    path = folder / "regression" / REGRESSION.file_name
    attributes = REGRESSION.run(path.parent).attrs
    expected = regression_result(
        REGRESSION.config, attributes["code_digest"], list(REGRESSION.rules), REGRESSION.seeds,
        REGRESSION.measured_steps.tolist(),
    )  # fmt: skip
    return _kept("a regression result", path, lambda: result_files.load_kept(path, expected))


def _committed(folder: Path, name: str) -> Kind:
    path = folder / "committed" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((COMMITTED / name).read_bytes())
    return _kept(f"the committed {name}", path, lambda: result_files.load(path))


def _state(folder: Path) -> Kind:
    raw = state_of_an_interrupted_run(folder / "interrupted")
    fresh = class_experiment._Run(SMALL, folder / "state.nc", torch.device("cpu"))

    def content(state: bytes) -> str:
        about = checkpoints._metadata(state)
        about.pop(digest.ATTRIBUTE, None)
        return digest.of_tensors(load_state(state), about)

    def judge(changed: bytes) -> Outcome:
        try:
            checkpoints._checked(fresh, changed)
        except (ValueError, LookupError, SafetensorError):
            return "refused"
        return "harmless" if content(changed) == content(raw) else "silent"

    return Kind("a state", raw, judge)


def _after(folder: Path, name: str, content: bytes, whole: xr.Dataset) -> Outcome:
    """What a run gives that finds this content under this name."""
    folder.mkdir()
    (folder / name).write_bytes(content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        right = _run(folder).drop_attrs().identical(whole)
    if not right:
        return "silent"
    return "refused" if any("set aside as" in str(w.message) for w in said) else "harmless"


def _whole_runs(folder: Path) -> Tally:
    whole = _run(folder / "class").drop_attrs()
    raw = checkpoints.state_path(folder / "interrupted" / SMALL.file_name).read_bytes()
    tally = Tally("a state: a flipped bit, run to the end")
    name = checkpoints.state_path(Path(SMALL.file_name)).name
    for number, (bit, changed) in enumerate(flipped(raw, WHOLE_RUNS, seed=1)):
        tally.add(_after(folder / f"run-{number}", name, changed, whole), bit)
    return tally


def _forged_states(folder: Path) -> Tally:
    whole = _run(folder / "class").drop_attrs()
    raw = checkpoints.state_path(folder / "interrupted" / SMALL.file_name).read_bytes()
    tally = Tally("a state: forged, with its digest")
    name = checkpoints.state_path(Path(SMALL.file_name)).name
    for number, (fault, (change, _)) in enumerate(STATES.items()):
        outcome = _after(folder / f"forged-{number}", name, forged(raw, change), whole)
        tally.add("silent" if outcome == "harmless" else outcome, fault)
    return tally


def _forged_results(folder: Path) -> Tally:
    """Another result, under the name of this one and with a digest of its own."""
    path = folder / "class" / SMALL.file_name
    whole = _run(path.parent)
    forgeries = {
        "another seed": _run(folder / "other", replace(SMALL, seed=1)),
        "another rule": _run(folder / "other", replace(SMALL, rules=("sgd:1e-3",))),
        "another kind": REGRESSION.run(folder / "regression"),
        "other code": whole.assign_attrs(code_digest="old"),
        "no config": whole.drop_attrs().assign_attrs(whole.attrs | {"config": "{}"}),
        "no numbers": whole.assign(change=whole.change * float("nan")),
        "one infinite": whole.assign(own=whole.own.where(whole.step > 1, float("inf"))),
        "a variable less": whole.drop_vars("own"),
        "a variable more": whole.assign(more=1),
        "a step less": whole.isel(step=slice(1, None)),
        "steps in another order": whole.isel(step=[1, 0, 2, 3]),
        "float32": whole.astype("float32"),
    }
    kind = _class(folder)
    tally = Tally("a class result: forged, with its digest")
    for fault, other in forgeries.items():
        forgery = folder / "forgery.nc"
        result_files.save(other, forgery)
        outcome = kind.judge(forgery.read_bytes())
        tally.add("silent" if outcome == "harmless" else outcome, fault)
    return tally


def _hostile(folder: Path) -> Tally:
    kind = _class(folder)
    tally = Tally("a result: links, values elsewhere, a bomb")
    for fault, (add, _) in HOSTILE.items():
        path = folder / "hostile.nc"
        path.write_bytes(kind.content)
        altered(path, add)
        outcome = kind.judge(path.read_bytes())
        tally.add("silent" if outcome == "harmless" else outcome, fault)
    return tally


def _unreadable(folder: Path) -> Tally:
    """What cannot be read is named, and stays where it is."""
    tally = Tally("a result or state that cannot be read")
    for name in (SMALL.file_name, checkpoints.state_path(Path(SMALL.file_name)).name):
        for thing in ("error", "pipe", "folder"):
            place = folder / f"{thing}-{name}"
            place.mkdir()
            path = place / name
            if thing == "error":
                path.symlink_to("/proc/self/mem")
            else:
                os.mkfifo(path) if thing == "pipe" else path.mkdir()
            try:
                _run(place)
                tally.add("silent", f"{thing} {name}")
            except ResultError:
                left = os.path.lexists(path) and len(list(place.iterdir())) == 1
                tally.add("refused" if left else "silent", f"{thing} {name}")
    return tally
