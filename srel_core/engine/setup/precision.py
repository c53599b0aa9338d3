"""A model in float64 without a copy of it: its own parameters, buffers and operations widened.

A deep copy in float64 would miss whatever holds the model's tensors in another way, such as a
closure over `self`. So the tensors themselves are given values in float64, and give them back at
the end; and what a model makes in float32 on its way, by `x.float()`, `torch.zeros(...)` or a
tensor that it never registered, is float64 too.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
_CASTS = {Tensor.float, Tensor.half, Tensor.bfloat16}
# A copy is known by the memory of what it copies, which that of a widened tensor has for a moment.
_AS_THEY_ARE = ("__get__", "__set__", "__deepcopy__")


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for real numbers, complex128 for complex ones, and any other as it is."""
    return _WIDE.get(dtype, dtype)


class Widening(TorchFunctionMode):
    """Inside it every operation of torch takes and gives float64 (complex128) in place of narrower
    numbers."""

    resting = False

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = getattr(func, "__name__", "")
        if name in _AS_THEY_ARE or Widening.resting:
            return func(*args, **(kwargs or {}))
        if func in _CASTS:
            func = Tensor.double
        in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        start = args[:1] if in_place else ()
        given = {k: v if k == "out" else _widened(v) for k, v in (kwargs or {}).items()}
        found = func(*start, *map(_widened, args[len(start) :]), **given)
        return found if in_place else _widened(found)


@contextmanager
def as_written() -> Iterator[None]:
    """Within it operations are those that are called: for a step, whose casts are part of what it
    does, as Muon's to bfloat16 are."""
    before, Widening.resting = Widening.resting, True
    try:
        yield
    finally:
        Widening.resting = before


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(_WIDE[value.dtype]) if value.dtype in _WIDE else value
    if isinstance(value, torch.dtype):
        return _WIDE.get(value, value)
    if type(value) in (tuple, list):
        return type(value)(map(_widened, value))
    return value


@contextmanager
def in_float64(model: nn.Module) -> Iterator[None]:
    """Within it the parameters and buffers of a model hold float64, and it computes in it."""
    tensors = [t for t in (*model.parameters(), *model.buffers()) if t.dtype in _WIDE]
    narrow = [t.data for t in tensors]
    try:
        for tensor, wide in zip(tensors, _wide_copies(narrow), strict=True):
            tensor.data = wide
        with Widening():
            yield
    finally:
        for tensor, own in zip(tensors, narrow, strict=True):
            tensor.grad = None  # of the other precision: whoever wants it has read it by now
            tensor.data = own


def _wide_copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copies in float64 that share memory where the tensors do."""
    places = [(t.untyped_storage().data_ptr(), t.dtype) for t in tensors]
    uses, storages, copies = Counter(places), dict[tuple[int, torch.dtype], Tensor](), []
    for tensor, place in zip(tensors, places, strict=True):
        wide, storage = _WIDE[tensor.dtype], tensor.untyped_storage()
        if (uses[place] == 1 and storage.nbytes() == tensor.nbytes) or not tensor.numel():
            copies.append(tensor.to(wide))
            continue
        if place not in storages:
            n = storage.nbytes() // tensor.element_size()
            storages[place] = tensor.as_strided((n,), (1,), 0).to(wide)
        at = tensor.size(), tensor.stride(), tensor.storage_offset()
        copies.append(storages[place].as_strided(*at))
    return copies
