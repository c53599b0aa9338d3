"""Models and losses that few people write, against the oracle."""

import copy

import pytest
import torch
from torch import nn

import srel_core as sc
from tests.support.measurements import call, relative_error


class Hinge(nn.Module):
    """Zero, with zero gradient, where the target's output leads by a margin of one."""

    def forward(self, prediction, target):
        return (1 + prediction - prediction[target]).relu().sum() - 1


class UsesAWeightTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)) @ self.a.weight)


class FoldsTokensIntoTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 5), nn.Linear(10, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x.reshape(-1, 2))).reshape(len(x), 10))


class HasAnUnusedHead(UsesAWeightTwice):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(4, 2)

    def forward(self, x):
        self.unused(x)
        return self.b(torch.tanh(self.a(x)))


class CallsByKeyword(UsesAWeightTwice):
    def forward(self, x):
        return self.b(input=torch.tanh(self.a(input=x)))


class HasAFixedBody(UsesAWeightTwice):
    def forward(self, x):
        with torch.no_grad():
            hidden = self.a(x)
        return self.b(torch.tanh(hidden))


class Decides(UsesAWeightTwice):
    """Control flow on values: it cannot run with stacked weights."""

    def forward(self, x):
        hidden = self.a(x)
        return self.b(torch.tanh(hidden) if (hidden.detach().sum() < 1e9).item() else hidden)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x.reshape(len(x), 2, 2))[0][:, -1])


ODD = [UsesAWeightTwice, FoldsTokensIntoTheBatch, HasAnUnusedHead, CallsByKeyword, HasAFixedBody,
       Decides, Recurrent]  # fmt: skip


@pytest.mark.parametrize("loss", ["cross_entropy", Hinge()], ids=["cross_entropy", "hinge"])
@pytest.mark.parametrize("method", ["auto", "direct"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_models_equal_the_oracle(kind, method, loss):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind().double()
        x, probes = torch.randn(4, 4).double(), torch.randn(5, 4).double()
        with torch.no_grad():
            model.b.weight.mul_(5) if hasattr(model, "b") else None
            y = model(x).argmax(1)  # fitted: a hinge's first gradients are zero
        y[2:] = (y[2:] + 1) % 3
    want = sc.influence(model, x, y, probes, rule=sc.SGD(0.1), loss=loss, method="loop")
    got = sc.influence(model, x, y, probes, rule=sc.SGD(0.1), loss=loss, method=method)
    for name in want.change:
        torch.testing.assert_close(got.change[name], want.change[name], rtol=1e-8, atol=1e-20)
    assert got.undefined("kl") == want.undefined("kl")
    tangent = sc.tangent_influence(model, x, y, probes, loss=loss)
    small = sc.influence(model, x, y, probes, rule=sc.SGD(1e-7), loss=loss, method="loop")
    torch.testing.assert_close(
        tangent.change["l2_logits"], small.change["l2_logits"] / 1e-7, rtol=1e-4, atol=1e-7
    )


def test_a_model_that_cannot_run_with_stacked_weights_says_so():
    with pytest.warns(RuntimeWarning, match="method='stacked' does not apply") as caught:
        got = call(model=Decides(), method="stacked")
    assert got.method == "direct" and "\n" not in str(caught[0].message)


def test_a_loss_module_with_tensors_of_its_own():
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    assert (call(loss=weighted).own["kl"] > 0).all()


LABELS, SHARES = torch.tensor([0, 2]), torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.0, 0.9]])
OF_TORCH = [
    (nn.CrossEntropyLoss(label_smoothing=0.1), LABELS), (nn.CrossEntropyLoss(), SHARES),
    (nn.CrossEntropyLoss(reduction="sum"), LABELS), (nn.MultiMarginLoss(), LABELS),
    (nn.KLDivLoss(reduction="batchmean"), SHARES), (nn.KLDivLoss(reduction="sum"), SHARES),
    (nn.BCEWithLogitsLoss(), SHARES), (nn.MSELoss(), SHARES), (nn.HuberLoss(), SHARES),
    (nn.MultiLabelSoftMarginLoss(), SHARES.round()), (nn.PoissonNLLLoss(), SHARES),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "y"), OF_TORCH, ids=[str(loss) for loss, _ in OF_TORCH])
def test_a_loss_of_torch_is_that_of_a_batch_of_one(loss, y):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    x, probes = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (2, 3))
    model = nn.Linear(4, 3, bias=False, dtype=torch.float64)
    model.weight.data = weight.detach().clone()
    y = y.double() if y.is_floating_point() else y
    got = sc.influence(model, x, y, probes, rule=sc.SGD(0.1), loss=loss).delta
    for i in range(2):
        (gradient,) = torch.autograd.grad(loss(x[i : i + 1] @ weight.T, y[i : i + 1]), weight)
        torch.testing.assert_close(got[:, i], -0.1 * probes @ gradient.T)


def test_token_ids_are_inputs_too():
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 3))
    generator = torch.Generator().manual_seed(0)
    x, probes = (torch.randint(7, (n, 4), generator=generator) for n in (3, 5))
    y = torch.tensor([0, 1, 2])
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-3))
    exact = copy.deepcopy(model).double()
    assert (
        relative_error(got, sc.influence(exact, x, y, probes, rule=sc.SGD(1e-3), method="loop"))
        < 1e-3
    )


def test_a_model_that_copies_what_it_holds_has_each_copy():
    """In float64 one copy was taken for another, in one measurement out of six."""

    class Copies(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 3)
            self.held = {"shift": torch.zeros(3), "scale": torch.full((3,), 2.0)}

        def forward(self, x):
            held = copy.deepcopy(self.held)
            return self.inner(x) * held["scale"] + held["shift"]

    torch.manual_seed(0)
    model, x, probes = Copies(), torch.randn(2, 4), torch.randn(3, 4)
    want = sc.influence(
        model, x, torch.tensor([0, 1]), probes, rule=sc.SGD(1e-1), gradients="model"
    )
    for _ in range(20):
        got = sc.influence(model, x, torch.tensor([0, 1]), probes, rule=sc.SGD(1e-1))
        torch.testing.assert_close(got.delta, want.delta, rtol=1e-3, atol=1e-6)
