"""Faults of saving and of going on, each beside the same loop without it."""

from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, clears, findings, findings_with, silent
from tests.audit.loops import VOCABULARY, Loop, make_model, rows, shifted_loss

pytestmark = pytest.mark.slow


class Scaled(torch.nn.Module):
    """An output embedding whose scale is a plain tensor: part of the model, and not of what it saves."""

    def __init__(self, inner: torch.nn.Module, scale: float) -> None:
        super().__init__()
        self.weight = inner.weight
        self.scale = torch.tensor(scale)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.nn.functional.linear(hidden, self.weight)


def test_a_part_of_the_model_that_is_not_saved() -> None:
    def scaled(scale: float) -> Loop:
        model = make_model()
        model.set_output_embeddings(Scaled(model.get_output_embeddings(), scale))
        return Loop(model=model)

    assert set(findings(scaled(3.0))) == {"saved_model_differs"}
    silent(audited(scaled(1.0)), "saved_model_differs")  # what is not saved is of no effect


def test_a_model_that_does_not_load() -> None:
    def headed(tokens: int) -> Loop:
        model = make_model()
        model.set_output_embeddings(torch.nn.Linear(16, tokens, bias=False))
        return Loop(model=model)

    found = findings(headed(VOCABULARY + 4))  # four more tokens than the config says
    assert "does not load" in found["saved_model_differs"].statement
    silent(audited(headed(VOCABULARY)), "saved_model_differs")


def test_a_class_that_takes_more_than_a_config_and_layers_put_in_by_hand() -> None:
    from transformers import GPTNeoXForCausalLM

    class Wider(GPTNeoXForCausalLM):
        def __init__(self, config: Any, width: int) -> None:
            super().__init__(config)
            self.width = width

    class LowRank(torch.nn.Module):
        """`scale` is part of the model, and not of its state."""

        def __init__(self, base: torch.nn.Linear, scale: float) -> None:
            super().__init__()
            self.base, self.scale = base, torch.tensor(1.0)
            self.a = torch.nn.Parameter(torch.randn(4, base.in_features))
            self.b = torch.nn.Parameter(torch.zeros(base.out_features, 4))
            self.growth = scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.scale = self.scale * self.growth
            return self.scale * self.base(x) + x @ self.a.T @ self.b.T  # type: ignore[no-any-return]

    def low_rank(growth: float) -> Loop:
        model = make_model().requires_grad_(False)
        for layer in model.gpt_neox.layers:
            layer.attention.query_key_value = LowRank(layer.attention.query_key_value, growth)
        return Loop(model=model, optimizer=lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad]))

    silent(audited(Loop(model=Wider(make_model().config, 3), batch=4)), "saved_model_differs")
    silent(audited(low_rank(1.0)), "saved_model_differs")
    assert set(findings(low_rank(1.3))) == {"saved_model_differs"}


def test_saving_leaves_the_config_as_it_was() -> None:
    model = make_model()
    before = dict(vars(model.config))
    clears(Loop(model=model))
    assert vars(model.config) == before


def order(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(48).reshape(12, 4)


def test_a_resume_that_begins_the_epoch_again() -> None:
    def watch(audit: Any, at: int) -> Any:
        return audit.watch(ids=order(0)[at]) if at < 12 else None

    found = findings_with(Loop(), watch, next_batch_after=lambda step: order(0)[0])
    assert set(found) == {"resume_sees_other_batches"}
    # Of the 8 steps that are asked, from 0 to 11, only the first begins an epoch.
    assert found["resume_sees_other_batches"].numbers == {"steps": 8, "differ": 7}
    silent(audited(Loop(), watch, next_batch_after=lambda step: order(0)[step]), "resume_sees_other_batches")


def adapted(*, kept: bool | None) -> Loop:
    """LoRA; beside it the head is trained, and kept with the adapter or not. None: it is not trained."""
    from peft import LoraConfig, get_peft_model

    saved = ["embed_out"] if kept else None
    config = LoraConfig(r=4, target_modules=["query_key_value"], task_type="CAUSAL_LM", modules_to_save=saved)
    model = get_peft_model(make_model(), config)
    if kept is False:
        model.get_output_embeddings().weight.requires_grad_(True)
    return Loop(
        model=model, optimizer=lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-3)
    )


def test_a_head_that_is_trained_and_not_saved_with_its_adapter() -> None:
    assert set(findings(adapted(kept=False))) == {"saved_model_differs"}
    for clean in (True, None):
        assert findings(adapted(kept=clean)) == {}
        assert "saved_model_differs" in clears(adapted(kept=clean))


class Own(torch.nn.Module):
    """Of no library; a scale that is updated by hand, in its state or not."""

    def __init__(self, *, in_state: bool) -> None:
        super().__init__()
        self.embed, self.out = torch.nn.Embedding(VOCABULARY, 16), torch.nn.Linear(16, VOCABULARY)
        if in_state:
            self.register_buffer("scale", torch.ones(()))
        else:
            self.scale = torch.ones(())

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        if self.training:
            self.scale = self.scale * 1.05
        out: torch.Tensor = self.out(self.embed(input_ids) * self.scale)
        return out


def own_loop(*, in_state: bool) -> Any:
    torch.manual_seed(0)
    model = Own(in_state=in_state)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            batch = rows(4, number)
            shifted_loss(model(batch["input_ids"], batch["attention_mask"]), batch["labels"]).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert audit.report.mishaps == ()
    return audit.report


def test_a_tensor_of_an_own_module_that_its_state_does_not_hold() -> None:
    assert {one.rule for one in own_loop(in_state=False).findings} == {"saved_model_differs"}
    clean = own_loop(in_state=True)
    assert clean.findings == ()
    assert "saved_model_differs" in {one.rule for one in clean.verdicts if one.verdict == "clear"}
