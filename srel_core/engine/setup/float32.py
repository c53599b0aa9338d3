"""Torch's settings of the whole process, as what is measured and trained here has them.

float32 is float32: no TF32 or bfloat16 within a product, which torch may be told to use by older
switches or by newer ones (`fp32_precision`); where these were used it refuses to read the older.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import backends, nn

# Torch's annotations lack some of their attributes.
cudnn: Any = backends.cudnn
mkldnn: Any = backends.mkldnn
# Where torch may be told so.
_PRODUCTS = (backends.cuda.matmul, mkldnn.matmul)
_OTHERS = (cudnn.conv, cudnn.rnn, mkldnn.conv, mkldnn.rnn)
_REDUCED = ("tf32", "bf16")


@contextmanager
def exact_float32(model: nn.Module) -> Iterator[None]:
    """Within it float32 is not rounded further, and cuDNN takes algorithms that give the same bits
    each time.

    Without cuDNN a GPU would convolve one input at a time. It has no backward pass of recurrent
    layers in eval mode, so that models with such are without it.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    with (
        holding(cudnn, enabled=cudnn.enabled and not recurrent),
        holding(cudnn, benchmark=False, deterministic=True),
        _no_tf32_in_products(),
        _no_tf32_in_cudnn(),
        _exact(*_PRODUCTS, *_OTHERS),
    ):
        yield


def _no_tf32_in_products() -> AbstractContextManager[None]:
    """By the older switch, if it can be read."""
    try:
        reduced = (
            backends.cuda.matmul.allow_tf32 or torch.get_float32_matmul_precision() != "highest"
        )
    except RuntimeError:
        return nullcontext()
    return _highest() if reduced else nullcontext()


@contextmanager
def _highest() -> Iterator[None]:
    precision = torch.get_float32_matmul_precision()
    with ExitStack() as of_each:
        for place in _PRODUCTS:  # which may have been set one by one
            of_each.enter_context(holding(place, fp32_precision=place.fp32_precision))
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)


def _no_tf32_in_cudnn() -> AbstractContextManager[None]:
    """By the older switch, if it can be read."""
    try:
        return holding(cudnn, allow_tf32=False) if cudnn.allow_tf32 else nullcontext()
    except RuntimeError:
        return nullcontext()


@contextmanager
def _exact(*places: Any) -> Iterator[None]:
    """float32 where a newer switch says otherwise, of its own or as it follows another."""
    with ExitStack() as stack:
        for place in places:
            if place.fp32_precision in _REDUCED:
                stack.enter_context(holding(place, fp32_precision="ieee"))
        yield


@contextmanager
def holding(place: Any, **values: Any) -> Iterator[None]:
    """Within it attributes have these values, and then their own again."""
    before = {name: getattr(place, name) for name in values}
    try:
        for name, value in values.items():
            setattr(place, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(place, name, value)
