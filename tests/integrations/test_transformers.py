"""Language models of random weights, in a loop of one's own and in a `Trainer`."""

import copy

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

import srel_core as sc
from srel_core.integrations.transformers import SrelCallback, next_tokens

SMALL = dict(vocab_size=11, bos_token_id=0, eos_token_id=1, pad_token_id=2)


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=8, n_positions=16, **SMALL))


def llama():
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=16, **SMALL,
        )
    )  # fmt: skip


def bert():
    return BertForSequenceClassification(
        BertConfig(
            hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=16, num_labels=3, **SMALL,
        )
    )  # fmt: skip


def made(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().eval()


def tokens(n, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 11, (n, 6), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def targets(kind, x):
    if kind is bert:
        return torch.arange(len(x["input_ids"])) % 3
    return next_tokens(x["input_ids"], x["attention_mask"])


def by_hand(kind, x, y, probes, i, lr):
    """Deep copies in float64, as far as the model lets it be: its norms compute in float32."""
    model = made(kind).double()
    one = {name: t[i : i + 1] for name, t in x.items()}
    with torch.no_grad():
        before = model(**probes).logits
    logits = model(**one).logits
    F.cross_entropy(logits.flatten(0, -2), y[i : i + 1].flatten()).backward()
    torch.optim.SGD(model.parameters(), lr).step()
    with torch.no_grad():
        return model(**probes).logits - before


@pytest.mark.parametrize("kind", [gpt2, llama, bert])
def test_a_step_is_the_one_that_training_takes(kind):
    x, probes = tokens(3, 1), tokens(2, 2)
    y, model = targets(kind, x), made(kind)
    before = copy.deepcopy(model.state_dict())
    got = sc.influence(model, x, y, probes, rule=sc.SGD(1e-2), divergences=["kl", "l2_logits"])
    want = torch.stack([by_hand(kind, x, y, probes, i, 1e-2) for i in range(3)], 1)
    error = (got.delta - want).norm(dim=-1).max() / want.norm(dim=-1).max()
    assert error < 1e-4
    assert got.in_float64.all() and got.undefined("kl") == 0
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    limit = sc.tangent_influence(model, x, y, probes, divergences=["l2_logits"])
    small = sc.influence(model, x, y, probes, rule=sc.SGD(1e-7), divergences=["l2_logits"])
    torch.testing.assert_close(
        small.change["l2_logits"] / 1e-7, limit.change["l2_logits"], rtol=1e-4, atol=0
    )


def test_the_next_tokens_are_the_targets():
    ids, mask = torch.tensor([[3, 4, 5], [6, 7, 8]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert next_tokens(ids).tolist() == [[4, 5, -100], [7, 8, -100]]
    assert next_tokens(ids, mask).tolist() == [[4, 5, -100], [7, -100, -100]]


class Texts(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        ids = tokens(8, 5)["input_ids"][i]
        return {"input_ids": ids, "labels": ids}


def trained(folder, callbacks):
    model = made(gpt2)
    arguments = TrainingArguments(
        str(folder), max_steps=4, per_device_train_batch_size=4, learning_rate=1e-3,
        report_to=[], save_strategy="no", logging_strategy="no", use_cpu=True, seed=0,
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    made_callbacks = callbacks(model)
    Trainer(model=model, args=arguments, train_dataset=Texts(), callbacks=made_callbacks).train()
    return model, made_callbacks


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_trainer_measures_as_it_goes_and_trains_as_without(tmp_path):
    x, probes = tokens(2, 1), tokens(2, 2)

    def callbacks(model):
        recorder = sc.SrelRecorder(model, x, targets(gpt2, x), probes, rules={"sgd": sc.SGD(1e-3)})
        return [SrelCallback(recorder, every=2, optimizer_step=True)]

    plain, _ = trained(tmp_path / "plain", lambda model: [])
    measured, (callback,) = trained(tmp_path / "measured", callbacks)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, measured.state_dict()[name]), name
    result = callback.recorder.to_xarray()
    assert result.step.values.tolist() == [0, 2, 4]
    assert result["rule"].values.tolist() == ["sgd", "optimizer"]
    change = result.change.sel(divergence="kl")
    assert bool((change.sel(rule="sgd") > 0).all())
    assert bool((change.sel(rule="optimizer", step=[0, 2]) > 0).all())
    assert bool((change.sel(rule="optimizer", step=4) == 0).all())  # its rate has come down to 0


def test_what_a_callback_cannot_do_is_refused(tmp_path):
    x = tokens(2, 1)
    recorder = sc.SrelRecorder(made(gpt2), x, targets(gpt2, x), x, rules={"sgd": sc.SGD(1e-3)})
    with pytest.raises(ValueError, match="every must be a whole number"):
        SrelCallback(recorder, every=0)
    with pytest.raises(ValueError, match="of another model"):
        trained(tmp_path, lambda model: [SrelCallback(recorder)])
