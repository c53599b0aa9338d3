"""The models over which the engine is held to its oracle: all take (B, 3, 8, 8), give (B, 3)."""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

N_OUTPUTS = 3
SHAPE = (3, 8, 8)


class Patches(nn.Module):
    """A ViT of one block: patches, attention, class token; no dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, kernel_size=4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.5)
        self.block = nn.TransformerEncoderLayer(
            8, nhead=2, dim_feedforward=16, dropout=0.0, batch_first=True, activation="gelu"
        )
        self.head = nn.Linear(8, N_OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1)
        return self.head(self.block(tokens)[:, 0])


class Tied(nn.Module):
    """The same weight matrix twice: its gradient is the sum over both uses."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(192, 192)
        self.again = nn.Linear(192, 192)
        self.again.weight = self.inner.weight
        self.head = nn.Linear(192, N_OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.again(torch.tanh(self.inner(x.flatten(1))))))


def _resnet() -> nn.Module:
    return ResNet(
        BasicBlock, [2, 2, 2, 2], num_classes=N_OUTPUTS, norm_layer=lambda _: nn.Identity()
    )


def _batch_norm() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 64, N_OUTPUTS),
    )  # fmt: skip
    with torch.no_grad():
        model(torch.randn(16, *SHAPE))  # running statistics that are not the initial ones
    return model


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 24), nn.ReLU(), nn.Linear(24, 16), nn.Tanh(),
        nn.Linear(16, N_OUTPUTS),
    )  # fmt: skip


def _frozen_body() -> nn.Module:
    model = _mlp()
    model[1].requires_grad_(False)
    return model


MODELS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, N_OUTPUTS)),
    "mlp": _mlp,
    "resnet18": _resnet,
    "vit": Patches,
    "batchnorm": _batch_norm,
    "tied": Tied,
    "frozen": _frozen_body,
}


def make(name: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MODELS[name]().to(dtype).eval()


def batch(
    n_samples: int, n_probes: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, probes; the last sample is also the first probe."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_samples, *SHAPE, generator=generator, dtype=torch.float64)
    probes = torch.randn(n_probes, *SHAPE, generator=generator, dtype=torch.float64)
    y = torch.randint(N_OUTPUTS, (n_samples,), generator=generator)
    probes[0] = x[-1]
    return x.to(dtype), y, probes.to(dtype)


def kernel_fits(
    size: tuple[int, int], kernel: tuple[int, int], padding: tuple[int, int],
    dilation: tuple[int, int],
) -> bool:  # fmt: skip
    """Whether a convolution's kernel is no larger than the padded input, as torch demands."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    return all(n + 2 * p >= r for n, p, r in zip(size, padding, reach, strict=True))
