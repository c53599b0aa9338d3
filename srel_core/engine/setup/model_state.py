"""Everything that a measurement may change of a model, kept, and put back at its end."""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def left_as_it_was(model: nn.Module, step_weights: bool = False) -> Iterator["Kept"]:
    """Within it a model may be run and changed; at its end, however that comes, it is as before.

    That is: which objects are its parameters, buffers, modules and other attributes, what lists,
    dicts and sets among these hold, `.grad` and the modes, and the states of the generators of
    random numbers of torch, NumPy and Python. With `step_weights` the values of the parameters too:
    for whoever steps them in place. Values of buffers and of tensors in attributes always.
    """
    kept = Kept(model, step_weights)
    try:
        yield kept
    finally:
        kept.put_back()


class Kept:
    """What a model was when this was made."""

    def __init__(self, model: nn.Module, step_weights: bool) -> None:
        parameters = list(model.parameters())
        self.modules = [_Attributes(module) for module in model.modules()]
        self.gradients = [(p, p.grad, p.requires_grad) for p in parameters]
        held = [t for of in self.modules for t in of.tensors()]
        moved = {id(t): t for t in [*model.buffers(), *held, *(parameters if step_weights else ())]}
        stored = (t for t in moved.values() if t.layout == torch.strided)
        self.values = [(t, t.data, t.detach().clone()) for t in stored]
        self.python, self.numpy = random.getstate(), np.random.get_state()
        self.torch = torch.random.get_rng_state()
        devices = sorted({p.device.index for p in parameters if p.device.type == "cuda"})
        self.cuda = [(device, torch.cuda.get_rng_state(device)) for device in devices]

    def values_of(self, parameter: nn.Parameter) -> Tensor:
        """Those that a parameter whose values were kept had. To be read alone."""
        return next(values for tensor, _, values in self.values if tensor is parameter)

    def put_back(self) -> None:
        try:
            self._put_back()
        except KeyboardInterrupt:  # once more and whole, before it goes on its way
            self._put_back()
            raise

    def _put_back(self) -> None:
        for tensor, own, values in self.values:
            if tensor.data_ptr() != own.data_ptr() or tensor.dtype != own.dtype:
                tensor.grad = None
                tensor.data = own
            if not _same_bits(own, values):
                own.copy_(values)
        for attributes in self.modules:
            attributes.put_back()
        for parameter, gradient, requires_grad in self.gradients:
            parameter.grad = gradient
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.random.set_rng_state(self.torch)
        for device, state in self.cuda:
            torch.cuda.set_rng_state(state, device)


class _Attributes:
    """What the attributes of one module are, and what the containers among them hold."""

    def __init__(self, module: nn.Module) -> None:
        self.of = vars(module)
        self.own = dict(self.of)
        self.contents = [(v, v.copy()) for v in self.own.values() if isinstance(v, _CONTAINERS)]

    def tensors(self) -> list[Tensor]:
        """Those that are attributes without being registered."""
        return [v for v in self.own.values() if isinstance(v, Tensor)]

    def put_back(self) -> None:
        for name in [name for name in self.of if name not in self.own]:
            del self.of[name]
        for name, value in self.own.items():
            if name not in self.of or self.of[name] is not value:
                self.of[name] = value
        for container, contents in self.contents:
            _refill(container, contents)


_CONTAINERS = (dict, list, set, deque)


def _refill(container: Any, contents: Any) -> None:
    """Give a container its contents again, where they are others now."""
    if isinstance(container, dict):
        same = list(container) == list(contents)
        if not same or any(container[key] is not contents[key] for key in contents):
            container.clear()
            container.update(contents)
    elif isinstance(container, set):
        if container != contents:
            container.clear()
            container.update(contents)
    elif list(map(id, container)) != list(map(id, contents)):
        container.clear()
        container.extend(contents)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """NaN and all: whether two tensors of one kind hold the same bits."""
    if not a.numel():
        return True
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(a.element_size())
    if whole is None:
        return False
    return torch.equal(a.view(whole), b.view(whole))
