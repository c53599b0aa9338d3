"""What models take and give: several tensors, arrays, data sets; mappings, tuples, positions."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import srel_core as sc

X, PROBES, Y = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 2, 1])


class Two(nn.Module):
    """Takes two tensors, by position or by name; the mask says which half counts."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, values, mask=None):
        return self.layer(values if mask is None else values * mask)


class Language(nn.Module):
    """(B, T) token ids to (B, T, 7) logits."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(7, 6), nn.GRU(6, 6, batch_first=True), None
        self.head = nn.Linear(6, 7)

    def forward(self, input_ids):
        return {"logits": self.head(self.mix(self.embed(input_ids))[0])}


@pytest.fixture
def two():
    return Two().double()


@pytest.fixture
def language():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Language()


def test_the_same_numbers_given_in_any_way_give_the_same(two):
    mask, of_probes = torch.ones(3, 4).double(), torch.ones(5, 4).double()
    rule = sc.SGD(0.1)
    want = sc.influence(two, X.double(), Y, PROBES.double(), rule=rule).delta
    given = {
        "arrays": (X.double().numpy(), Y.numpy(), PROBES.double().numpy()),
        "by position": ((X.double(), mask), Y, (PROBES.double(), of_probes)),
        "by name": (
            {"values": X.double(), "mask": mask}, Y,
            {"values": PROBES.double(), "mask": of_probes},
        ),
        "data set": (TensorDataset(X.double(), Y), None, TensorDataset(PROBES.double())),
        "loader": (
            DataLoader(TensorDataset(X.double(), Y), batch_size=2), None,
            DataLoader(TensorDataset(PROBES.double(), torch.zeros(5)), batch_size=2),
        ),
        "float32": (X, Y, PROBES),
    }  # fmt: skip
    for way, arguments in given.items():
        got = sc.influence(two, *arguments, rule=rule).delta
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9, msg=way)


def test_a_read_only_array_is_left_alone(two):
    values = X.double().numpy().copy()
    values.flags.writeable = False
    sc.influence(two, values, Y, PROBES.double(), rule=sc.SGD(0.1))
    assert np.array_equal(values, X.double().numpy())


BAD = {
    "lengths": (((X, X[:2]), Y, (PROBES, PROBES)), r"different lengths, \[2, 3\]"),
    "kinds": (((X, X), Y, PROBES), r"x holds 2 tensor\(s\) but probes 1 tensor\(s\)"),
    "names": (({"values": X}, Y, {"wrong": PROBES}), "x holds values but probes wrong"),
    "no targets": ((X, None, PROBES), "y is None: give one target per sample"),
    "sparse": ((X.to_sparse(), Y, PROBES), r"give x.to_dense\(\)"),
    "shuffled": (
        (DataLoader(TensorDataset(X, Y), shuffle=True), None, PROBES),
        r"x is a DataLoader that shuffles.*next\(iter\(loader\)\)",
    ),
    "empty": ((TensorDataset(X[:0], Y[:0]), None, PROBES), "x is empty"),
    "a word": (("abc", Y, PROBES), "must be a torch tensor or a NumPy array, not str"),
}


@pytest.mark.parametrize(("given", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_no_batch_is_refused_in_one_line(two, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        sc.influence(two, *given, rule=sc.SGD(0.1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.int64])
def test_labels_may_be_any_whole_numbers(two, dtype):
    want = sc.influence(two, X, Y, PROBES, rule=sc.SGD(0.1))
    got = sc.influence(two, X, Y.to(dtype), PROBES, rule=sc.SGD(0.1))
    assert torch.equal(got.change["kl"], want.change["kl"])


def test_an_output_is_picked(two):
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.two = two

        def forward(self, x):
            return {"scores": self.two(x), "other": x}

    want = sc.influence(two, X, Y, PROBES, rule=sc.SGD(0.1))
    got = sc.influence(Scores(), X, Y, PROBES, rule=sc.SGD(0.1), output=lambda out: out["scores"])
    torch.testing.assert_close(got.delta, want.delta, rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="output= must give a tensor, not a dict"):
        sc.influence(Scores(), X, Y, PROBES, rule=sc.SGD(0.1), output=lambda out: out)
    with pytest.raises(ValueError, match="output must be a callable"):
        sc.influence(Scores(), X, Y, PROBES, rule=sc.SGD(0.1), output="scores")


def ids(n, seed):
    return torch.randint(7, (n, 5), generator=torch.Generator().manual_seed(seed))


def test_positions_are_averaged_weighted_or_kept_apart(language):
    x, probes, rule = ids(3, 1), ids(4, 2), sc.SGD(0.1)
    y = torch.roll(x, -1, 1)
    y[:, -1] = -100
    apart = sc.influence(language, x, y, probes, rule=rule, by_position=True)
    mean = sc.influence(language, x, y, probes, rule=rule)
    counted = torch.tensor([1.0, 1, 0, 0, 2]).expand(4, 5)
    weighted = sc.influence(language, x, y, probes, rule=rule, weights=counted)
    assert apart.change["kl"].shape == (4, 3, 5) and apart.own["kl"].shape == (3, 5)
    assert mean.delta.shape == (4, 3, 5, 7) and mean.before.shape == (4, 5, 7)
    for name in ("kl", "l2_logits"):
        torch.testing.assert_close(mean.change[name], apart.change[name].mean(2))
        # the last position of a sample has no label, and does not count in its own change
        assert apart.own[name][:, -1].isnan().all()
        torch.testing.assert_close(mean.own[name], apart.own[name][:, :-1].mean(1))
        by_hand = (apart.change[name] * counted[:, None]).sum(2) / 4
        torch.testing.assert_close(weighted.change[name], by_hand)


def test_the_step_is_on_the_mean_over_positions(language):
    x, probes = ids(2, 1), ids(3, 2)
    y = torch.roll(x, -1, 1)
    y[0, :3] = -100
    got = sc.influence(language, x, y, probes, rule=sc.SGD(0.1)).delta
    for i in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Language().double()
        with torch.no_grad():
            before = model(probes)["logits"].clone()
        step = torch.optim.SGD(model.parameters(), 0.1)
        F.cross_entropy(model(x[i : i + 1])["logits"][0], y[i]).backward()
        step.step()
        with torch.no_grad():
            want = model(probes)["logits"] - before
        torch.testing.assert_close(got[:, i], want, rtol=1e-6, atol=1e-9)


def test_positions_that_have_no_meaning_are_refused(language, two):
    x, probes = ids(2, 1), ids(3, 2)
    call = dict(rule=sc.SGD(0.1))
    with pytest.raises(ValueError, match=r"weights must have shape \(3, 5\)"):
        sc.influence(language, x, x, probes, weights=torch.ones(3), **call)
    with pytest.raises(ValueError, match="must not be negative, and not all zero"):
        sc.influence(language, x, x, probes, weights=torch.zeros(3, 5), **call)
    with pytest.raises(ValueError, match="every label of sample 1 is -100"):
        y = x.clone()
        y[1] = -100
        sc.influence(language, x, y, probes, **call)
    with pytest.raises(ValueError, match="by_position is for predictions"):
        sc.influence(two, X, Y, PROBES, by_position=True, **call)


def test_changes_are_kept_where_asked(two):
    kept = sc.influence(two, X, Y, PROBES, rule=sc.SGD(0.1))
    thrown = sc.influence(two, X, Y, PROBES, rule=sc.SGD(0.1), keep_delta=False)
    assert thrown.delta is None and thrown.own_delta is None
    assert torch.equal(thrown.change["kl"], kept.change["kl"])
