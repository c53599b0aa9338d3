"""What a GPU gives: is it right there, and how fast. Each part is written as soon as it is done.

    equality    every way against the definition in float64 on the CPU, for several kinds of models
    published   the published measurement, each rule, against the published algorithm there (timed
                on some of its 180 combinations) and a plain copy in its place, with the floor: the
                operations that no way can save, at the rate of large products of matrices
    real        models of the size that people use (`benchmarks/real_models.py`)
    run         one CIFAR-10 run of the paper profile, where SREL_DATA has the images
    book        `make book PROFILE=laptop`

A part whose file is there already, from the same commit and device, is left: run again, it goes on.
Run as `make gpu-check NAME=h100`, which writes to `benchmarks/results/h100/`.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _results
import published_measurement as published
import real_models
import torch
from torch import nn

import srel_core as sc
from srel_core.engine.layers.operation_counts import layer_costs, multiply_adds
from srel_core.experiments.networks import build_model
from srel_core.experiments.provenance import environment

NAME = "gpu_check"
RULES = {
    "adam": sc.Adam(published.LR), "sgd_1e-4": sc.SGD(1e-4), "sgd_1e-6": sc.SGD(1e-6),
}  # fmt: skip
SOME_PAIRS = 12  # combinations of the published algorithm to time


def small_models() -> dict[str, nn.Module]:
    """Of several kinds; all take (B, 3, 8, 8)."""
    torch.manual_seed(0)
    conv = partial(nn.Conv2d, 3, 6, 3, padding=1)
    norm = nn.Sequential(conv(), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(384, 3))
    norm(torch.randn(16, 3, 8, 8))  # running statistics that are not the initial ones
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return {
        "dense": nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Tanh(), nn.Linear(32, 3)),
        "convolutions": nn.Sequential(
            conv(groups=3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32, 3),
        ),
        "resnet18": build_model("resnet18", 3, seed=0),
        "batch norm": norm,
        "attention": nn.Sequential(
            nn.Unflatten(2, (1, 8)), nn.Flatten(1, 3), nn.Linear(8, 8), block, nn.Flatten(),
            nn.Linear(192, 3),
        ),
    }  # fmt: skip


def equality(device: str) -> dict[str, Any]:
    """The largest relative error of a change, by model, rule and way."""
    found: dict[str, Any] = {}
    for name, model in small_models().items():
        size = 32 if name == "resnet18" else 8
        x, probes = torch.randn(4, 3, size, size), torch.randn(5, 3, size, size)
        y, there = torch.tensor([0, 1, 2, 0]), copy.deepcopy(model).eval().to(device)
        exact = copy.deepcopy(model).eval().double()
        for rule_name, rule in {**RULES, "tangent": None}.items():
            measure = partial(
                sc.tangent_influence if rule is None else sc.influence,
                divergences=("l2_logits",),
                **({} if rule is None else {"rule": rule}),
            )
            want = measure(exact, x.double(), y, probes.double(), method="direct")
            for method in ("auto", "direct") if rule is None else ("auto", "direct", "stacked"):
                got = measure(there, x, y, probes, method=method)
                apart = (got.delta - want.delta).norm(dim=2) / want.delta.norm(dim=2)
                found[f"{name}, {rule_name}, {method}"] = {
                    "ran": got.method, "largest_relative_error": float(apart.max()),
                }  # fmt: skip
    return found


def seconds(work: Callable[[], Any], device: str, calls: int = 3) -> list[float]:
    """Of each of some calls after a first."""
    taken = []
    for _ in range(calls + 1):
        taken.append(real_models.seconds(work, device))
    return taken[1:]


def floor_seconds(device: str) -> float:
    """The operations that no way can save, at the rate of large float32 products."""
    layers = layer_costs(build_model("resnet18", 3, seed=0), torch.randn(1, 3, 32, 32))
    needed = 2 * sum(multiply_adds(layers, "shared", 60, 60, 3).values())
    n = 4096 if device == "cuda" else 1024
    a = torch.randn(n, n, device=device)
    return needed / (2 * n**3 / min(seconds(lambda: a @ a, device, 5)))


def the_published(device: str) -> dict[str, Any]:
    model, images, labels = published.problem()
    model, images, labels = model.to(device), images.to(device), labels.to(device)
    pairs = published.combinations(labels)
    some = pairs[:: len(pairs) // SOME_PAIRS]
    scale = len(pairs) / len(some)
    plain = {
        name: scale * seconds(
            lambda made=made: published.one_by_one(
                lambda m: made(m).to(device), model, images, labels, some
            ), device, 1,
        )[0]
        for name, made in (("published", published.constructed), ("deepcopy", copy.deepcopy))
    }  # fmt: skip
    ours = {
        name: seconds(lambda rule=rule: published.ours(rule, model, images, labels), device)
        for name, rule in RULES.items()
    }
    ours["tangent"] = seconds(lambda: published.ours_tangent(model, images, labels), device)
    return {
        "seconds": plain | {name: min(taken) for name, taken in ours.items()},
        "ratio": {name: plain["published"] / min(taken) for name, taken in ours.items()},
        "ratio_to_deepcopy": plain["deepcopy"] / min(ours["adam"]),
        "floor_seconds": floor_seconds(device),
    }


def the_real(device: str) -> dict[str, Any]:
    return {
        f"{name} {way}": real_models.one(name, way, device, torch.get_num_threads())
        for name in real_models.MODELS
        for way in real_models.WAYS
    }


def a_run(device: str) -> dict[str, Any]:
    if "SREL_DATA" not in os.environ:
        return {"left_out": "SREL_DATA is not set"}
    command = [sys.executable, "-m", "srel_core", "run", "--profile", "paper"]
    with tempfile.TemporaryDirectory() as results:
        return _timed([*command, "--dataset", "cifar10"], SREL_RESULTS=results)


def the_book(device: str) -> dict[str, Any]:
    return _timed(["make", "book", "PROFILE=laptop"])


def _timed(command: list[str], **variables: str) -> dict[str, Any]:
    started, root = time.perf_counter(), Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, env=os.environ | variables, check=False)
    return {"seconds": time.perf_counter() - started, "exit_status": done.returncode}


PARTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "equality": equality, "published": the_published, "real": the_real, "run": a_run,
    "book": the_book,
}  # fmt: skip


def main() -> None:
    parser = _results.parser(__doc__ or "")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu_check: error: no CUDA device is here: --device cpu tries the program itself")
    place = environment()
    path, result = options.write_to / f"{NAME}.json", {"environment": place, "parts": {}}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        result = kept if kept["environment"] == place else result
    for part in options.parts:
        if part in result["parts"]:
            print(f"{part}: done before")
            continue
        result["parts"][part] = PARTS[part](options.device)
        _results.save(options.write_to, NAME, result)
        print(f"{part}: {json.dumps(result['parts'][part])[:400]}", flush=True)


if __name__ == "__main__":
    main()
