"""The bound on memory: peaks of fresh processes, and bounds below what one sample needs."""

import re
import sys
from pathlib import Path

import pytest
import torch

import srel_core as sc
from srel_core.engine.setup.memory import memory_bound
from tests.support import networks
from tests.support.book import ROOT


def _peaks(method, probes):
    """Peak and bound in bytes of a measurement within 64 MiB, and the peak of one left free."""
    sys.path.append(str(ROOT / "benchmarks"))
    import _processes
    import scaling

    task = {**scaling.BOUNDED, "method": method, "probes": probes, "threads": 1, "repeats": 0}
    bound = 2**26
    bounded, free = (
        _processes.in_fresh_process(scaling.one, {**task, "max_bytes": b}, start="forkserver")
        for b in (bound, 2**31)
    )
    return bounded["peak_bytes"], bound + bounded["beside_bound_bytes"], free["peak_bytes"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
# So many probes that a measurement left free takes well over the bound.
@pytest.mark.parametrize(("method", "probes"), [("low_rank", 96), ("tangent", 256)])
def test_a_bound_on_memory_is_kept(method, probes):
    peak, bound, free = _peaks(method, probes)
    assert peak < bound + 2**26
    assert peak < 0.7 * free


def _call(method, **given):
    model, (x, y, probes) = networks.make("resnet18"), networks.batch(5, 4)
    if method == "tangent":
        return sc.tangent_influence(model, x, y, probes, **given)
    return sc.influence(model, x, y, probes, rule=sc.SGD(1e-3), method=method, **given)


@pytest.mark.parametrize("method", ["shared", "low_rank", "tangent"])
def test_a_bound_below_one_sample_and_input_is_refused_with_what_is_needed(method):
    with pytest.raises(ValueError, match=r"max_bytes=10 is too low: .* need about \d+ bytes") as e:
        _call(method, max_bytes=10)
    needed = int(re.search(r"about (\d+) bytes", str(e.value))[1])
    least, free = _call(method, max_bytes=needed), _call(method)
    torch.testing.assert_close(least.change["kl"], free.change["kl"], rtol=1e-9, atol=0)


def test_directional_derivatives_are_the_same_in_parts():
    model, (x, y, probes) = networks.make("vit"), networks.batch(3, 4)
    free = sc.tangent_influence(model, x, y, probes)
    with pytest.raises(ValueError, match="max_bytes=10 is too low") as error:
        sc.tangent_influence(model, x, y, probes, max_bytes=10)
    needed = int(re.search(r"about (\d+) bytes", str(error.value))[1])
    least = sc.tangent_influence(model, x, y, probes, max_bytes=needed)
    torch.testing.assert_close(least.change["kl"], free.change["kl"], rtol=1e-9, atol=0)


def test_the_bound_left_open_is_what_is_free_on_a_gpu(monkeypatch):
    """With what torch has of the device without using it, as after an earlier measurement."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 11 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 3 * 2**30)
    assert memory_bound(None, torch.device("cuda")) == 8 * 2**30
    assert memory_bound(None, torch.device("cpu")) == 2 * 2**30
    assert memory_bound(77, torch.device("cuda")) == 77
