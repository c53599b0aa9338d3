"""A pool of buffers: the memory of changes that are no longer wanted, for those to come.

Memory that a program frees and allocates again is cleared by the system, page by page, which takes
longer than writing a change there.
"""

import math
import threading
from collections.abc import Sequence

from torch import Tensor

# Spare arrays to keep, the largest ones: for the change of a layer's input and that of its output.
_KEPT = 2


class BufferPool(threading.local):
    """Arrays to write to; each thread has its own."""

    def __init__(self) -> None:
        self.spare: list[Tensor] = []  # flat, the smallest first
        self._ours: set[int] = set()

    def new(self, like: Tensor, shape: Sequence[int]) -> Tensor:
        """An array of this shape, of the kind of `like`, with anything in it."""
        size = math.prod(shape)
        for k, flat in enumerate(self.spare):
            if flat.numel() >= size and flat.dtype == like.dtype and flat.device == like.device:
                return self.spare.pop(k)[:size].view(*shape)
        flat = like.new_empty(size)
        self._ours.add(flat.data_ptr())
        return flat.view(*shape)

    def release(self, change: Tensor) -> None:
        """Take back the memory of an array that `new` gave and nobody will read again; any other
        memory is left alone."""
        memory = change.untyped_storage()
        if memory.data_ptr() in self._ours:
            self.spare = sorted([*self.spare, change.new_empty(0).set_(memory)], key=Tensor.numel)
            self.spare = self.spare[-_KEPT:]
