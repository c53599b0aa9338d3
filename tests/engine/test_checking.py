"""A fast way that is wrong is caught while it runs, and the measurement made again."""

import pytest
import torch

import srel_core as sc
from srel_core.engine import fast, methods, tangent_kernel
from srel_core.engine.layers import compiled
from srel_core.engine.layers.kinds.linear import LinearKind
from srel_core.engine.layers.per_sample_gradients import PerSampleGradients
from srel_core.engine.stacked import StackedModel
from tests.support import networks

BATCH = networks.batch(4, 5)


def off(function, by):
    """A function whose result is off by a part of itself."""
    return lambda *args, **kwargs: function(*args, **kwargs) * (1 + by)


def of_one_layer(function, by):
    """A gradient of one layer alone is off."""

    def wrong(gradients, name, i):
        found = function(gradients, name, i)
        return found * (1 + by) if name == "1" else found

    return wrong


WRONG = {
    "subtracted predictions": ("shared", sc.Adam(1e-3), fast, "_side_by_side", off),
    "stacked weights": ("stacked", sc.Adam(1e-3), StackedModel, "changes", off),
    "propagated changes": (
        "low_rank", sc.SGD(1e-2), LinearKind, "change_by_low_rank_steps", off
    ),
    "one gradient": (
        "low_rank", sc.SGD(1e-2), PerSampleGradients, "output_gradients_of", of_one_layer
    ),
    "the tangent kernel": ("kernel", None, tangent_kernel, "_of_layer", off),
}  # fmt: skip


def measured(method, rule, **options):
    model = networks.make("mlp")
    if rule is None:
        return sc.tangent_influence(model, *BATCH, method=method, **options)
    return sc.influence(model, *BATCH, rule=rule, method=method, **options)


@pytest.mark.parametrize("by", [0.02, -0.3])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_fast_way_is_caught(kind, by, monkeypatch):
    method, rule, place, name, wrong = WRONG[kind]
    want = measured("direct", rule)
    monkeypatch.setattr(place, name, wrong(getattr(place, name), by))
    with pytest.warns(RuntimeWarning, match=f"method='{method}' does not give what the definition"):
        got = measured(method, rule)
    assert got.checked == "made again: the fast way did not agree"
    torch.testing.assert_close(got.change["kl"], want.change["kl"], rtol=1e-9, atol=0)
    unchecked = measured(method, rule, check=False)
    assert unchecked.checked == "not checked"
    assert not torch.allclose(unchecked.change["kl"], want.change["kl"], rtol=1e-3, atol=0)


def test_a_right_one_is_said_to_agree():
    for method, rule in (("shared", sc.Adam(1e-3)), ("low_rank", sc.SGD(1e-9)), ("kernel", None)):
        assert measured(method, rule).checked == "agrees with the definition"
    assert measured("loop", sc.SGD(1e-2)).checked == "is the definition"


def test_an_error_within_a_fast_way_is_answered_by_the_definition(monkeypatch):
    def fails(*_):
        raise RuntimeError("of a kernel")

    monkeypatch.setattr(methods, "measure_fast", fails)
    want = measured("direct", sc.SGD(1e-2))
    got = measured("auto", sc.SGD(1e-2))  # without a word: the way is ours to choose
    assert got.method == "direct" and torch.equal(got.change["kl"], want.change["kl"])
    assert got.cause == "RuntimeError: of a kernel" and want.cause == ""
    with pytest.warns(RuntimeWarning, match="'low_rank' does not apply.*RuntimeError: of a kernel"):
        measured("low_rank", sc.SGD(1e-2))


def test_the_recorder_checks_once_and_when_the_structure_changes():
    model = networks.make("mlp")
    rules = {"adam": sc.Adam(1e-3), "limit": sc.Tangent()}
    x, y, probes = BATCH

    def checks_of(check):
        recorder = sc.SrelRecorder(model, x, y, probes, rules=rules, check=check)
        found = [[r.checked for r in recorder.measure(step).values()] for step in (0, 1)]
        model.requires_grad_(False)
        model[-1].requires_grad_(True)
        found.append([r.checked for r in recorder.measure(2).values()])
        model.requires_grad_(True)
        return found

    yes, no = ["agrees with the definition"] * 2, ["not checked"] * 2
    assert checks_of("once") == [yes, no, yes]
    assert checks_of(True) == [yes, yes, yes]
    assert checks_of(False) == [no, no, no]
    with pytest.raises(ValueError, match="check must be 'once', True or False"):
        sc.SrelRecorder(model, x, y, probes, rules=rules, check="twice")


def test_compiled_loops_are_held_to_it_too(monkeypatch):
    monkeypatch.setattr(compiled, "WORTH_COMPILING", 1)
    write = compiled.AdamStep.write
    monkeypatch.setattr(
        compiled.AdamStep, "write",
        lambda own, w, left, right, out: (write(own, w, left, right, out), out.mul_(1.001)),
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="does not give what the definition gives"):
        measured("shared", sc.Adam(1e-3))
