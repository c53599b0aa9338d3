"""Memory of changes that are no longer wanted, for those to come.

What a program has given back the system clears and hands out anew, page by page, which takes longer
than to write a change there.
"""

import math
import threading
from collections.abc import Sequence

from torch import Tensor

# Arrays to keep, the largest: the change of a layer's input and that of its output.
_KEPT = 2


class Room(threading.local):
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

    def take_back(self, change: Tensor) -> None:
        """The memory of an array that `new` gave and nobody will read again; another's is left
        alone."""
        memory = change.untyped_storage()
        if memory.data_ptr() in self._ours:
            self.spare = sorted([*self.spare, change.new_empty(0).set_(memory)], key=Tensor.numel)
            self.spare = self.spare[-_KEPT:]
