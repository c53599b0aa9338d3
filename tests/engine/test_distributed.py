"""Models that two processes train together: each measures by itself, and training goes on as it
would have."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import srel_core as sc

PROCESSES = 2


def network():
    torch.manual_seed(0)
    # Of BatchNorm the wrapper hands on buffers from process to process.
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


class Holds(nn.Module):
    """A wrapped network within a model."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return 2 * self.net(x)


WRAPPED = {
    "the wrapper": lambda inner: (wrapper := DistributedDataParallel(inner), wrapper),
    "what it wraps": lambda inner: (DistributedDataParallel(inner), inner),
    "one that holds it": lambda inner: (held := Holds(DistributedDataParallel(inner)), held),
}
"""A network → what is trained, and what is measured."""


def problem(rank):
    generator = torch.Generator().manual_seed(rank)
    x, probes = (torch.randn(n, 4, generator=generator) for n in (3, 5))
    return x, torch.tensor([0, 1, 2]), probes


def measured(model, rank, **options):
    return sc.influence(model, *problem(rank), rule=sc.SGD(1e-2), **options).change["kl"]


def gradients(model, rank):
    for parameter in model.parameters():
        parameter.grad = None
    x, y, _ = problem(rank)
    nn.functional.cross_entropy(model(x), y).backward()
    return [p.grad.double().clone() for p in model.parameters()]


def process(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    ranks = range(PROCESSES)
    changes, mean = {}, {}  # of the model as one process has it
    for name, model in ("plain", network()), ("held", Holds(network())):
        changes[name] = measured(model, rank)
        each = [gradients(model, of) for of in ranks]
        mean[name] = [torch.stack(of_weight).mean(0) for of_weight in zip(*each, strict=True)]
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES,
        timeout=timedelta(seconds=60),
    )  # fmt: skip
    found = {}
    for name, wrap in WRAPPED.items():
        like = "held" if name == "one that holds it" else "plain"
        trained, model = wrap(network())
        apart = []
        for options in ({}, {"gradients": "model"}, {"method": "loop"}):
            got = measured(model, rank, **options)
            apart.append(float((got / changes[like] - 1).abs().max()))
            if rank == 0:  # the others take no part
                measured(model, rank, **options)
        for _ in range(2):  # the second fails where a hook was lost in the first
            pairs = list(zip(gradients(trained, rank), mean[like], strict=True))
        training = max(float((a - b).norm() / b.norm()) for a, b in pairs)
        found[name] = {"apart": max(apart), "training": training}
    try:
        measured(fully_shard(network()), rank)
    except ValueError as error:
        found["refused"] = str(error)
    Path(folder, f"{rank}.json").write_text(json.dumps(found), encoding="utf8")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(process, (folder,), PROCESSES)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", WRAPPED)
def test_each_process_measures_the_steps_on_its_own_samples(found, name):
    """Not those of the gradient that the processes would have in common; also where one measures
    and the others do not, for which it would wait for ever."""
    assert max(of_rank[name]["apart"] for of_rank in found) < 1e-3


@pytest.mark.parametrize("name", WRAPPED)
def test_training_goes_on_with_the_mean_of_all_gradients(found, name):
    assert max(of_rank[name]["training"] for of_rank in found) < 1e-5


def test_a_weight_that_is_spread_over_processes_is_refused(found):
    for of_rank in found:
        assert "weight '0.weight' (DTensor) is spread over processes" in of_rank["refused"]
        assert "\n" not in of_rank["refused"]
