"""How much memory a measurement takes, and so how much of it to do at once."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srel_core.problem import Problem

_SAMPLES = 8


class _OutputBytes(TorchDispatchMode):
    """Adds up the bytes of every tensor that is computed inside the block; views cost nothing."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        tensors = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        self.total += sum(t.nbytes for t in tensors if t.untyped_storage().data_ptr() not in given)
        return out


@dataclass(frozen=True)
class Footprint:
    """Bytes of the trainable weights, and of all activations of one input (an upper bound)."""

    weights: int
    activations: int

    @classmethod
    def of(cls, problem: Problem) -> "Footprint":
        with torch.no_grad(), _OutputBytes() as count:
            problem.predict(problem.weights, problem.inputs[:1])
        return cls(sum(w.nbytes for w in problem.weights.values()), max(count.total, 1))

    def inputs_within(self, max_bytes: int, n_inputs: int) -> int:
        """How many inputs to predict at a time, on each thread with its own stepped weights."""
        return max(1, min(n_inputs, self._beside_weights(max_bytes) // self.activations))

    def samples_within(self, max_bytes: int) -> int:
        """How many samples' gradients to take in one pass, on each thread.

        A pass holds each layer's input and slope in float64 and in float32, and what lies between.
        A few samples are enough to share the reading of the weights, and many parts share out
        well among the threads.
        """
        return max(1, min(_SAMPLES, self._beside_weights(max_bytes) // (8 * self.activations)))

    def _beside_weights(self, max_bytes: int) -> int:
        return max_bytes // torch.get_num_threads() - self.weights

    def stacked_within(self, max_bytes: int, n_inputs: int) -> int:
        """How many samples' gradients, steps and weights to stack, with their activations."""
        return max(1, max_bytes // (3 * self.weights + n_inputs * self.activations))

    def gains_from_stacking(self, problem: Problem, samples: int) -> bool:
        """Whether samples at once beat one at a time.

        On a GPU, whenever several fit. On a CPU only for small dense networks: a convolution
        with stacked weights runs as a grouped one, which is slower there than one by one.
        """
        if samples < 2:
            return False
        if problem.before.device.type == "cuda":
            return True
        convolves = any(w.ndim > 2 for w in problem.weights.values())
        return not convolves and self.weights < 4 * 2**20
