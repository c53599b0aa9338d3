"""Local elasticity as a similarity, which is what He and Su made it for.

Images of two classes are to be told apart without their labels. A network learns to tell both of
them from other classes; while it trains, S_rel(x', x) of two images says how far a step on the one
moves the prediction at the other, and kernel K-means on its symmetric part, averaged over the
training, makes two clusters (He & Su 2020, section 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn

from srel_core.experiments.networks import mlp
from srel_core.measurement import influence
from srel_core.rules import SGD

Array = NDArray[np.float64]
WAYS = ("pixels", "last layer", "S_rel")


@dataclass(frozen=True)
class Training:
    """A dense network with one output and half the squared error, by SGD; S_rel is averaged over
    the ends of the epochs `measured`."""

    width: int = 512
    lr: float = 0.1
    batch_size: int = 32
    measured: tuple[int, ...] = (1, 2, 3, 5, 10)

    def network(self, features: int, seed: int) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return mlp(features, (self.width,), 1)

    def run(self, model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Iterator[int]:
        """Train on inputs (N, F) and targets (N, 1); pauses at the end of each epoch measured."""
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=self.lr)
        for epoch in range(1, max(self.measured) + 1):
            for batch in torch.randperm(len(x), generator=generator).split(self.batch_size):
                optimizer.zero_grad()
                loss = ((model(x[batch]) - y[batch]) ** 2).mean() / 2
                loss.backward()
                optimizer.step()
            if epoch in self.measured:
                yield epoch


def compared(
    primary: Tensor,
    classes: NDArray[np.int64],
    auxiliary: Tensor,
    seed: int,
    training: Training | None = None,
) -> dict[str, float]:
    """How well two classes are told apart, by each of `WAYS`: the share of the images that are in
    the cluster of their class.

    primary (N, F), the images of both classes, and classes (N,) of 0 and 1; auxiliary (M, F), those
    of other classes. "pixels" and "last layer" are K-means on these as they are.
    """
    training = training or Training()
    model = training.network(primary.shape[1], seed)
    x = torch.cat([primary, auxiliary])
    y = torch.cat([torch.ones(len(primary), 1), torch.zeros(len(auxiliary), 1)])
    kernels = [_similarity(model, primary) for _ in training.run(model, x, y, seed)]
    with torch.no_grad():
        last_layer = model[:-1](primary)
    of_way = {
        "pixels": primary.double().numpy(),
        "last layer": last_layer.double().numpy(),
        "S_rel": embedded(np.mean(kernels, axis=0)),
    }
    return {way: agreement(_two_clusters(of_way[way], seed), classes) for way in WAYS}


def _similarity(model: nn.Module, images: Tensor) -> Array:
    """The symmetric part of S_rel between images, for a short gradient step towards 1: (N, N)."""
    found = influence(
        model, images, torch.ones(len(images), 1), images,
        rule=SGD(1e-3), loss="mse", divergences=("abs",), check=False,
    )  # fmt: skip
    s_rel = found.s_rel("abs").numpy()
    symmetric: Array = (s_rel + s_rel.T) / 2
    return symmetric


def embedded(kernel: Array) -> Array:
    """Points (N, N) whose inner products are those of a symmetric kernel, but for its negative
    part: K-means on them is kernel K-means."""
    values, vectors = np.linalg.eigh(kernel)
    return vectors * np.sqrt(np.clip(values, 0, None))


def _two_clusters(points: Array, seed: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = KMeans(2, n_init=10, random_state=seed).fit_predict(points)
    return found


def agreement(found: NDArray[np.int64], classes: NDArray[np.int64]) -> float:
    """The share of a two-class problem that two clusters get right, whichever is which."""
    share = float((found == classes).mean())
    return max(share, 1 - share)
