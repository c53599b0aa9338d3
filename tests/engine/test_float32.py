"""float32 is float32 while something is measured, however torch was told to round it further."""

import pytest
import torch
from torch import backends, nn
from torch.backends import cuda, cudnn, mkldnn

import srel_core as sc
from srel_core.engine.setup.float32 import exact_float32

PLACES = {
    "torch": backends, "cudnn": cudnn, "cuda.matmul": cuda.matmul, "cudnn.conv": cudnn.conv,
    "cudnn.rnn": cudnn.rnn, "mkldnn.matmul": mkldnn.matmul, "mkldnn.conv": mkldnn.conv,
    "mkldnn.rnn": mkldnn.rnn,
}  # fmt: skip


def by_place(name, value):
    return lambda: setattr(PLACES[name], "fp32_precision", value)


# As users tell it: by the older switches, by the newer ones, and by both.
TOLD = {
    "nothing": lambda: None,
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "allow_tf32": lambda: setattr(cuda.matmul, "allow_tf32", True),
    "no tf32 in cudnn": lambda: setattr(cudnn, "allow_tf32", False),
    "fp32_precision": by_place("torch", "tf32"),
    "of cudnn": by_place("cudnn", "tf32"),
    "of products": by_place("cuda.matmul", "tf32"),
    "of products on a CPU": by_place("mkldnn.matmul", "bf16"),
    "of convolutions": by_place("cudnn.conv", "tf32"),
    "of convolutions, not": by_place("cudnn.conv", "ieee"),
    "of convolutions on a CPU": by_place("mkldnn.conv", "bf16"),
    "of recurrent layers": by_place("cudnn.rnn", "none"),
    "older and newer": lambda: (
        torch.set_float32_matmul_precision("medium"), by_place("mkldnn.conv", "tf32")(),
    ),
}  # fmt: skip


def settings():
    """What can be read, and where reading is refused."""

    def read(getter):
        try:
            return getter()
        except RuntimeError:
            return "refused"

    found = {name: read(lambda at=at: at.fp32_precision) for name, at in PLACES.items()}
    switches = ("enabled", "benchmark", "deterministic", "allow_tf32")
    found |= {f"cudnn.{key}": read(lambda key=key: getattr(cudnn, key)) for key in switches}
    found["allow_tf32"] = read(lambda: cuda.matmul.allow_tf32)
    return found | {"matmul": read(torch.get_float32_matmul_precision)}


@pytest.fixture(params=TOLD)
def tell(request):
    """Tells torch, which at the end is as it was."""
    own = {name: at.fp32_precision for name, at in PLACES.items() if "." in name}
    yield TOLD[request.param]
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32 = True
    for name in ("torch", "cudnn"):
        by_place(name, "none")()
    for name, value in own.items():
        by_place(name, value)()


def problem(inner):
    """A model, what it computes under each time, and a batch."""
    torch.manual_seed(0)
    model, seen = inner(), []
    model.register_forward_pre_hook(lambda *_: seen.append(settings()))
    given = torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 2]), torch.randn(4, 3, 8, 8)
    return model, seen, given


def convolution():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(24, 3, batch_first=True)

    def forward(self, x):
        return self.cell(x.transpose(1, 2).flatten(2))[0][:, -1]


@pytest.mark.parametrize("method", ["auto", "loop"])
def test_a_measurement_is_in_float32_and_leaves_what_torch_was_told(method, tell):
    model, seen, given = problem(convolution)
    want = sc.influence(model, *given, rule=sc.Adam(1e-3), method=method)
    tell()
    before = settings()
    got = sc.influence(model, *given, rule=sc.Adam(1e-3), method=method)
    assert settings() == before
    assert torch.equal(got.delta, want.delta)
    for during in seen:
        assert not [name for name in PLACES if "." in name and during[name] in ("tf32", "bf16")]
        assert during["cudnn.deterministic"] and not during["cudnn.benchmark"]


@pytest.mark.parametrize("inner", [convolution, Recurrent])
def test_convolutions_have_cudnn_and_recurrent_layers_do_not(inner):
    """It has no backward pass of these in eval mode; without it a GPU convolves one by one."""
    model, seen, given = problem(inner)
    sc.influence(model, *given, rule=sc.SGD(1e-2), method="direct")
    sc.tangent_influence(model, *given, method="direct")
    assert {during["cudnn.enabled"] for during in seen} == {inner is convolution}
    assert cudnn.enabled


def test_a_user_who_does_without_cudnn_still_does(monkeypatch):
    monkeypatch.setattr(cudnn, "enabled", False)
    with exact_float32(convolution()):
        assert not cudnn.enabled
    assert not cudnn.enabled


def test_what_torch_was_told_is_left_after_an_error(tell):
    tell()
    before = settings()
    with pytest.raises(ZeroDivisionError), exact_float32(convolution()):
        raise ZeroDivisionError
    assert settings() == before
