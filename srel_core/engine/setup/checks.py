"""What a model and its inputs must satisfy before one-sample updates mean anything."""

from collections.abc import Sequence

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


def require_inputs(x: Tensor, y: Tensor, probes: Tensor) -> None:
    """ValueError unless x (S, ...), y (S, ...), probes (P, ...) fit together and are finite."""
    for name, values in (("x", x), ("y", y), ("probes", probes)):
        if not isinstance(values, Tensor):
            raise ValueError(f"{name} must be a torch tensor, not {type(values).__name__}")
    if probes.ndim == 0 or len(probes) == 0:
        raise ValueError("probes is empty: at least one probe input is needed")
    if x.ndim == 0 or len(x) == 0:
        raise ValueError("x is empty: at least one sample is needed")
    if len(x) != len(y):
        raise ValueError(f"x holds {len(x)} samples but y {len(y)} targets: one target a sample")
    if x.shape[1:] != probes.shape[1:]:
        raise ValueError(
            f"samples have shape {tuple(x.shape[1:])} but probes {tuple(probes.shape[1:])}: "
            "both must be inputs of one model"
        )
    require_finite("x", x)
    require_finite("y", y)
    require_finite("probes", probes)


def require_labels(y: Tensor, n_classes: int) -> None:
    """ValueError unless y (S,) holds integer class labels in 0..C−1."""
    if y.is_floating_point() or y.ndim != 1:
        raise ValueError(
            f"cross_entropy needs integer labels of shape (S,), not {y.dtype} of "
            f"shape {tuple(y.shape)}"
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"labels must lie in 0..{n_classes - 1} (the model has {n_classes} outputs), "
            f"but y holds {low if low < 0 else high}"
        )


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
    """ValueError unless the predictions for n inputs are (n, C) and finite."""
    if predictions.ndim != 2 or len(predictions) != n_inputs:
        raise ValueError(
            f"the model's output for a batch of {n_inputs} has shape "
            f"{tuple(predictions.shape)}: it must be (batch, outputs); wrap the model"
        )
    require_finite("the model's predictions", predictions)


def rounding_of(predictions: Tensor) -> float:
    """How far predictions that are computed in another order may differ, with room to spare."""
    scale = max(float(predictions.abs().max()), 1e-30)
    return 1e4 * torch.finfo(predictions.dtype).eps * scale


def require_no_draws(state_before: Sequence[Tensor], state_after: Sequence[Tensor]) -> None:
    """ValueError if a generator has moved: the model draws random numbers."""
    if any(not torch.equal(a, b) for a, b in zip(state_before, state_after, strict=True)):
        raise ValueError(
            "the model draws random numbers when it predicts, so that a step's effect is not "
            "determined: call model.eval() before measuring"
        )


def require_step(delta: Tensor) -> None:
    """ValueError, naming the sample, if a step (S, I, C) has led to NaN or infinite predictions."""
    bad = ~torch.isfinite(delta).flatten(1).all(1)
    if bool(bad.any()):
        raise ValueError(
            f"the step on sample {int(bad.nonzero()[0])} ends in NaN or infinite predictions: "
            "take a smaller learning rate, or look at the loss's gradient there"
        )


def require_independence(in_batch: Tensor, alone: Tensor) -> None:
    """ValueError unless predictions are the same within a batch and by themselves.

    A module that mixes the inputs of a batch shows here even if `require_per_sample` does not
    know it.
    """
    if (alone - in_batch).abs().max() > rounding_of(in_batch):
        raise ValueError(
            "the model's prediction for one input changes with the rest of its batch: S_rel needs "
            "a model that treats each input by itself"
        )


def require_losses(values: Sequence[Tensor]) -> None:
    """ValueError, naming the sample, unless each sample's loss is one finite number."""
    for i, value in enumerate(values):
        if value.numel() != 1:
            raise ValueError(
                f"the loss of sample {i} has shape {tuple(value.shape)}: it must be one number"
            )
        if not bool(torch.isfinite(value)):
            raise ValueError(f"the loss of sample {i} is {float(value)}: it must be finite")


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters a step moves, by name, detached; ValueError if none or not finite."""
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError("the model has no trainable parameter: no step can move it")
    for name, parameter in parameters.items():
        require_finite(f"weight {name!r}", parameter)
    return parameters
