"""Faults of adapters, each beside the same training without it."""

import copy
from typing import Any

import pytest
import torch

from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, findings, silent, unbroken
from tests.audit.loops import Loop, make_model, rows, shifted_loss

pytestmark = pytest.mark.slow


WIDTH = 16


class Adapter(torch.nn.Module):
    """Vectors [B, 8] of examples -> two vectors [B, 2, 16] in the model's space: a residual and a branch."""

    def __init__(self, *, dropout: float = 0.1, branch: float = 0.1) -> None:
        super().__init__()
        self.residual, self.branch = torch.nn.Linear(8, 2 * WIDTH), torch.nn.Linear(8, 2 * WIDTH)
        self.drop = torch.nn.Dropout(dropout)
        with torch.no_grad():
            self.branch.weight.mul_(branch)
            self.branch.bias.mul_(branch)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.drop(self.residual(vectors) + self.branch(vectors)).view(-1, 2, WIDTH)


class Whole(torch.nn.Module):
    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.adapter, self.lm = adapter, make_model()


def inject(place: int = 3, row: int = 0, mask_them: bool = False, **adapter: Any) -> Audit:
    """Train with vectors at places 3 and 4 of each row; put them at `place`, `row` rows further down, in fact."""
    torch.manual_seed(0)
    whole = Whole(Adapter(**adapter))
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-3)
    with Audit(whole, optimizer, quiet=True) as audit:
        audit.watch(adapter=whole.adapter, branches={"adapter": (whole.adapter.branch, whole.adapter.residual)})
        for number in range(12):
            whole.train()
            batch, made = rows(4, number), whole.adapter(torch.randn(4, 8))
            places = torch.tensor([[3, 4]] * 4)
            audit.watch(injected=made, positions=places)
            embeds = whole.lm.get_input_embeddings()(batch["input_ids"]).clone()
            embeds[:, place : place + 2] = made.roll(row, dims=0)
            mask = batch["attention_mask"].clone()
            if mask_them:
                mask[:, 3] = 0
            logits = whole.lm(inputs_embeds=embeds, attention_mask=mask).logits
            shifted_loss(logits, batch["labels"]).backward()
            optimizer.step()
            optimizer.zero_grad()
    unbroken(audit)
    return audit


def found(audit: Audit) -> dict[str, Any]:
    return {one.rule: one for one in audit.report.findings}


def test_the_clean_adapter_is_clear() -> None:
    silent(inject(), "injected_elsewhere", "dropout_disagrees", "branch_ratio")


def test_vectors_a_place_further_in_another_row_or_hidden() -> None:
    # 12 steps of 4 rows with 2 vectors: 96. A place further, the first of each two stands where the second belongs.
    further = found(inject(place=4))
    assert set(further) == {"injected_elsewhere"}
    assert further["injected_elsewhere"].numbers == {"vectors": 96, "missing": 96, "elsewhere": 96, "hidden": 0}
    assert found(inject(row=1))["injected_elsewhere"].numbers["missing"] == 96
    assert found(inject(mask_them=True))["injected_elsewhere"].numbers == {
        "vectors": 96,
        "missing": 0,
        "elsewhere": 0,
        "hidden": 48,
    }
    silent(inject(), "injected_elsewhere")


def twice(*, dropout: float = 0.1, anew: bool = True) -> Audit:
    """Train with the adapter's output in two places; `anew`: it is computed for each."""
    torch.manual_seed(0)
    whole = Whole(Adapter(dropout=dropout))
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-3)
    with Audit(whole, optimizer, quiet=True).watch(adapter=whole.adapter) as audit:
        for number in range(12):
            batch, vectors = rows(4, number), torch.randn(4, 8)
            made = whole.adapter(vectors)
            again = whole.adapter(vectors) if anew else made
            embeds = torch.cat([made, whole.lm.get_input_embeddings()(batch["input_ids"])[:, 2:]], dim=1)
            logits = whole.lm(inputs_embeds=embeds, attention_mask=batch["attention_mask"]).logits
            (shifted_loss(logits, batch["labels"]) + again.square().mean()).backward()
            optimizer.step()
            optimizer.zero_grad()
    unbroken(audit)
    return audit


def test_an_adapter_that_runs_twice_under_different_dropout() -> None:
    different = found(twice())
    assert set(different) == {"dropout_disagrees"}
    assert different["dropout_disagrees"].numbers == {"runs": 24, "repeated": 12, "disagreeing": 12}
    silent(twice(dropout=0.0), "dropout_disagrees")
    silent(twice(anew=False), "dropout_disagrees")


def test_a_branch_that_drowns_the_residual() -> None:
    drowned = found(inject(branch=91.0))
    assert set(drowned) == {"branch_ratio"}
    # Both layers begin alike but for the factor, so that the ratio is near it.
    assert float(drowned["branch_ratio"].numbers["median_at_first"]) == pytest.approx(91, rel=0.3)
    silent(inject(branch=1.0), "branch_ratio")


def lora(*, trained: bool) -> Loop:
    """The input embedding is trained (and saved with the adapter), and the low rank branches beside it or not."""
    from peft import LoraConfig, get_peft_model

    saved = ["embed_in"]
    config = LoraConfig(r=4, target_modules=["query_key_value"], modules_to_save=saved, task_type="CAUSAL_LM")
    model = get_peft_model(make_model(), config)
    for name, p in model.named_parameters():
        p.requires_grad_("modules_to_save" in name or (trained and "lora_" in name))
    return Loop(
        model=model, optimizer=lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-3)
    )


def test_a_low_rank_branch_that_stays_0() -> None:
    assert set(findings(lora(trained=False))) == {"branch_ratio"}
    silent(audited(lora(trained=True)), "branch_ratio", "frozen_changes")


def test_a_frozen_tensor_that_changes() -> None:
    def frozen(*, written: bool) -> Audit:
        """The input embedding is frozen, and its norm is computed before each forward pass: in place, if `written`."""
        model = make_model()
        embedding = model.get_input_embeddings().weight.requires_grad_(False)
        trained = [p for p in model.parameters() if p.requires_grad]

        def norms(_: Audit, number: int) -> None:
            with torch.no_grad():
                norm = embedding.norm(dim=-1, keepdim=True) + 1e-3
                embedding.div_(norm) if written else embedding / norm

        return audited(Loop(model=model, optimizer=lambda _: torch.optim.AdamW(trained, lr=1e-3)), norms)

    changed = found(frozen(written=True))
    assert "embed_in" in changed["frozen_changes"].statement
    silent(frozen(written=False), "frozen_changes")


def prompted(*, twice: bool, accumulation: int = 4) -> Audit:
    """P-tuning: an encoder of prompt vectors whose input never changes, run once for each micro-batch, or twice."""
    torch.manual_seed(0)
    whole = Whole(Adapter(dropout=0.1))
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-3)
    same = torch.ones(4, 8)
    with Audit(whole, optimizer, quiet=True).watch(adapter=whole.adapter, accumulation=accumulation) as audit:
        for number in range(12 * accumulation):
            batch, made = rows(4, number), whole.adapter(same)
            beside = whole.adapter(same).square().mean() if twice else 0.0
            embeds = torch.cat([made, whole.lm.get_input_embeddings()(batch["input_ids"])[:, 2:]], dim=1)
            logits = whole.lm(inputs_embeds=embeds, attention_mask=batch["attention_mask"]).logits
            ((shifted_loss(logits, batch["labels"]) + beside) / accumulation).backward()
            if (number + 1) % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
    return audit


def test_an_encoder_of_a_constant_prompt_has_a_mask_for_each_micro_batch() -> None:
    # 12 steps of 4 micro-batches, each with two runs.
    assert set(found(prompted(twice=True))) == {"dropout_disagrees"}
    assert found(prompted(twice=True))["dropout_disagrees"].numbers["repeated"] == 48
    assert found(prompted(twice=False)) == {}


class Encoders(torch.nn.Module):
    """A language model with a frozen embedding beside it, that is `kept` in a way in each forward pass."""

    def __init__(self, kept: str, rate: float) -> None:
        super().__init__()
        self.lm, self.kept, self.rate = make_model(dropout=0.0), kept, rate
        self.slow = copy.deepcopy(self.lm.get_input_embeddings()).requires_grad_(False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        source = self.lm.get_input_embeddings().weight
        with torch.no_grad():
            if self.kept == "average":
                self.slow.weight.lerp_(source, self.rate)
            elif self.kept == "decays":
                self.slow.weight.mul_(1 - self.rate)
        return self.lm(input_ids, attention_mask=attention_mask)


def trains(model: torch.nn.Module, **settings: Any) -> Loop:
    return Loop(
        model=model,
        optimizer=lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-3),
        **settings,
    )


@pytest.mark.parametrize("rate", [0.1, 1e-3, 1e-4])
def test_a_momentum_encoder_inside_the_module(rate: float) -> None:
    silent(audited(trains(Encoders("average", rate))), "frozen_changes")
    assert set(found(audited(trains(Encoders("decays", rate))))) == {"frozen_changes"}


def rotating(*, momentum: float = 0.9, clear: bool = True, back: bool = True) -> Audit:
    """One of three layers is trained for four steps, then the next one; at the end the first one again, or the last."""
    torch.manual_seed(0)
    model = make_model(layers=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, weight_decay=0.01)
    chosen = [0] * 4 + [1] * 4 + [2] * 4 + ([0] if back else [2]) * 2
    for at, layer in enumerate(model.gpt_neox.layers):
        layer.requires_grad_(at == 0)
    model.train()
    with Audit(model, optimizer, quiet=True) as audit:
        for number, choice in enumerate(chosen):
            for at, layer in enumerate(model.gpt_neox.layers):
                layer.requires_grad_(at == choice)
            model(**rows(4, number)).loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=clear)
    unbroken(audit)
    return audit


def test_layers_that_are_frozen_by_turns() -> None:
    for back in (True, False):
        assert "frozen_changes" not in found(rotating(back=back))
    late = found(rotating(clear=False))["frozen_changes"]
    assert "goes on moving" in late.statement
    assert "set_to_none=True" in late.remedy
