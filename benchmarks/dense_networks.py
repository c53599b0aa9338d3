"""Change propagation and the tangent limit on dense networks, against one sample at a time.

Two networks with one output: 784-512-512-1 with 64 samples and 256 probes, and that of He & Su
(784-40960-1) with 16 samples and 128 probes; Gaussian inputs, squared loss.

change   SGD at a learning rate of 1e-6. "loop": for each sample a copy of the model, one step of
         torch.optim.SGD, predictions at all inputs before and after, subtracted. "ours":
         `influence(method="low_rank")`. Errors of the change against float64, for both.
tangent  "loop": the gradient at each input and of each sample's loss by a backward pass of its
         own, and their products. "ours": `tangent_influence`.

The two take turns, in some processes one after another: how long the loop takes depends on where a
process gets its memory. The ratio is the median of theirs. Run as
`python benchmarks/dense_networks.py`; the result goes to `benchmarks/results/`. Takes about six
minutes.
"""

import copy
import itertools
import statistics
import time

import _results
import torch
from _processes import in_fresh_process

import srel_core as sc
from srel_core.experiments.networks import mlp
from srel_core.experiments.provenance import environment

LR = 1e-6
MANY, QUICK = 5, 5.0  # turns, if one takes less than so many seconds
NETWORKS = {  # hidden widths, samples, probes
    "784-512-512-1": ((512, 512), 64, 256),
    "784-40960-1": ((40960,), 16, 128),
}


def problem(widths, n_samples, n_probes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mlp(784, widths, 1)
        x, y, probes = (
            torch.randn(n, d) for n, d in [(n_samples, 784), (n_samples, 1), (n_probes, 784)]
        )
    return model, x, y, probes


def change_by_loop(model, x, y, probes):
    """|Δf| at all probes (P, S), by a copy, a step and a subtraction for each sample."""
    change = []
    inputs = torch.cat([probes, x])
    with torch.no_grad():
        before = model(inputs)
    for i in range(len(x)):
        stepped = copy.deepcopy(model)
        optimizer = torch.optim.SGD(stepped.parameters(), lr=LR)
        torch.nn.functional.mse_loss(stepped(x[i : i + 1]), y[i : i + 1]).backward()
        optimizer.step()
        with torch.no_grad():
            change.append((stepped(inputs) - before).abs()[: len(probes), 0])
    return torch.stack(change, 1).double()


def tangent_by_loop(model, x, y, probes):
    """|Θ(x', x) r(x)| at all probes (P, S), from one gradient for each input."""
    weights = list(model.parameters())

    def gradient(value):
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, weights)])

    of_losses = torch.stack(
        [
            gradient(torch.nn.functional.mse_loss(model(x[i : i + 1]), y[i : i + 1]))
            for i in range(len(x))
        ]
    )
    return torch.stack([of_losses @ gradient(model(p[None]).sum()) for p in probes]).abs().double()


def change_ours(model, x, y, probes):
    result = sc.influence(
        model, x, y, probes, rule=sc.SGD(LR), loss="mse", divergences=["abs"], method="low_rank"
    )
    return result.change["abs"]


def tangent_ours(model, x, y, probes):
    return sc.tangent_influence(model, x, y, probes, loss="mse", divergences=["abs"]).change["abs"]


WORKS = {"change": (change_by_loop, change_ours), "tangent": (tangent_by_loop, tangent_ours)}


def in_turns(functions, arguments):
    """For each function its median seconds and its result; a machine that slows down slows all."""
    seconds, results, turns = [[] for _ in functions], {}, 1
    order = list(enumerate(functions))
    while len(seconds[0]) < turns + 1:  # the first warms up
        for k, function in order:
            started = time.perf_counter()
            results[k] = function(*arguments)
            seconds[k].append(time.perf_counter() - started)
        order.reverse()
        turns = MANY if sum(of[0] for of in seconds) < QUICK else 1
    return [(statistics.median(of[1:]), results[k]) for k, of in enumerate(seconds)]


def relative_error(got, want):
    """The largest error at a probe, relative to the change at a typical one."""
    return float(((got - want).abs() / want.median(0).values).max())


def compared(name, work, threads, with_errors):
    """One round: seconds of the loop and of ours, and if asked for their errors."""
    torch.set_num_threads(threads)
    arguments = problem(*NETWORKS[name])
    (loop_seconds, by_loop), (our_seconds, by_us) = in_turns(WORKS[work], arguments)
    row = {"loop": loop_seconds, "ours": our_seconds}
    if not with_errors:
        return row, {}
    want = WORKS[work][0](*(copy.deepcopy(a).double() for a in arguments))
    return row, {"loop": relative_error(by_loop, want), "ours": relative_error(by_us, want)}


def main():
    parser = _results.parser(__doc__)
    parser.add_argument("--rounds", type=_results.positive, default=3)
    parser.add_argument("--threads", type=_results.positive, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {}
    for name, work in itertools.product(NETWORKS, WORKS):
        rounds = [
            in_fresh_process(compared, name, work, options.threads, k == 0, start="spawn")
            for k in range(options.rounds)
        ]
        seconds = {
            side: statistics.median(row[side] for row, _ in rounds) for side in ("loop", "ours")
        }
        ratios = sorted(row["loop"] / row["ours"] for row, _ in rounds)
        row = {
            "seconds": seconds, "ratio": statistics.median(ratios), "ratios": ratios,
            "error": rounds[0][1],
        }  # fmt: skip
        result.setdefault(name, {})[work] = row
        print(
            f"{name} {work}: {seconds['loop']:.3f} s / {seconds['ours']:.3f} s = "
            f"{row['ratio']:.1f}× ({', '.join(f'{r:.1f}' for r in row['ratios'])}); "
            f"errors {row['error']}"
        )
    result |= {
        "lr": LR, "rounds": options.rounds, "threads": options.threads,
        "environment": environment(),
    }  # fmt: skip
    _results.save(options.write_to, "dense_networks", result)


if __name__ == "__main__":
    main()
