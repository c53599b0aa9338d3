"""The state of an unfinished run is gone on from to the same bits, or not at all."""

from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as to_bytes

import srel_core as sc
from srel_core.experiments import checkpoints, class_experiment, digest
from srel_core.experiments.files import ResultError
from tests.support.forgeries import SMALL, STATES, forged, state_of_an_interrupted_run, without
from tests.support.results import flipped, names


def run(folder):
    return SMALL.run(folder, "cpu", progress=False)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The result of a run without interruption, and the state of one that stopped at step 4 of 6,
    when it had measured the steps 1 and 3."""
    whole = run(tmp_path_factory.mktemp("whole")).drop_attrs()
    return whole, state_of_an_interrupted_run(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture
def fresh(tmp_path):
    """A run that has not begun."""
    return class_experiment._Run(SMALL, tmp_path / SMALL.file_name, torch.device("cpu"))


@pytest.mark.parametrize(("change", "said"), STATES.values(), ids=STATES.keys())
def test_what_this_run_cannot_have_saved_is_refused(interrupted, fresh, change, said):
    """Whatever its digest says: nothing is left to be noticed at a later step."""
    before = {name: t.clone() for name, t in fresh.trainer.model.state_dict().items()}
    with pytest.raises((ValueError, KeyError), match=said):
        checkpoints._checked(fresh, forged(interrupted[1], change))
    after = fresh.trainer.model.state_dict()
    assert fresh.trainer.step == 0 and all(torch.equal(before[n], after[n]) for n in before)


def test_no_flipped_bit_changes_what_is_gone_on_from(interrupted, fresh):
    raw, refused = interrupted[1], 0
    for bit, changed in flipped(raw, 60):
        try:
            checkpoints._checked(fresh, changed)
        except (ValueError, LookupError, SafetensorError):
            refused += 1
        else:
            about = checkpoints._metadata(raw)
            about.pop(digest.ATTRIBUTE)
            assert digest.of_tensors(load(changed), about) == digest.of_tensors(load(raw), about), (
                bit
            )
    assert refused > 50
    state = checkpoints._checked(fresh, forged(raw, lambda *_: None))
    checkpoints._restore(fresh, state)
    assert fresh.trainer.step == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: b"\xff" * 100,
        lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        lambda raw: to_bytes(load(raw)),  # of a version without digests
        lambda raw: forged(raw, without("trainer/optimizer")),
    ],
    ids=["cut", "empty", "junk", "one bit", "no digest", "no optimizer"],
)
def test_a_damaged_state_is_set_aside_and_the_run_starts_over(interrupted, tmp_path, damage):
    whole, damaged = interrupted[0], damage(interrupted[1])
    state = checkpoints.state_path(tmp_path / SMALL.file_name)
    state.write_bytes(damaged)
    said = (
        rf"the saved state of an interrupted run, {state}, is damaged .*: set aside as .*\.damaged"
    )
    with pytest.warns(UserWarning, match=said) as caught:
        assert SMALL.run(tmp_path, "cpu", progress=False).drop_attrs().identical(whole)
    assert caught[0].filename == __file__
    assert names(tmp_path) == sorted([SMALL.file_name, f"{state.name}.damaged"])
    assert state.with_name(f"{state.name}.damaged").read_bytes() == damaged


def test_a_whole_state_is_gone_on_from(interrupted, tmp_path, monkeypatch):
    whole, raw = interrupted
    checkpoints.state_path(tmp_path / SMALL.file_name).write_bytes(raw)
    measure, measured = sc.SrelRecorder.measure, []
    monkeypatch.setattr(
        sc.SrelRecorder, "measure", lambda self, step: (measured.append(step), measure(self, step))
    )
    assert run(tmp_path).drop_attrs().identical(whole)
    assert measured == [4, 6] and names(tmp_path) == [SMALL.file_name]


def test_a_state_that_cannot_be_read_is_left_as_it_is(tmp_path):
    state = checkpoints.state_path(tmp_path / SMALL.file_name)
    state.symlink_to("/proc/self/mem")  # a real input/output error
    with pytest.raises(ResultError, match=r"cannot read .*\.state\.safetensors .*: it stays as it"):
        run(tmp_path)
    assert names(tmp_path) == [state.name]


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        OSError(5, "Input/output error"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_whole_state_that_this_machine_does_not_read_is_not_called_damaged(
    interrupted, tmp_path, monkeypatch, error
):
    state = checkpoints.state_path(tmp_path / SMALL.file_name)
    state.write_bytes(interrupted[1])

    def refused(*_):
        raise error

    monkeypatch.setattr("safetensors.torch.load", refused)
    if isinstance(error, OSError):
        monkeypatch.setattr("pathlib.Path.read_bytes", refused)
    with pytest.raises(ResultError, match=r"cannot read .*state\.safetensors \(.*: it stays as it"):
        run(tmp_path)
    monkeypatch.undo()
    assert names(tmp_path) == [state.name] and state.read_bytes() == interrupted[1]


def test_what_fails_once_a_state_is_checked_is_no_fault_of_the_file(
    interrupted, tmp_path, monkeypatch
):
    """As when a GPU has no memory left."""
    state = checkpoints.state_path(tmp_path / SMALL.file_name)
    state.write_bytes(interrupted[1])

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sc.SrelRecorder, "restore", full)
    with pytest.raises(torch.OutOfMemoryError):
        run(tmp_path)
    assert names(tmp_path) == [state.name]


def test_a_result_of_another_run_is_not_taken_for_this_one(tmp_path):
    """Seed 1's file under seed 0's name, whole as it is."""
    first = run(tmp_path / "first")
    other = replace(SMALL, seed=1)
    other.run(tmp_path, "cpu", progress=False)
    (tmp_path / other.file_name).rename(tmp_path / SMALL.file_name)
    with pytest.warns(UserWarning, match="its config differs: seed is 1, not 0.: set aside as"):
        assert run(tmp_path).drop_attrs().identical(first.drop_attrs())
