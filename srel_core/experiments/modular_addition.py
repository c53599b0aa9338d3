"""Addition modulo p by a small transformer, which fits long before it generalises ("grokking").

The problem of Power, Burda, Edwards, Babuschkin & Misra (2022): some of the pairs (a, b) are
trained on, the others are held out, and weight decay makes the network find, after it has learnt
the former by heart, a solution that holds for all. At checkpoints S_rel is measured from trained
pairs to held-out ones, and the same-class AUC says whether a step on a pair moves the prediction
more at those with the same answer than at others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from srel_core.experiments.processes import one_a_core
from srel_core.measurement import influence
from srel_core.rules import SGD
from srel_core.statistics.by_class import same_class_auc

Array = NDArray[np.float64]
DIVERGENCES = ("kl", "l2_logits")


class Transformer(nn.Module):
    """One layer of torch's transformer on the tokens a, b, =; (N, 3) → (N, p), read at the last."""

    def __init__(self, p: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(p + 1, width)
        self.places = nn.Parameter(torch.randn(3, width) / width**0.5)
        self.layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.answers = nn.Linear(width, p, bias=False)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        read: Tensor = self.layer(self.tokens(x) + self.places)[:, -1]
        answers: Tensor = self.answers(read)
        return answers


@dataclass(frozen=True)
class Course:
    """A training at its checkpoints: steps (T,), accuracies on trained and held-out pairs (T,), and
    by divergence the AUC (T,) of held-out pairs with the answer of the pair that is stepped on."""

    steps: NDArray[np.int64]
    trained: Array
    held_out: Array
    auc: dict[str, Array]


@dataclass(frozen=True)
class ModularAddition:
    """a + b mod p, trained on all pairs of a share at once by AdamW.

    The seed fixes the weights, which pairs are trained, and which are measured: `per_answer`
    trained pairs for each of `answers` answers, and as probes all held-out pairs with one of these.
    """

    p: int = 31
    trained_share: float = 0.8
    width: int = 64
    lr: float = 1e-3
    weight_decay: float = 2.0
    n_steps: int = 1200
    measure_every: int = 40
    answers: int = 8
    per_answer: int = 3

    def run(self, seed: int) -> Course:
        """Train and measure on the CPU. Deterministic for a number of threads."""
        generator = torch.Generator().manual_seed(seed)
        a, b = (t.flatten() for t in torch.meshgrid(*[torch.arange(self.p)] * 2, indexing="ij"))
        pairs, answers = torch.stack([a, b, torch.full_like(a, self.p)], 1), (a + b) % self.p
        # (b, a) goes with (a, b): one would tell of the other.
        drawn = torch.rand(self.p, self.p, generator=generator).triu()
        score = (drawn + drawn.triu(1).T).flatten()
        is_trained = score < score.quantile(self.trained_share)
        trained, held = is_trained.nonzero()[:, 0], (~is_trained).nonzero()[:, 0]
        samples, probes = self._measured(answers, trained, held)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = Transformer(self.p, self.width)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.lr, weight_decay=self.weight_decay, betas=(0.9, 0.98)
        )
        rows: list[tuple[float, ...]] = []
        for step in range(self.n_steps + 1):
            if step % self.measure_every == 0:
                model.eval()
                at = (pairs[samples], answers[samples], pairs[probes], answers[probes])
                right = _accuracies(model, pairs, answers, trained, held)
                rows.append((step, *right, *_auc(model, *at)))
                model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(pairs[trained]), answers[trained]).backward()
            optimizer.step()
        steps, right, held_right, kl, norm = np.array(rows).T
        auc = dict(zip(DIVERGENCES, (kl, norm), strict=True))
        return Course(steps.astype(np.int64), right, held_right, auc)

    def _measured(self, answers: Tensor, trained: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        kept = torch.arange(self.answers) * self.p // self.answers
        of_answer = [trained[answers[trained] == answer] for answer in kept]
        samples = [found[:: max(1, len(found) // self.per_answer)] for found in of_answer]
        samples = [found[: self.per_answer] for found in samples]
        probes = held[torch.isin(answers[held], kept)]
        if not len(probes):
            raise ValueError(
                f"trained_share {self.trained_share} leaves no held-out pair with one of "
                f"{self.answers} answers: take less, or a larger p"
            )
        return torch.cat(samples), probes


def _accuracies(
    model: nn.Module, pairs: Tensor, answers: Tensor, *parts: Tensor
) -> tuple[float, ...]:
    with torch.no_grad():
        right = model(pairs).argmax(1) == answers
    return tuple(float(right[part].double().mean()) for part in parts)


def _auc(model: nn.Module, x: Tensor, y: Tensor, probes: Tensor, of_probes: Tensor) -> list[float]:
    """By each of `DIVERGENCES`."""
    found = influence(model, x, y, probes, rule=SGD(1e-3), divergences=DIVERGENCES, check=False)
    labels = of_probes.numpy(), y.numpy()
    aucs = [same_class_auc(found.change[name].numpy(), *labels) for name in DIVERGENCES]
    return [float(np.nanmean(auc)) for auc in aucs]


def run_all(experiment: ModularAddition, seeds: Sequence[int]) -> list[Course]:
    """One course for each seed, on as many cores as there are, each on one thread."""
    courses = dict(one_a_core(experiment.run, seeds))
    return [courses[seed] for seed in seeds]
