"""The S_rel measurement of the published experiment: the published algorithm against ours.

ResNet-18 without normalisation, 32×32 images, 3 classes × 20 probes that are the samples too, the
first step of a fresh Adam. For each of the 180 (class pair, sample) combinations the published
notebooks construct a network anew, random initialisation and all, load the present weights into
it, step it, and predict the sample before and after and the 20 probes of one class before and
after. "deepcopy" is the same but for a plain copy in place of the construction.
`srel_core.influence` takes each step once for all probes ("ours"). All three give the same
class-based changes. "ours_sgd" is the same measurement under SGD, which the notebooks do not make,
and "ours_tangent" its limit: both against the time of the published algorithm. The error of
"ours_sgd" in float32 is taken at a learning rate of 1e-6, against float64. Of ours the second
measurement in a process counts, as at all checkpoints of a run but the first; the first, in which
torch is loaded, loops are compiled and memory is taken, is given as `first_call_seconds`.

Each side runs in processes of its own, `--repeats` times, interleaved; the medians are compared.
Run as `python benchmarks/published_measurement.py`; the result goes to `benchmarks/results/`.
"""

import copy
import resource
import statistics
import time
from functools import partial

import _results
import numpy as np
import torch
from _processes import in_fresh_process
from torch.nn import functional as F

import srel_core as sc
from srel_core.divergence import kl
from srel_core.experiments.networks import build_model
from srel_core.experiments.provenance import environment

N_CLASSES, PER_CLASS, LR = 3, 20, 1e-4


def problem():
    """A network trained for a few steps, so that its predictions are not all alike."""
    torch.manual_seed(0)
    model = build_model("resnet18", N_CLASSES, seed=0)
    labels = torch.arange(N_CLASSES).repeat_interleave(PER_CLASS)
    pattern = torch.randn(N_CLASSES, 3, 32, 32)
    images = pattern[labels] + torch.randn(len(labels), 3, 32, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval(), images, labels


def constructed(model):
    """A copy of the model as the notebooks make it."""
    copied = build_model("resnet18", N_CLASSES, seed=0)
    copied.load_state_dict(model.state_dict())
    return copied


def combinations(labels):
    """The (sample, class of the probes) pairs for which the notebooks start anew."""
    return [(i, c) for i in range(len(labels)) for c in range(N_CLASSES)]


def one_by_one(copied, model, images, labels, pairs=None):
    """One copy, one step, four predictions for each (sample, class of probes): changes (P, S)."""
    change = torch.zeros(len(images), len(images), dtype=torch.float64)
    for i, c_probe in pairs or combinations(labels):
        probes = labels == c_probe
        with torch.no_grad():
            before = model(images[probes])
        stepped = copied(model)
        optimizer = torch.optim.Adam(stepped.parameters(), lr=LR)
        optimizer.zero_grad()
        F.cross_entropy(stepped(images[i : i + 1]), labels[i : i + 1]).backward()
        optimizer.step()
        with torch.no_grad():
            stepped(images[i : i + 1])
        after = stepped(images[probes]).detach()
        change[probes.cpu(), i] = kl(before.double(), after.double() - before.double()).cpu()
    return change


def ours(rule, model, images, labels):
    result = sc.influence(model, images, labels, images, rule=rule, divergences=["kl"])
    return result.change["kl"]


def ours_tangent(model, images, labels):
    return sc.tangent_influence(model, images, labels, images, divergences=["kl"]).change["kl"]


SIDES = {
    "published": partial(one_by_one, constructed),
    "deepcopy": partial(one_by_one, copy.deepcopy),
    "ours": partial(ours, sc.Adam(LR)),
    "ours_sgd": partial(ours, sc.SGD(LR)),
    "ours_tangent": ours_tangent,
}


def error_of_sgd(model, images, labels, lr=1e-6, n_samples=6):
    """The largest error of a change in float32 at this rate, relative to the change."""
    some, rule = slice(0, None, len(images) // n_samples), sc.SGD(lr)
    got = sc.influence(model, images[some], labels[some], images, rule=rule)
    exact, wide = copy.deepcopy(model).double(), images.double()
    want = sc.influence(exact, wide[some], labels[some], wide, rule=rule, method="shared")
    return float(((got.delta - want.delta).norm(dim=2) / want.delta.norm(dim=2)).max())


def timed(side, threads):
    """A measurement in this process, of ours the second: its seconds, those of the first, peak
    memory, and the changes."""
    torch.set_num_threads(threads)
    arguments = problem()
    taken = []
    for _ in range(2 if side.startswith("ours") else 1):
        started = time.perf_counter()
        change = SIDES[side](*arguments)
        taken.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": taken[-1], "first_call": taken[0], "peak_bytes": peak}, change.numpy()


def main():
    parser = _results.parser(__doc__)
    parser.add_argument("--repeats", type=_results.positive, default=3)
    parser.add_argument("--threads", type=_results.positive, default=torch.get_num_threads())
    options = parser.parse_args()
    runs, changes = {side: [] for side in SIDES}, {}
    for _ in range(options.repeats):
        for side in SIDES:
            run, changes[side] = in_fresh_process(timed, side, options.threads, start="spawn")
            runs[side].append(run)
            print(f"{side}: {run['seconds']:.2f} s, peak {run['peak_bytes'] / 2**30:.2f} GiB")
    seconds = {side: statistics.median(r["seconds"] for r in runs[side]) for side in SIDES}
    disagreement = np.abs(changes["ours"] / changes["published"] - 1).max()
    result = {
        "seconds": seconds,
        "first_call_seconds": {
            s: statistics.median(r["first_call"] for r in runs[s]) for s in SIDES if "ours" in s
        },
        "ratio": seconds["published"] / seconds["ours"],
        "ratio_to_deepcopy": seconds["deepcopy"] / seconds["ours"],
        "ratio_sgd": seconds["published"] / seconds["ours_sgd"],
        "ratio_tangent": seconds["published"] / seconds["ours_tangent"],
        "float32_error_sgd_at_1e-6": error_of_sgd(*problem()),
        "largest_relative_difference": float(disagreement),
        "peak_bytes": {s: max(r["peak_bytes"] for r in runs[s]) for s in SIDES},
        "repeats": options.repeats,
        "threads": options.threads,
        "environment": environment(),
    }
    _results.save(options.write_to, "published_measurement", result)
    print(f"published / ours: {result['ratio']:.1f}×, changes agree to {disagreement:.1e} relative")
    print(f"deepcopy / ours: {result['ratio_to_deepcopy']:.1f}×")
    print(f"SGD {result['ratio_sgd']:.1f}×, tangent limit {result['ratio_tangent']:.1f}×")


if __name__ == "__main__":
    main()
