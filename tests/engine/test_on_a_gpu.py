"""What runs on a GPU, on a device that is pretended to be one (`tests.support.pretended_gpu`).

It shows tensors of the CPU among those of the device, as a GPU would, and how many operations are
launched, which is what takes the time there; not what a GPU's own kernels compute.
"""

import copy
import json
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn
from torch.utils.checkpoint import checkpoint

import srel_core as sc
from tests.support import grammar, networks, pretended_gpu
from tests.support.book import ROOT, lacks
from tests.support.class_experiments import TINY as CLASSES
from tests.support.regressions import TINY as REGRESSION

RULES = {"sgd": sc.SGD(1e-2), "adam": sc.Adam(1e-4), "tangent": None}
# Kernels that the CPU lacks, and models that put tensors on the CPU themselves.
LEFT_OUT = ("recurrent", "made on the way")
DRAWN = [n for n in range(14) if not any(of in grammar.draw_model(n)[0] for of in LEFT_OUT)]


def measured(model, given, rule, **options):
    if rule is None:
        return sc.tangent_influence(model, *given, divergences=["l2_logits"], **options)
    return sc.influence(model, *given, rule=rule, divergences=["l2_logits"], **options)


def apart(got, want):
    """The largest error of a change at a probe, relative to the largest change."""
    return float((got.delta.cpu() - want.delta).norm(dim=2).max() / want.delta.norm(dim=2).max())


def of_drawn_models(gpu):
    found = {}
    for number in DRAWN:
        # Not copies: some hold on to themselves by closures.
        (what, model), (_, there) = grammar.draw_model(number), grammar.draw_model(number)
        there, given = there.to(gpu.name), grammar.draw_batch(number)
        pairs = [(measured(there, given, r), measured(model, given, r)) for r in RULES.values()]
        found[what] = max(apart(got, want) for got, want in pairs)
    return found


def of_every_way(gpu):
    found = {}
    for name in ("resnet18", "mlp"):
        model = networks.make(name, dtype=torch.float32)
        there, given = copy.deepcopy(model).to(gpu.name), networks.batch(4, 3, dtype=torch.float32)
        want = measured(model, given, sc.SGD(1e-2), method="loop")
        for method in ("loop", "direct", "shared", "stacked", "low_rank"):
            with warnings.catch_warnings():  # where a way does not apply
                warnings.simplefilter("ignore")
                got = measured(there, given, sc.SGD(1e-2), method=method)
            found[f"{name}, {method}"] = apart(got, want)
    return found


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
}


class Recomputed(nn.Module):
    """Computes its layer again in the backward pass, which is another thread on a GPU, in a
    precision of its own."""

    def __init__(self, reentrant, dtype):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = (
            nn.Linear(n, m) for n, m in ((192, 16), (16, 16), (16, 3))
        )
        self.reentrant, self.dtype = reentrant, dtype

    def forward(self, x):
        h = self.first(x.flatten(1)).tanh()
        return self.last(checkpoint(self.layer, h, use_reentrant=self.reentrant))

    def layer(self, h):
        weight, bias = (p.to(self.dtype) for p in (self.second.weight, self.second.bias))
        return nn.functional.linear(h.to(self.dtype), weight, bias).to(h.dtype).relu()


def of_checkpoints(gpu):
    found = {}
    for reentrant in (True, False):
        for dtype in (torch.float32, torch.bfloat16):
            model, given = Recomputed(reentrant, dtype), networks.batch(4, 3, dtype=torch.float32)
            want = measured(model, given, sc.SGD(1e-2))
            there = Recomputed(reentrant, dtype).to(gpu.name)
            with warnings.catch_warnings():  # that it computes in half precision
                warnings.simplefilter("ignore")
                error = apart(measured(there, given, sc.SGD(1e-2)), want)
            found[f"{'reentrant, ' * reentrant}{dtype}"] = error
    return found


def trained(optimizer_of, device):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.Tanh(), nn.Linear(16, 3)).to(device)
    x, y, _ = (t.to(device) for t in networks.batch(4, 3, dtype=torch.float32))
    optimizer = optimizer_of(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, optimizer


def of_optimizers(gpu):
    found = {}
    for name, optimizer_of in OPTIMIZERS.items():
        got, want = (
            measured(model, networks.batch(4, 3, dtype=torch.float32), sc.OptimizerStep(optimizer))
            for model, optimizer in (trained(optimizer_of, at) for at in (gpu.name, "cpu"))
        )
        found[name] = apart(got, want)
    return found


def deep(n_layers):
    torch.manual_seed(0)
    layers = [m for _ in range(n_layers) for m in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *layers, nn.Flatten(), nn.Linear(288, 3))


def by_a_copy(model, x, y, probes):
    """The obvious way: for each sample a copy steps and predicts."""
    for i in range(len(x)):
        stepped = copy.deepcopy(model)
        optimizer = torch.optim.SGD(stepped.parameters(), 1e-1, foreach=True)
        nn.functional.cross_entropy(stepped(x[i : i + 1]), y[i : i + 1]).backward()
        optimizer.step()
        with torch.no_grad():
            stepped(torch.cat([probes, x[i : i + 1]]))


def of_launches(gpu):
    """Operations of a further sample for each further layer, by the definition and by a copy."""
    x, y, probes = (t.to(gpu.name) for t in networks.batch(5, 3, dtype=torch.float32))
    options = {"method": "direct", "gradients": "model"}
    ways = {
        "a copy": by_a_copy,
        "sgd": lambda *given: sc.influence(*given, rule=sc.SGD(1e-1), **options),
        "adam": lambda *given: sc.influence(*given, rule=sc.Adam(1e-3), **options),
    }
    found = {}
    for name, way in ways.items():
        of_sample = {}
        for n_layers in (8, 16):
            model = deep(n_layers).to(gpu.name)
            given = [(model, x[:n], y[:n], probes) for n in (1, 5)]
            one, five = (np.array(gpu.counted(partial(way, *of))[1:]) for of in given)
            of_sample[n_layers] = (five - one) / 4
        found[name] = ((of_sample[16] - of_sample[8]) / 8).tolist()
    return found


def of_experiments(gpu, folder):
    """Variables that the device changes by more than rounding, and how many there are."""
    found = {}
    for name, experiment in (("classes", CLASSES), ("regression", REGRESSION)):
        options = {"progress": False} if name == "classes" else {}
        got, want = (experiment.run(folder / at, device=at, **options) for at in (gpu.name, "cpu"))
        numbers = [key for key in want.data_vars if want[key].dtype.kind == "f"]
        found[name] = {
            "apart": [key for key in numbers if not alike(got[key].values, want[key].values)],
            "compared": len(numbers),
        }  # fmt: skip
    return found


def alike(got, want):
    size = np.nanmax(np.abs(want), initial=0)
    return np.allclose(got, want, rtol=0, atol=1e-3 * size, equal_nan=True)


def of_the_check(gpu):
    """Of `make gpu-check`: the published algorithm there, against ours."""
    sys.path.append(str(ROOT / "benchmarks"))
    import published_measurement as published

    model, images, labels = (t.to(gpu.name) for t in published.problem())
    pairs = [(0, 0), (0, 1), (0, 2)]
    by_hand = published.one_by_one(copy.deepcopy, model, images, labels, pairs)[:, 0]
    given = images[:1], labels[:1], images
    ours = sc.influence(model, *given, rule=sc.Adam(published.LR)).change["kl"][:, 0].cpu()
    return float((ours - by_hand).abs().max() / by_hand.max())


def process(rank, folder):
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
    gpu = pretended_gpu.compiled(folder)
    found = {
        "drawn": of_drawn_models(gpu),
        "ways": of_every_way(gpu),
        "checkpoints": of_checkpoints(gpu),
        "optimizers": of_optimizers(gpu),
        "launches": of_launches(gpu),
        "experiments": of_experiments(gpu, folder),
        "check": of_the_check(gpu),
    }
    Path(folder, "found.json").write_text(json.dumps(found), encoding="utf8")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """In a process of its own: torch keeps the device until the end of one. Without a compiler the
    tests fail in CI and are skipped elsewhere."""
    if not pretended_gpu.compiler():
        lacks("no compiler of C++ is here: `make system`, as root, installs one on Debian")
    folder = tmp_path_factory.mktemp("on_a_gpu")
    multiprocessing.spawn(process, (folder,))
    return json.loads((folder / "found.json").read_text(encoding="utf8"))


def test_models_of_all_kinds_give_what_they_give_on_the_cpu(found):
    off = {what: error for what, error in found["drawn"].items() if not error < 1e-3}
    assert len(found["drawn"]) == len(DRAWN) > 8 and not off


def test_every_way_gives_the_definition(found):
    assert not {way: error for way, error in found["ways"].items() if not error < 1e-3}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("how", ["reentrant, ", ""])
def test_what_is_computed_again_for_a_gradient(found, how, dtype):
    assert found["checkpoints"][f"{how}torch.{dtype}"] < {"float32": 1e-3, "bfloat16": 0.05}[dtype]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_step_that_training_takes_next_is_that_of_the_cpu(found, name):
    assert found["optimizers"][name] < 1e-3


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_layer_takes_no_more_operations_than_in_a_copy_that_steps(found, name):
    """It was three times as many, and a wait for each weight."""
    (launches, waits), (of_copy, _) = found["launches"][name], found["launches"]["a copy"]
    assert launches <= of_copy and waits == 0


@pytest.mark.parametrize("name", ["classes", "regression"])
def test_an_experiment_there_is_what_it_is_on_the_cpu(found, name):
    of_it = found["experiments"][name]
    assert of_it["compared"] > 3 and not of_it["apart"], of_it


def test_the_published_algorithm_runs_there_and_agrees_with_ours(found):
    assert found["check"] < 1e-3
