"""A model in float64, or one in half precision in float32, without a copy of it: its own
parameters, buffers and operations widened.

A deep copy would miss whatever holds the model's tensors in another way, such as a closure over
`self`. So the tensors themselves are given values in the wide precision, and give them back at the
end; and what a model makes in a narrower one on its way, by `x.float()`, `torch.zeros(...)`,
autocast or a tensor that it never registered, is wide too.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_WIDER = {
    torch.float64: {
        torch.float16: torch.float64,
        torch.bfloat16: torch.float64,
        torch.float32: torch.float64,
        torch.complex64: torch.complex128,
    },
    torch.float32: {torch.float16: torch.float32, torch.bfloat16: torch.float32},
}
_CASTS = {
    Tensor.float: torch.float32,
    Tensor.half: torch.float16,
    Tensor.bfloat16: torch.bfloat16,
}
# A copy is known by the memory of what it copies, which that of a widened tensor has for a moment.
_AS_THEY_ARE = ("__get__", "__set__", "__deepcopy__")


def is_narrower(dtype: torch.dtype, wide: torch.dtype) -> bool:
    """Whether numbers of this kind become others in a wide precision, float64 or float32."""
    return dtype in _WIDER[wide]


class Widening(TorchFunctionMode):
    """Inside it every operation of torch takes and gives numbers of the wide precision (or complex
    ones of two) in place of narrower ones, whatever autocast would have."""

    resting = False

    def __init__(self, wide: torch.dtype) -> None:
        super().__init__()
        self.wider = _WIDER[wide]

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = getattr(func, "__name__", "")
        if name in _AS_THEY_ARE or Widening.resting:
            return func(*args, **(kwargs or {}))
        if func in _CASTS:
            func, args = Tensor.to, (*args[:1], _CASTS[func], *args[1:])
        in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        start = args[:1] if in_place else ()
        given = {k: v if k == "out" else self._widened(v) for k, v in (kwargs or {}).items()}
        with _without_autocast():
            found = func(*start, *map(self._widened, args[len(start) :]), **given)
        return found if in_place else self._widened(found)

    def _widened(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(self.wider[value.dtype]) if value.dtype in self.wider else value
        if isinstance(value, torch.dtype):
            return self.wider.get(value, value)
        if type(value) in (tuple, list):
            return type(value)(map(self._widened, value))
        return value


@contextmanager
def _without_autocast() -> Iterator[None]:
    on = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    try:
        for device in on:
            torch.set_autocast_enabled(device, False)
        yield
    finally:
        for device in on:
            torch.set_autocast_enabled(device, True)


@contextmanager
def as_written() -> Iterator[None]:
    """Within it operations are those that are called: for a step, whose casts are part of what it
    does, as Muon's to bfloat16 are."""
    before, Widening.resting = Widening.resting, True
    try:
        yield
    finally:
        Widening.resting = before


@contextmanager
def widened(model: nn.Module, wide: torch.dtype) -> Iterator[None]:
    """Within it the parameters and buffers of a model hold numbers of a wide precision, float64 or
    float32, and it computes in it."""
    tensors = [t for t in (*model.parameters(), *model.buffers()) if is_narrower(t.dtype, wide)]
    narrow = [t.data for t in tensors]
    try:
        for tensor, copy in zip(tensors, _wide_copies(narrow, wide), strict=True):
            tensor.data = copy
        with Widening(wide):
            yield
    finally:
        for tensor, own in zip(tensors, narrow, strict=True):
            tensor.grad = None  # of the other precision: whoever wants it has read it by now
            tensor.data = own


def _wide_copies(tensors: list[Tensor], wide: torch.dtype) -> list[Tensor]:
    """Copies in a wide precision that share memory where the tensors do."""
    places = [(t.untyped_storage().data_ptr(), t.dtype) for t in tensors]
    uses, storages, copies = Counter(places), dict[tuple[int, torch.dtype], Tensor](), []
    for tensor, place in zip(tensors, places, strict=True):
        dtype, storage = _WIDER[wide][tensor.dtype], tensor.untyped_storage()
        if (uses[place] == 1 and storage.nbytes() == tensor.nbytes) or not tensor.numel():
            copies.append(tensor.to(dtype))
            continue
        if place not in storages:
            n = storage.nbytes() // tensor.element_size()
            storages[place] = tensor.as_strided((n,), (1,), 0).to(dtype)
        at = tensor.size(), tensor.stride(), tensor.storage_offset()
        copies.append(storages[place].as_strided(*at))
    return copies
