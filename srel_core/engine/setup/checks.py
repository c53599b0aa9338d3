"""What a model and its inputs must satisfy before one-sample updates mean anything."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def require_finite(name: str, values: Tensor) -> None:
    """ValueError, naming `name`, if any value is NaN or infinite."""
    # A finite sum has finite terms; the other way round it is worth a second look.
    if not values.is_floating_point() or bool(torch.isfinite(values.sum())):
        return
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise ValueError(f"{name}: {bad} of {values.numel()} values are NaN or infinite")


def in_one_line(error: BaseException) -> str:
    """What an error says, its kind first, cut to what fits a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


@contextmanager
def calling_the_model(what: str) -> Iterator[None]:
    """Errors of the model's own become a ValueError of one line that says with what it was
    called."""
    try:
        yield
    except (
        RuntimeError, TypeError, IndexError, AttributeError, KeyError, AssertionError
    ) as error:  # fmt: skip
        message = f"the model cannot be called with {what}: {in_one_line(error)}"
        raise ValueError(message) from error


def require_targets(n_samples: int, y: Tensor) -> None:
    """ValueError unless y (S, ...) has one finite target per sample."""
    if y.ndim == 0 or n_samples != len(y):
        n_targets = len(y) if y.ndim else "one number"
        raise ValueError(
            f"x holds {n_samples} samples but y {n_targets} targets: one target per sample"
        )
    require_finite("y", y)


def labels(y: Tensor, predictions: Sequence[int], ignored: int) -> Tensor:
    """Class labels y (S, ...) as int64, for predictions of shape (S, ..., C).

    ValueError unless they are whole numbers in 0..C−1, or `ignored`, one per position and not all
    of them ignored.
    """
    *positions, n_classes = predictions
    if y.is_floating_point() or y.is_complex() or list(y.shape) != list(positions):
        raise ValueError(
            f"cross_entropy needs integer labels of shape {tuple(positions)}, not {y.dtype} of "
            f"shape {tuple(y.shape)}"
        )
    y = y.long()
    counted = torch.ones_like(y, dtype=torch.bool)
    if y.ndim > 1:  # a sample of one position alone has nothing to leave out
        counted = y != ignored
        without = ~counted.flatten(1).any(1)
        if bool(without.any()):
            sample = int(without.nonzero()[0])
            raise ValueError(f"every label of sample {sample} is {ignored}: it has no loss")
    low, high = int(y[counted].min()), int(y[counted].max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"labels must lie in 0..{n_classes - 1} (the model has {n_classes} outputs), "
            f"but y holds {low if low < 0 else high}"
        )
    return y


def _acts_on_batches(module: nn.Module) -> str | None:
    """Why this module has no per-sample update as it stands, or None."""
    if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
        return "it normalises by the batch's own statistics"
    if isinstance(module, _DropoutNd) and module.training and module.p > 0:
        return "it drops units at random"
    if isinstance(module, nn.MultiheadAttention) and module.training and module.dropout > 0:
        return "it drops attention weights at random"
    if isinstance(module, nn.RNNBase) and module.training and module.dropout > 0:
        return "it drops units at random"
    return None


def require_per_sample(model: nn.Module) -> None:
    """ValueError, naming the module, if a module mixes samples or draws random numbers."""
    for name, module in model.named_modules():
        reason = _acts_on_batches(module)
        if reason:
            raise ValueError(
                f"module {name or 'model'!r} ({type(module).__name__}) has no per-sample "
                f"update: {reason}; call model.eval() before measuring"
            )


def require_predictions(predictions: Tensor, n_inputs: int) -> None:
    """ValueError unless the predictions for n inputs are (n, ..., C), real and finite."""
    if predictions.ndim < 2 or len(predictions) != n_inputs or not predictions.numel():
        raise ValueError(
            f"the model's output for a batch of {n_inputs} has shape "
            f"{tuple(predictions.shape)}: it must be (batch, ..., outputs); pick it by output=, or "
            "wrap the model"
        )
    if not predictions.is_floating_point():
        raise ValueError(
            f"the model's predictions are {predictions.dtype}: real numbers are needed"
        )
    require_finite("the model's predictions", predictions)


# How far predictions in half precision may be from others, relative to their size.
_HALF_PRECISION = 0.05


def rounding_of(predictions: Tensor, eps: float = 0.0) -> float:
    """How far predictions that are computed in another order may differ, with room to spare.
    `eps`: the distance of 1 to the next number in what they are computed of, if it is more than
    that of their own kind."""
    scale = max(float(predictions.abs().max()), 1e-30)
    eps = max(eps, torch.finfo(predictions.dtype).eps)
    return min(1e3 * eps, _HALF_PRECISION) * scale


def require_no_draws(state_before: Sequence[Tensor], state_after: Sequence[Tensor]) -> None:
    """ValueError if a generator has moved: the model draws random numbers."""
    if any(not torch.equal(a, b) for a, b in zip(state_before, state_after, strict=True)):
        raise ValueError(
            "the model draws random numbers when it predicts, so that a step's effect is not "
            "determined: call model.eval() before measuring"
        )


def require_step(delta: Tensor, sample: int) -> None:
    """ValueError, naming the sample, if the step on it has led to NaN or infinite predictions."""
    if not bool(torch.isfinite(delta).all()):
        raise ValueError(
            f"the step on sample {sample} ends in NaN or infinite predictions: take a smaller "
            "learning rate, or look at the loss's gradient there"
        )


def require_independence(in_batch: Tensor, alone: Tensor, eps: float) -> None:
    """ValueError unless predictions are the same within a batch and by themselves.

    A module that mixes the inputs of a batch shows here even if `require_per_sample` does not
    know it.
    """
    if (alone - in_batch).abs().max() > rounding_of(in_batch, eps):
        raise ValueError(
            "the model's prediction for one input changes with the rest of its batch: S_rel needs "
            "a model that treats each input by itself"
        )


def require_numbers(losses: Sequence[Tensor]) -> None:
    """ValueError, naming the sample, unless each sample's loss is one number."""
    for i, value in enumerate(losses):
        if value.ndim:
            raise ValueError(
                f"the loss of sample {i} has shape {tuple(value.shape)}: it must be one number"
            )


def require_losses(losses: Tensor) -> None:
    """ValueError, naming the sample, unless the losses (S,) are finite."""
    finite = torch.isfinite(losses)
    if not bool(finite.all()):
        i = int((~finite).nonzero()[0])
        require_finite_loss(i, losses[i])


def require_finite_loss(sample: int, loss: Tensor) -> None:
    """ValueError, naming the sample, unless its loss is finite."""
    if not bool(torch.isfinite(loss)):
        raise ValueError(
            f"the loss of sample {sample} is {float(loss.detach())}: it must be finite"
        )


def require_float64(device: torch.device) -> None:
    """ValueError for a device without it, as Apple's `mps`."""
    if device.type in ("cpu", "meta"):
        return
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"the device {str(device)!r} has no float64, in which changes are computed: measure "
            "the model on the CPU, where model.cpu() puts it"
        ) from error


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters a step moves, by name; ValueError if none, or not finite numbers at hand."""
    for name, parameter in model.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise ValueError(f"weight {name!r} has no shape yet: call the model once before")
        if parameter.device.type == "meta":
            raise ValueError(f"weight {name!r} is on the device 'meta', without values: load them")
        if parameter.is_inference():
            raise ValueError(
                f"weight {name!r} was made in inference mode and takes no gradient: build or load "
                "the model outside of it"
            )
        if parameter.requires_grad and getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise ValueError(
                f"weight {name!r} has a hook that is called when its gradient is there, as one by "
                "which an optimizer steps within the backward pass: take it off for as long as you "
                "measure, by remove() of what registered it"
            )
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError("the model has no trainable parameter: no step can move it")
    if not _look_finite([parameter.detach() for parameter in parameters.values()]):
        for name, parameter in parameters.items():
            require_finite(f"weight {name!r}", parameter.detach())
    return parameters


def require_finite_gradients(sample: int, gradients: Mapping[str, Tensor]) -> None:
    """ValueError, naming the sample and the weight, if a gradient is not finite."""
    if _look_finite(list(gradients.values())):
        return
    for name, gradient in gradients.items():
        if not bool(torch.isfinite(gradient).all()):
            raise ValueError(
                f"the gradient of sample {sample}'s loss for weight {name!r} is NaN or infinite: "
                "look at the loss and its targets"
            )


def _look_finite(tensors: list[Tensor]) -> bool:
    """Whether all numbers are finite; False too where their sum overflows.

    By one look: each tensor by itself would wait for the device. A GPU takes all in one operation,
    which is ten times slower than sums on a CPU.
    """
    some = [t for t in tensors if t.numel()]
    if not some:
        return True
    if any(t.device.type != "cpu" for t in some):
        return bool(torch.isfinite(nn.utils.get_total_norm(some, torch.inf)))
    return bool(torch.isfinite(torch.stack([t.sum().abs().double() for t in some])).all())
