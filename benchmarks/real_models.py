"""Models of the size that people use: S_rel with no option set, against the obvious way.

The obvious way takes a sample at a time: copy the model, take one step of a torch optimizer,
predict the sample and all probes; for the limit, one forward derivative along the gradient. It
leaves out the predictions before the step and the divergences, and does not ask whether rounding
drowns the change: how far off its KL is then, is written beside its time.

It is timed on up to four samples after a first call, the measurement at its first call in a process
of its own. Vision models have random weights and images of 224×224, the LSTM and the small GPT
random tokens. ResNet-50 is measured once more with more samples and probes.

Run as `python benchmarks/real_models.py [--models NAME …]`.
"""

import copy
import resource
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import _results
import torch
import torchvision
from _processes import in_fresh_process
from torch import nn
from torch.func import functional_call, grad, jvp
from torch.nn import functional as F

import srel_core as sc
from srel_core import influence, tangent_influence
from srel_core.divergence import kl
from srel_core.engine.directional import plain_kernels
from srel_core.engine.setup.float32 import exact_float32
from srel_core.experiments.provenance import environment

RULES = {
    "sgd": (sc.SGD(1e-4), partial(torch.optim.SGD, lr=1e-4)),
    "adam": (sc.Adam(1e-4), partial(torch.optim.Adam, lr=1e-4)),
}
WAYS = (*RULES, "tangent")
N_TOKENS, LENGTH, WIDTH = 500, 64, 128


class LastOfLSTM(nn.Module):
    """A classifier of token sequences by the last state of two LSTM layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(N_TOKENS, WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embed(tokens))[0][:, -1])


class SmallGPT(nn.Module):
    """A causal language model of four blocks, which predicts at every position."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(N_TOKENS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        block = nn.TransformerEncoderLayer(
            WIDTH, 4, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, 4, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, N_TOKENS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        n = tokens.shape[1]
        causal = nn.Transformer.generate_square_subsequent_mask(n, device=tokens.device)
        positions = torch.arange(n, device=tokens.device)
        return self.head(self.blocks(self.embed(tokens) + self.place(positions), mask=causal))


MODELS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    **{
        name: (partial(torchvision.models.get_model, name, weights=None), 4, 8)
        for name in ("resnet50", "mobilenet_v3_small", "convnext_tiny", "vit_b_16")
    },
    "lstm": (LastOfLSTM, 16, 64),
    "gpt": (SmallGPT, 4, 8),
    "resnet50, 16 × 64": (partial(torchvision.models.get_model, "resnet50", weights=None), 16, 64),
}


def problem(name: str, device: str) -> tuple[nn.Module, *tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    make, n, n_probes = MODELS[name]
    model = make().eval()
    if isinstance(model, (LastOfLSTM, SmallGPT)):
        both = torch.randint(0, N_TOKENS, (n + n_probes, LENGTH))
        y = both[:n] if isinstance(model, SmallGPT) else torch.arange(n) % 10
    else:
        both, y = torch.randn(n + n_probes, 3, 224, 224), torch.arange(n)
    tensors = (t.to(device) for t in (both[:n], y, both[n:]))
    return model.to(device), *tensors


def loss_of(predictions: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(predictions.flatten(0, -2), y.flatten())


def obvious(way: str, model: nn.Module, x: Any, y: Any, probes: Any) -> torch.Tensor:
    """The obvious way for one sample: the predictions after its step, or their derivative."""
    with exact_float32(model):  # on a GPU recurrent layers in eval mode have no other backward pass
        return _by_copy(way, model, x, y, probes)


def _by_copy(way: str, model: nn.Module, x: Any, y: Any, probes: Any) -> torch.Tensor:
    if way == "tangent":
        with plain_kernels(model):  # fused ones have no forward derivative
            weights = {n: p.detach() for n, p in model.named_parameters()}
            down = grad(lambda w: loss_of(functional_call(model, w, (x,)), y))(weights)
            inputs = torch.cat([probes, x])
            return jvp(lambda w: functional_call(model, w, (inputs,)), (weights,), (down,))[1]
    stepped = copy.deepcopy(model)
    optimizer = RULES[way][1](stepped.parameters())
    loss_of(stepped(x), y).backward()
    optimizer.step()
    with torch.no_grad():
        return stepped(torch.cat([probes, x]))


def ours(way: str, *given: Any) -> Any:
    if way == "tangent":
        return tangent_influence(*given, divergences=("kl",))
    return influence(*given, rule=RULES[way][0], divergences=("kl",))


def seconds(work: Callable[[], Any], device: str) -> float:
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def one(name: str, way: str, device: str, threads: int) -> dict[str, Any]:
    """A measurement and the obvious way, in this process: times, their ratio, peak memory."""
    warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)  # of torch's own scripts
    torch.set_num_threads(threads)
    model, x, y, probes = problem(name, device)
    samples = [(x[i : i + 1], y[i : i + 1]) for i in range(min(4, len(x)))]
    after = obvious(way, model, *samples[0], probes)
    plain = seconds(lambda: [obvious(way, model, *s, probes) for s in samples], device)
    plain *= len(x) / len(samples)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found: list[Any] = []
    taken = seconds(lambda: found.append(ours(way, model, x, y, probes)), device)
    return {
        "seconds": taken, "obvious_seconds": plain, "ratio": taken / plain,
        "method": found[0].method, "gradients": found[0].gradients,
        "drowned": int(found[0].by_derivative.sum()),
        "error_of_obvious": None if way == "tangent" else _error(found[0], model, probes, after),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_bytes_of_obvious": before,
    }  # fmt: skip


def _error(found: Any, model: nn.Module, probes: torch.Tensor, after: torch.Tensor) -> float:
    """How far the KL at the median probe is off, relative to its size, where it is of predictions
    that are subtracted."""
    with torch.no_grad():
        before = model(probes).double()
    wanted = found.change["kl"][:, 0]
    subtracted = (
        kl(before, after[: len(probes)].double() - before).reshape(len(probes), -1).mean(1).cpu()
    )
    return float(((subtracted - wanted).abs() / wanted).median())


def main() -> None:
    parser = _results.parser(__doc__ or "")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=_results.positive, default=torch.get_num_threads())
    options = parser.parse_args()
    result: dict[str, Any] = {
        "threads": options.threads, "device": options.device, "environment": environment(),
        "models": {},
    }  # fmt: skip
    for name in options.models:
        of_model: dict[str, Any] = {"samples": MODELS[name][1], "probes": MODELS[name][2]}
        for way in WAYS:
            arguments = (name, way, options.device, options.threads)
            of_model[way] = run = in_fresh_process(one, *arguments, start="spawn")
            print(f"{name} {way}: {run['seconds']:.2f} s, {run['ratio']:.2f} of the obvious way")
        result["models"][name] = of_model  # a long run: each model is kept as it comes
        _results.save(options.write_to, "real_models", result)


if __name__ == "__main__":
    sys.exit(main())
