"""Change propagation and the tangent limit on dense networks, against one sample at a time.

Two networks with one output: 784-512-512-1 with 64 samples and 256 probes, and that of He & Su
(784-40960-1) with 16 samples and 128 probes; Gaussian inputs, squared loss.

change   SGD at a learning rate of 1e-6. "loop": for each sample a copy of the model, one step of
         torch.optim.SGD, predictions at all inputs before and after, subtracted. "ours":
         `influence(method="low_rank")`. Errors of the change against float64, for both.
tangent  "loop": the gradient at each input and of each sample's loss by a backward pass of its
         own, and their products. "ours": `tangent_influence`.

The two take turns. Run as `python benchmarks/dense_networks.py`; the result goes to `benchmarks/results/`.
"""

import copy
import statistics
import time

import _results
import torch

import srel_core as sc
from srel_core.models import mlp
from srel_core.provenance import environment

LR = 1e-6
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


def in_turns(functions, arguments, repeats):
    """For each function its median seconds and its result; a machine that slows down slows all."""
    seconds, results = [[] for _ in functions], {}
    for _ in range(repeats + 1):  # the first warms up
        for k, function in enumerate(functions):
            started = time.perf_counter()
            results[k] = function(*arguments)
            seconds[k].append(time.perf_counter() - started)
    return [(statistics.median(of[1:]), results[k]) for k, of in enumerate(seconds)]


def relative_error(got, want):
    """The largest error at a probe, relative to the change at a typical one."""
    return float(((got - want).abs() / want.median(0).values).max())


def main():
    parser = _results.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    result = {}
    for name, sizes in NETWORKS.items():
        arguments = problem(*sizes)
        exact = [copy.deepcopy(a).double() for a in arguments]
        truth = change_by_loop(*exact)
        limit = tangent_by_loop(*exact)
        rows = {}
        for work, loop, ours, want in [
            ("change", change_by_loop, change_ours, truth),
            ("tangent", tangent_by_loop, tangent_ours, limit),
        ]:
            (loop_seconds, by_loop), (our_seconds, by_us) = in_turns(
                (loop, ours), arguments, options.repeats
            )
            rows[work] = {
                "seconds": {"loop": loop_seconds, "ours": our_seconds},
                "ratio": loop_seconds / our_seconds,
                "error": {
                    "loop": relative_error(by_loop, want),
                    "ours": relative_error(by_us, want),
                },
            }
            print(
                f"{name} {work}: {loop_seconds:.3f} s / {our_seconds:.3f} s = "
                f"{rows[work]['ratio']:.1f}×; errors {rows[work]['error']}"
            )
        result[name] = rows
    result |= {
        "lr": LR, "repeats": options.repeats, "threads": torch.get_num_threads(),
        "environment": environment(),
    }  # fmt: skip
    _results.save(options.write_to, "dense_networks", result)


if __name__ == "__main__":
    main()
