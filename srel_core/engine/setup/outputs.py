"""What a model gives, as predictions (B, ..., C): one of its outputs, and its last dimension."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Pick = Callable[[Any], Tensor]
"""From whatever a model gives for a batch to its predictions (B, ..., C)."""


def picked(out: Any) -> Tensor:
    """The predictions among a model's outputs: the tensor itself, the first of a tuple or list,
    `logits` of a mapping or of an object with that attribute, or the only tensor of a mapping.

    ValueError, saying what there is, where none of these is found.
    """
    if isinstance(out, Tensor):
        return out
    if isinstance(out, Mapping):
        tensors = {key: value for key, value in out.items() if isinstance(value, Tensor)}
        if "logits" in tensors:
            return tensors["logits"]
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        found = f"a mapping of {', '.join(map(str, out)) or 'nothing'}"
    elif isinstance(getattr(out, "logits", None), Tensor):
        return out.logits
    elif isinstance(out, (tuple, list)) and out and isinstance(out[0], Tensor):
        return out[0]
    else:
        found = f"a {type(out).__name__}"
    raise ValueError(
        f"the model gives {found}, in which no prediction is found: name it by output=, such as "
        "output=lambda out: out['scores']"
    )


def picking(output: Pick | None) -> Pick:
    """`output`, checked where it is used, or `picked`."""
    if output is None:
        return picked
    if not callable(output):
        raise ValueError(f"output must be a callable that picks the predictions, not {output!r}")

    def pick(out: Any) -> Tensor:
        found = output(out)
        if not isinstance(found, Tensor):
            raise ValueError(f"output= must give a tensor, not a {type(found).__name__}")
        return found

    return pick
