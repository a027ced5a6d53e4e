"""The Fisher diagonal: by hand, against its definition, and against the KL divergence that it predicts."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.models.fisher import diagonal_fisher
from tests.measures.small import make_model, passage, random_probe

LENGTHS = [40, 33, 21, 7, 40, 12, 39, 2]


def by_definition(model: Any, passages: list[Passage]) -> dict[str, torch.Tensor]:
    """Of the passages' own tokens: the mean over passages of the squared gradient of the summed log-likelihood."""
    parameters = dict(model.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for sequence in passages:
        ids = torch.from_numpy(sequence.token_ids.astype(np.int64))
        logp = model(input_ids=ids[None]).logits[0].log_softmax(-1)
        likelihood = sum(logp[t - 1, ids[t]] for t in range(1, len(ids)) if sequence.supervised[t])
        gradients = torch.autograd.grad(likelihood, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient**2 / len(passages)
    return total


def apart(estimate: Any, expected: Any) -> float:
    """Largest relative difference of a tensor."""
    return max(float((estimate[name] - value).norm() / value.norm()) for name, value in expected.items())


def tied() -> Any:
    """GPT-2: Conv1D layers, learned positions, the embedding tied to the head."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=24, n_layer=2, n_head=2, n_positions=64)).eval()


def unknown() -> Any:
    """Llama: its norms are layers that hooks do not know."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    return LlamaForCausalLM(LlamaConfig(vocab_size=300, **shape)).eval()


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("build", [lambda: make_model(dropout=0.0).eval(), tied, unknown])
def test_equals_one_backward_pass_per_passage(build: Any, batch: int) -> None:
    """Passages of different lengths, padded on the right; some tokens are not supervised."""
    model, passages = build(), list(random_probe("a", LENGTHS).passages)
    passages[2] = passage(passages[2].token_ids.tolist(), supervised=[i % 3 > 0 for i in range(21)])
    estimate = diagonal_fisher(model, passages, labels="data", batch=batch)
    assert apart(estimate.values, by_definition(model, passages)) < 1e-5
    # each but the first token, of all passages; of the third, 2 of 3 tokens: 14 of its 21 (0, 3, … are not)
    assert (estimate.examples, estimate.tokens) == (8, sum(LENGTHS) - 8 - 20 + 14)


def test_hooks_know_tied_weights_and_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is, these models are not computed one by one: only the first two passages are."""
    from ontogeny.models import fisher

    counted: list[int] = []
    exact = fisher.one_by_one

    def counting(model: Any, passages: Any, *rest: Any) -> Any:
        counted.append(len(passages))
        return exact(model, passages, *rest)

    monkeypatch.setattr(fisher, "one_by_one", counting)
    for build, expected in ((tied, [2]), (lambda: make_model(dropout=0.0).eval(), [2]), (unknown, [2, 4, 4])):
        counted.clear()
        diagonal_fisher(build(), random_probe("a", LENGTHS).passages, batch=4)
        assert counted == expected


def test_sampled_labels_do_not_depend_on_the_batch() -> None:
    model, passages = make_model(dropout=0.0).eval(), random_probe("a", LENGTHS).passages
    estimates = [diagonal_fisher(model, passages, seed=3, batch=batch).values for batch in (1, 3, 8)]
    assert apart(estimates[1], estimates[0]) < 1e-5
    assert apart(estimates[2], estimates[0]) < 1e-5
    other = diagonal_fisher(model, passages, seed=4).values
    assert apart(other, estimates[0]) > 0.01


class Two(nn.Module):
    """A vocabulary of two tokens, looked up as 3 and -1; the head is 0, so both are always equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(2, 1), nn.Linear(1, 2)
        with torch.no_grad():
            self.embed.weight.copy_(torch.tensor([[3.0], [-1.0]]))
            self.head.weight.zero_()
            self.head.bias.zero_()

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:
        return SimpleNamespace(logits=self.head(self.embed(input_ids)))


@pytest.mark.parametrize("labels", ["sampled", "data"])
def test_by_hand(labels: Any) -> None:
    """d log p(y) / d logit_j = [y = j] - 1/2, squared 1/4 whatever y is. One passage begins with token 0, looked up as
    h = 3, one with token 1, h = -1. Bias: 1/4 each. Weight: mean of 9/4 and 1/4, 5/4. The head is 0: nothing below it.
    """
    estimate = diagonal_fisher(Two(), [passage([0, 1]), passage([1, 1])], labels=labels)
    assert estimate.values["head.bias"].tolist() == [0.25, 0.25]
    assert estimate.values["head.weight"].tolist() == [[1.25], [1.25]]
    assert estimate.values["embed.weight"].tolist() == [[0.0], [0.0]]
    assert (estimate.examples, estimate.tokens) == (2, 2)


def test_empirical_labels_add_up_within_a_passage() -> None:
    """Three targets, all token 1: (3 x 1/2)^2 = 9/4 for the bias; per token, by 3, 3/4."""
    estimate = diagonal_fisher(Two(), [passage([0, 1, 1, 1])], labels="data")
    assert estimate.values["head.bias"].tolist() == [2.25, 2.25]
    assert estimate.per_token()["head.bias"].tolist() == [0.75, 0.75]


def test_true_fisher_predicts_the_divergence() -> None:
    """Weights plus d ~ N(0, s^2): the mean KL per token is 1/2 s^2 sum of F per token, up to sampling.

    Independent of how F is computed: the divergence is taken from two forward passes. Empirical labels, on text that
    the model does not fit (one token again and again), give something else.
    """
    model, passages = make_model(dropout=0.0, spread=20.0).eval(), [passage([i] * 24) for i in range(48)]
    ids = torch.from_numpy(np.stack([p.token_ids for p in passages]).astype(np.int64))
    estimates = {labels: diagonal_fisher(model, passages, labels=labels) for labels in ("sampled", "data")}
    with torch.no_grad():
        start = [p.clone() for p in model.parameters()]
        before = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
        generator, scale, divergence = torch.Generator().manual_seed(0), 2e-3, []
        for _ in range(8):
            for p, at in zip(model.parameters(), start, strict=True):
                p.copy_(at + scale * torch.randn(p.shape, generator=generator))
            after = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
            divergence.append(float((before.exp() * (before - after)).sum(-1).mean()))
    predicted = {
        labels: 0.5 * scale**2 * sum(float(v.sum()) for v in estimate.per_token().values())
        for labels, estimate in estimates.items()
    }
    assert predicted["sampled"] == pytest.approx(float(np.mean(divergence)), rel=0.1)
    assert predicted["data"] > 1.5 * predicted["sampled"]


def test_the_model_is_left_alone() -> None:
    model = make_model(dropout=0.0).eval()
    frozen = next(model.parameters()).requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    diagonal_fisher(model, random_probe("a", [9, 5]).passages)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()].count(False) == 1
    assert not frozen.requires_grad
    assert not any(m._forward_hooks for m in model.modules())


def test_nothing_to_predict_is_refused() -> None:
    with pytest.raises(DataError, match="tokens to predict"):
        diagonal_fisher(make_model(), [passage([1, 2], supervised=[True, False])])
