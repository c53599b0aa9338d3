"""The state of an unfinished run is gone on from to the same bits, or not at all."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as to_bytes

import srel_core as sc
from srel_core.experiments import checkpoints, class_experiment, digest
from srel_core.experiments.files import ResultError
from tests.experiments.test_class_experiment import TINY, Stop
from tests.support.results import flipped, names

SMALL = replace(TINY, rules=("sgd:1e-4",), divergences=("kl",))


def run(folder):
    return SMALL.run(folder, "cpu", progress=False)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The result of a run without interruption, and the state of one that stopped at step 4 of 6,
    when it had measured the steps 1 and 3."""
    whole = run(tmp_path_factory.mktemp("whole")).drop_attrs()
    folder = tmp_path_factory.mktemp("interrupted")
    measure = sc.SrelRecorder.measure

    def stop(self, step):
        if step == 4:
            raise Stop
        return measure(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_experiment, "_SAVE_EVERY", 0.0)
        patch.setattr(sc.SrelRecorder, "measure", stop)
        with pytest.raises(Stop):
            run(folder)
    return whole, checkpoints.state_path(folder / SMALL.file_name).read_bytes()


@pytest.fixture
def fresh(tmp_path):
    """A run that has not begun."""
    return class_experiment._Run(SMALL, tmp_path / SMALL.file_name, torch.device("cpu"))


def forged(raw, change):
    """A state with other content, and the digest of that content."""
    tensors, about = load(raw), checkpoints._metadata(raw)
    del about[digest.ATTRIBUTE]
    change(tensors, about)
    return to_bytes(tensors, about | {digest.ATTRIBUTE: digest.of_tensors(tensors, about)})


def nan(name, *at):
    return lambda tensors, _: tensors[name].__setitem__(at, float("nan"))


def without(part):
    def change(tensors, _):
        for name in [name for name in tensors if name.startswith(part)]:
            del tensors[name]

    return change


def cut(name, step):
    return lambda tensors, _: tensors.update({name: tensors[name][..., :step].contiguous()})


def with_config(**settings):
    def change(_, about):
        about["config"] = json.dumps(json.loads(about["config"]) | settings)

    return change


FORGERIES = {
    "another seed": (with_config(seed=1), "of another run: config: seed is 1, not 0"),
    "other code": (lambda _, about: about.update(code_digest="old"), "code_digest: differs"),
    "other images": (lambda _, about: about.update(data_checksum=""), "data_checksum: differs"),
    "not ours": (lambda _, about: about.clear(), "of another run: schema: differs"),
    "weight": (nan("trainer/model/1.weight", 0, 0), "weights: 1.weight holds NaN or infinite"),
    "no weight": (without("trainer/model/1.bias"), "weights: 1.bias is missing"),
    "weight's shape": (cut("trainer/model/1.weight", 5), r"1.weight is torch.float32 \(3, 5\)"),
    "weight's type": (
        lambda t, _: t.update({"trainer/model/1.bias": t["trainer/model/1.bias"].double()}),
        r"1.bias is torch.float64 \(3,\), not torch.float32",
    ),
    "no optimizer": (without("trainer/optimizer"), "optimizer: .*exp_avg is missing"),
    "part of one": (without("trainer/optimizer/1/exp_avg_sq"), "1/exp_avg_sq is missing"),
    "moment": (nan("trainer/optimizer/0/exp_avg", 0, 0), "0/exp_avg holds NaN or infinite"),
    "count": (
        lambda t, _: t["trainer/optimizer/0/step"].add_(1),
        "the optimizer has taken 4 steps, not 3",
    ),
    "no curves": (without("trainer/curves"), "trainer/curves|curves"),
    "curve": (nan("trainer/curves", 0, 1), "curves holds NaN or infinite"),
    "curves cut": (cut("trainer/curves", 2), "taken 3 steps, not 2"),
    "beyond the end": (
        lambda t, _: t.update({"trainer/curves": torch.zeros(2, 99, dtype=torch.float64)}),
        "it is of step 99, but there are 6",
    ),
    "no step": (cut("trainer/curves", 0), "it is of step 0, but there are 6"),
    "no measurement": (without("recorder/1/"), "measurements: 1/change is missing"),
    "part of one measurement": (without("recorder/1/own"), "measurements: 1/own is missing"),
    "a measurement ahead": (
        lambda t, _: t.update({"recorder/4/own": t["recorder/3/own"].clone()}),
        "measurements: 4/own is new",
    ),
    "measured": (nan("recorder/3/change", 0, 0, 0, 0), "3/change holds NaN or infinite"),
    "fewer samples": (cut("recorder/3/own", 2), r"3/own is torch.float64 \(1, 1, 2\)"),
    "test curve": (nan("test_curves", 0, 0), "test_curves holds NaN or infinite"),
    "an epoch ahead": (
        lambda t, _: t.update(test_curves=torch.zeros(2, 2, dtype=torch.float64)),
        r"test_curves has shape \(2, 2\), not \(1, 2\)",
    ),
    "no time": (without("seconds"), "seconds"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), FORGERIES.values(), ids=FORGERIES.keys())
def test_what_this_run_cannot_have_saved_is_refused(interrupted, fresh, change, said):
    """Whatever its digest says: nothing is left to be noticed at a later step."""
    before = {name: t.clone() for name, t in fresh.trainer.model.state_dict().items()}
    with pytest.raises((ValueError, KeyError), match=said):
        checkpoints._restore(fresh, forged(interrupted[1], change))
    after = fresh.trainer.model.state_dict()
    assert fresh.trainer.step == 0 and all(torch.equal(before[n], after[n]) for n in before)


def test_no_flipped_bit_changes_what_is_gone_on_from(interrupted, fresh):
    raw, refused = interrupted[1], 0
    for bit, changed in flipped(raw, 60):
        try:
            checkpoints._restore(fresh, changed)
        except (ValueError, LookupError, SafetensorError):
            refused += 1
        else:
            about = checkpoints._metadata(raw)
            about.pop(digest.ATTRIBUTE)
            assert digest.of_tensors(load(changed), about) == digest.of_tensors(load(raw), about), (
                bit
            )
    assert refused > 50
    checkpoints._restore(fresh, forged(raw, lambda *_: None))
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


def test_a_result_of_another_run_is_not_taken_for_this_one(tmp_path):
    """Seed 1's file under seed 0's name, whole as it is."""
    first = run(tmp_path / "first")
    other = replace(SMALL, seed=1)
    other.run(tmp_path, "cpu", progress=False)
    (tmp_path / other.file_name).rename(tmp_path / SMALL.file_name)
    with pytest.warns(UserWarning, match="its config differs: seed is 1, not 0.: set aside as"):
        assert run(tmp_path).drop_attrs().identical(first.drop_attrs())
