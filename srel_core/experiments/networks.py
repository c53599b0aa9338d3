"""The networks of the experiments: torch's own layers, initialised from a seed of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from srel_core.choices import check_known

_IMAGE_FEATURES = 3 * 32 * 32
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def resnet18(n_classes: int, norm_layer: Callable[[int], nn.Module] = nn.Identity) -> nn.Module:
    """The published ResNet-18: torchvision's, with every normalisation layer the identity.

    Stem of 7×7 at stride 2 and max-pool, widths 64, 128, 256, 512, Kaiming fan-out
    initialisation; (N, 3, 32, 32) → (N, n_classes). As published it holds no buffers and treats
    each input on its own. `norm_layer` makes a normalisation of so many channels.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [2, 2, 2, 2], num_classes=n_classes, norm_layer=norm_layer)


def vit(n_classes: int) -> nn.Module:
    """torchvision's vision transformer at the size of the published ResNet-18, 11 million weights.

    Patches of 8×8, 6 layers of width 384 with 6 heads, no dropout; (N, 3, 32, 32) → (N, n_classes).
    """
    from torchvision.models import VisionTransformer

    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=6, num_heads=6, hidden_dim=384, mlp_dim=1536,
        num_classes=n_classes,
    )  # fmt: skip


def mlp(
    in_features: int, widths: Sequence[int], n_outputs: int, activation: str = "relu"
) -> nn.Sequential:
    """A fully connected network, (N, …) flattened to (N, in_features) → (N, n_outputs).

    Args:
        in_features: numbers in one input.
        widths: hidden units of each hidden layer; none of them makes a linear model.
        n_outputs: outputs, without an activation.
        activation: "relu" or "tanh", after each hidden layer.

    Raises:
        ValueError: an unknown activation.
    """
    check_known("activation", activation, _ACTIVATIONS)
    sizes = (in_features, *widths)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_outputs))


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "resnet18": resnet18,
    "resnet18_groupnorm": lambda n_classes: resnet18(n_classes, partial(nn.GroupNorm, 32)),
    "resnet18_batchnorm": lambda n_classes: resnet18(n_classes, nn.BatchNorm2d),
    "vit": vit,
    "mlp": lambda n_classes: mlp(_IMAGE_FEATURES, (512, 512), n_classes),
    "linear": lambda n_classes: mlp(_IMAGE_FEATURES, (), n_classes),
}
MODELS = tuple(_BUILDERS)


def build_model(name: str, n_classes: int, seed: int) -> nn.Module:
    """A network for 3×32×32 images, on the CPU, fixed by the seed to the bit.

    Args:
        name: one of `MODELS`: "resnet18", which is the published one, without normalisation,
            "resnet18_groupnorm" (32 groups), "resnet18_batchnorm", "vit", "mlp" (two hidden layers
            of 512, relu), "linear".
        n_classes: outputs, at least 1.
        seed: of the initialisation. The global generators, CUDA's too, are left as they were.

    Raises:
        ValueError: an unknown name, or no classes.
    """
    check_known("model", name, MODELS)
    if n_classes < 1:
        raise ValueError(f"expected n_classes ≥ 1, got {n_classes}")
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would reseed CUDA's generators too, which are not forked.
        torch.default_generator.manual_seed(seed)
        return _BUILDERS[name](n_classes)
