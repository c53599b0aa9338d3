"""The networks: shapes, the published architecture, and seeds that fix every bit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models import resnet18 as torchvision_resnet18

from srel_core.experiments.networks import MODELS, build_model, mlp, resnet18


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_classes", [1, 3])
def test_shapes(name, n_classes):
    model = build_model(name, n_classes, seed=0)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, n_classes)
    assert not list(model.buffers()) or name == "resnet18_batchnorm"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("untouched_global_rng")
def test_the_seed_fixes_every_bit(name):
    first, again, other = (build_model(name, 3, seed=seed) for seed in (5, 5, 6))
    for p, q in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
    assert any(
        not torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters(), strict=True)
    )


def test_no_generator_of_an_accelerator_is_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    build_model("linear", 3, seed=0)
    assert seeded == []


def test_resnet18_is_torchvisions_without_normalisation():
    ours, theirs = resnet18(3), torchvision_resnet18(num_classes=3)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in ours.modules())
    kept = {name: p.shape for name, p in theirs.named_parameters() if p.ndim != 1 or "fc" in name}
    assert {name: p.shape for name, p in ours.named_parameters()} == kept
    assert ours.conv1.kernel_size == (7, 7)
    assert ours.conv1.stride == (2, 2)


@pytest.mark.parametrize("name", ["resnet18_groupnorm", "resnet18_batchnorm", "vit"])
def test_the_networks_of_the_grid_are_of_the_published_size(name):
    sizes = [sum(p.numel() for p in build_model(n, 3, 0).parameters()) for n in ("resnet18", name)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_the_normalisations_are_those_that_the_names_say():
    for name, kind in (("groupnorm", nn.GroupNorm), ("batchnorm", nn.BatchNorm2d)):
        modules = list(build_model(f"resnet18_{name}", 3, seed=0).modules())
        assert sum(isinstance(m, kind) for m in modules) == 20


def test_resnet18_starts_from_kaiming_fan_out():
    weight = build_model("resnet18", 3, seed=0).layer4[1].conv2.weight
    expected = (2 / (512 * 9)) ** 0.5
    assert weight.std().item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "linear"])
def test_a_network_in_eval_mode_treats_each_sample_on_its_own(name):
    model = build_model(name, 3, seed=0).double().eval()
    x = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(model(x)[:1], model(x[:1]))


@given(widths=st.lists(st.integers(1, 5), max_size=3), activation=st.sampled_from(["relu", "tanh"]))
def test_mlp_is_the_composition_of_its_layers(widths, activation):
    model = mlp(6, widths, 2, activation)
    x = torch.rand(4, 2, 3)
    expected = x.flatten(1)
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [*widths, 2]
    for layer in linear[:-1]:
        expected = getattr(torch, activation)(expected @ layer.weight.T + layer.bias)
    expected = expected @ linear[-1].weight.T + linear[-1].bias
    torch.testing.assert_close(model(x), expected)


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown model 'resnet8': the nearest is 'resnet18'"):
        build_model("resnet8", 3, seed=0)
    with pytest.raises(ValueError, match="unknown activation 'than': the nearest is 'tanh'"):
        mlp(2, (3,), 1, activation="than")
    with pytest.raises(ValueError, match="n_classes ≥ 1, got 0"):
        build_model("linear", 0, seed=0)
