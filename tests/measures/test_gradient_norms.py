from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.passages import ProbeSet
from ontogeny.looking.guard import untouched
from ontogeny.measures.gradient_norms import GradientNorms
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.next_token import NextToken
from tests.measures.small import make_context, make_model, passage


def norms(model: Any, probes: list[ProbeSet], **changes: Any) -> Any:
    with untouched(model):
        return GradientNorms().look(make_context(model, probes, **changes)).arrays


def test_it_is_the_gradient_of_the_mean_over_supervised_tokens() -> None:
    # lengths differ and some tokens are masked: a mean of means over batches would be another gradient
    generator = np.random.default_rng(0)
    masks = [[False] * 5 + [True] * 4, [True] * 30, [True] * 3]
    passages = [passage(generator.integers(0, 300, len(mask)).tolist(), supervised=mask) for mask in masks]
    model = make_model().train()
    observed = norms(model, [ProbeSet(name="p", passages=passages)], batch_tokens=16)

    twin = make_model().eval()  # independent: one passage at a time, from log-softmax, autograd on the mean
    losses = []
    for one in passages:
        ids = torch.from_numpy(one.token_ids.astype(np.int64))
        log_p = twin(input_ids=ids[None]).logits[0, :-1].double().log_softmax(-1)
        losses.append(-log_p[torch.arange(len(ids) - 1), ids[1:]][torch.from_numpy(one.supervised[1:])])
    torch.cat(losses).mean().backward()
    squares = {name: float(p.grad.double().square().sum()) for name, p in twin.named_parameters()}
    blocks = [
        sum(v for n, v in squares.items() if "embed_in" in n),
        sum(v for n, v in squares.items() if "layers.0." in n),
        sum(v for n, v in squares.items() if "layers.1." in n),
        sum(v for n, v in squares.items() if "final_layer_norm" in n or "lm_head" in n),
    ]
    assert observed["block"].values.tolist() == [-1, 0, 1, 2]
    assert observed["block_norm"].values[0] == pytest.approx(np.sqrt(blocks), rel=1e-4)
    assert float(observed["norm"][0]) == pytest.approx(np.sqrt(sum(blocks)), rel=1e-4)


def test_the_weight_of_the_step_scales_it(probes: list[ProbeSet]) -> None:
    model = make_model()
    one, two = (
        norms(model, probes, objective=Objective([NextToken.model_validate({"weight": w})])) for w in (1.0, 2.0)
    )
    assert two["block_norm"].values == pytest.approx(2 * one["block_norm"].values, rel=1e-5)


def test_what_is_frozen_has_no_gradient(probes: list[ProbeSet]) -> None:
    model = make_model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.1." in name)
    observed = norms(model, probes)["block_norm"].values
    assert (observed[:, [0, 1, 3]] == 0).all()
    assert (observed[:, 2] > 0).all()


def test_a_perfect_prediction_pulls_at_nothing() -> None:
    # the final norm gives a constant, and one row of the head is so far along it that its token is certain
    model = make_model()
    with torch.no_grad():
        model.gpt_neox.final_layer_norm.weight.zero_()
        model.gpt_neox.final_layer_norm.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[7] = 10.0
    certain, wrong = (ProbeSet(name=n, passages=[passage([i] * 9)]) for n, i in (("certain", 7), ("wrong", 8)))
    observed = norms(model, [certain, wrong])
    assert float(observed["norm"][0]) == 0.0
    assert float(observed["norm"][1]) > 1.0
