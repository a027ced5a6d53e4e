"""Faults of composite losses, each beside the same loop without it."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ontogeny.core.verdicts import Finding
from ontogeny.integrations.audit import recorder_terms
from ontogeny.integrations.audit.recorder_terms import TermsRecorder, some_of
from ontogeny.integrations.audit.seen import NLL, LossTerms
from ontogeny.integrations.audit.session import Audit
from tests.audit.composite import Composite, Term, z_loss
from tests.audit.judging import audited, silent
from tests.audit.loops import Loop, make_model, rows, shifted_loss

pytestmark = pytest.mark.slow


TERMS = {
    "total_is_the_sum",
    "constant_term",
    "term_not_finite",
    "term_detached",
    "weight_of_zero",
    "gradient_shares",
    "terms_in_conflict",
    "term_against_nll",
}


def of(composite: Composite, **settings: Any) -> dict[str, Finding]:
    """What is found about the terms."""
    report = audited(Loop(loss=composite, **settings), composite.hear).report
    return {one.rule: one for one in report.findings if one.rule in TERMS}


def twin(composite: Composite, *clear: str, **settings: Any) -> None:
    """Nothing is found of any kind."""
    silent(audited(Loop(loss=composite, **settings), composite.hear), *clear)


def test_the_clean_composite_is_clear() -> None:
    twin(Composite(), *TERMS)
    twin(Composite(), *TERMS, accumulation=2)


def test_a_total_with_other_weights() -> None:
    found = of(Composite(added={"lm": 1.0, "z": 0.5}))
    assert set(found) == {"total_is_the_sum"}
    numbers = found["total_is_the_sum"].numbers
    assert float(numbers["total"]) > float(numbers["sum"])
    twin(Composite(added={"lm": 1.0, "z": 0.05}), "total_is_the_sum")


def info_nce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of row means, with the diagonal masked and used as the target: seed 000's."""
    pooled = F.normalize(logits.mean(1), dim=-1)
    scores = (pooled @ pooled.T / 0.1).masked_fill(torch.eye(len(pooled)).bool(), -1e9)
    return F.cross_entropy(scores, torch.arange(len(pooled)))


def sound_info_nce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Halves of a row belong together."""
    one, other = (F.normalize(half.mean(1), dim=-1) for half in logits.chunk(2, dim=1))
    return F.cross_entropy(one @ other.T / 0.1, torch.arange(len(one)))


def test_info_nce_whose_target_is_masked() -> None:
    def contrasting(term: Term) -> Composite:
        return Composite(terms={"lm": shifted_loss, "nce": term}, weights={"lm": 1.0, "nce": 0.1})

    found = of(contrasting(info_nce))
    # exp(-1e9) is 0 beside the other scores: -log softmax = 1e9 whatever the scores are.
    assert found["constant_term"].numbers["nce"] == pytest.approx(1e9)
    assert "masked" in found["constant_term"].statement
    twin(contrasting(sound_info_nce), "constant_term")


def test_a_term_of_nan() -> None:
    def balanced(sign: int) -> Composite:
        """The logarithm of the least logit, which is below 0, or of its negative."""
        return Composite(
            terms={"lm": shifted_loss, "balance": lambda logits, _: (sign * logits.min()).log()},
            weights={"lm": 1.0, "balance": 0.1},
        )

    assert "12 of 12" in of(balanced(1))["term_not_finite"].statement
    twin(balanced(-1), "term_not_finite")


def test_a_term_without_a_graph() -> None:
    def with_z(z: Term) -> Composite:
        return Composite(terms={"lm": shifted_loss, "z": z})

    found = of(with_z(lambda logits, labels: z_loss(logits.detach(), labels)))
    assert "'z'" in found["term_detached"].statement
    twin(with_z(z_loss), "term_detached")


def test_a_weight_of_zero_is_said_to_be_not_optimised() -> None:
    found = of(Composite(weights={"lm": 1.0, "z": 0.0}))
    assert set(found) == {"weight_of_zero"}
    assert "'z' is not optimised" in found["weight_of_zero"].statement
    twin(Composite(weights={"lm": 1.0, "z": 0.05}), "weight_of_zero")


def test_a_term_too_small_to_matter() -> None:
    found = of(Composite(weights={"lm": 1.0, "z": 1e-7}))
    assert set(found) == {"gradient_shares"}
    assert float(found["gradient_shares"].numbers["z"]) < 1e-3
    twin(Composite(weights={"lm": 1.0, "z": 0.05}), "gradient_shares")


def test_a_term_that_undoes_the_other() -> None:
    def drifting(factor: int) -> Composite:
        return Composite(
            terms={"lm": shifted_loss, "drift": lambda logits, labels: factor * shifted_loss(logits, labels)},
            weights={"lm": 1.0, "drift": 0.1},
        )

    found = of(drifting(-2))
    # The gradient of -2 L is -2 times that of L: cosine -1 with the term, and with the plain NLL.
    assert found["terms_in_conflict"].numbers["cosine lm / drift"] == pytest.approx(-1, abs=1e-6)
    assert found["term_against_nll"].numbers["cosine drift"] == pytest.approx(-1, abs=1e-5)
    assert found["term_against_nll"].numbers["cosine lm"] == pytest.approx(1, abs=1e-5)
    twin(drifting(2), "terms_in_conflict", "term_against_nll")


def test_a_penalty_that_holds_the_model_at_its_start_is_no_conflict() -> None:
    def held(weight: float, *, away: float) -> tuple[Composite, Any]:
        """Pulled to its start, or to a place `away` from it in every direction."""
        model, draw = make_model(), torch.Generator().manual_seed(1)
        there = [p.detach() + away * torch.randn(p.shape, generator=draw) for p in model.parameters()]

        def distance(*_: torch.Tensor) -> torch.Tensor:
            parts = [(p - place).square().sum() for p, place in zip(model.parameters(), there, strict=True)]
            return torch.stack(parts).sum() / 2

        terms: dict[str, Term] = {"lm": shifted_loss, "z": z_loss, "l2": distance}
        return Composite(terms=terms, weights={"lm": 1.0, "z": 0.05, "l2": weight}), model

    # A pull so weak is a finding where it leads away from the start.
    faulty, model = held(1e-7, away=0.3)
    assert "gradient_shares" in of(faulty, model=model)
    for weight in (1e-7, 1e-4):
        clean, model = held(weight, away=0.0)
        twin(clean, "gradient_shares", "terms_in_conflict", model=model)


def test_shares_by_hand() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    kept: list[LossTerms] = []
    recorder = TermsRecorder(model, kept)
    first, second = model(torch.tensor([3.0, 4.0])).sum(), model(torch.tensor([4.0, -3.0])).sum()
    recorder.take({"terms": {"a": first, "b": second, "c": first + second}}, step=0, looking=True, every=10)
    # Gradients (3, 4), (4, -3), (7, 1): norms 5, 5, sqrt(50); a.b = 0, a.c = 25 / (5 sqrt 50) = 1 / sqrt 2.
    assert kept[0].norms == pytest.approx({"a": 5, "b": 5, "c": 50**0.5})
    assert kept[0].cosines == pytest.approx({("a", "b"): 0, ("a", "c"): 0.5**0.5, ("b", "c"): 0.5**0.5}, abs=1e-7)
    assert model.weight.grad is None


def test_the_sample_of_tensors_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_terms, "MOST_NUMBERS", 100)
    tensors = [torch.zeros(size) for size in (101, 60, 60, 30, 30)]
    # 101 is too large alone; of the others 180 numbers, every second one: 60 + 30.
    assert [t.numel() for t in some_of(tensors)] == [60, 30]


@pytest.mark.parametrize("accumulation", [1, 3])
def test_bit_identical_with_and_without(accumulation: int) -> None:
    def trained(composite: Composite, *, watch: bool) -> tuple[list[bytes], bytes]:
        loop = Loop(loss=composite, accumulation=accumulation, clip=0.5)
        if watch:
            audited(loop, composite.hear)
        else:
            loop.run()
        return [p.detach().numpy().tobytes() for p in loop.model.parameters()], torch.get_rng_state().numpy().tobytes()

    watched = Composite()
    assert trained(watched, watch=True) == trained(Composite(), watch=False)
    assert watched.audit is not None


def test_a_graph_that_cannot_be_walked_twice_costs_only_the_gradients() -> None:
    def broken(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        class Once(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
                return value.clone()

            @staticmethod
            def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
                if composite.audit is not None and composite.audit._recorder._terms.differentiating:
                    raise RuntimeError("Checkpointing is not compatible with .grad()")
                return gradients[0]

        return Once.apply(shifted_loss(logits, labels))

    composite = Composite(terms={"lm": broken, "z": z_loss})
    report = audited(Loop(loss=composite), composite.hear).report
    lacking = {one.rule for one in report.verdicts if one.verdict == "not assessable"}
    assert lacking >= {"gradient_shares", "terms_in_conflict", "term_against_nll"}
    assert "total_is_the_sum" not in lacking


def test_the_plain_nll_counts_neither_prompt_nor_padding() -> None:
    model = make_model(dropout=0.0)
    batch = rows(4, 0)
    logits = model(batch["input_ids"], batch["attention_mask"]).logits
    targets = recorder_terms.plain_targets({**batch, "labels": None}, logits)
    assert targets is not None
    assert torch.equal(targets, batch["labels"])
    masked = batch["labels"].where(torch.arange(20) > 5, -100)
    assert torch.equal(recorder_terms.plain_targets({**batch, "labels": masked}, logits), masked)
    kept: list[LossTerms] = []
    recorder = TermsRecorder(model, kept)
    recorder.remember(logits, targets)
    recorder.take({"terms": {"lm": shifted_loss(logits, batch["labels"])}}, step=0, looking=True, every=10)
    assert kept[0].cosines["lm", NLL] == pytest.approx(1, abs=1e-6)
    assert kept[0].norms["lm"] == pytest.approx(kept[0].norms[NLL], rel=1e-6)


def masked_info_nce(fill: float, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    pooled = F.normalize(logits.mean(1), dim=-1)
    scores = (pooled @ pooled.T / 0.1).masked_fill(torch.eye(len(pooled)).bool(), fill)
    return F.cross_entropy(scores, torch.arange(len(pooled)))


@pytest.mark.parametrize("fill", [-1e4, -65504.0, float("-inf"), torch.finfo(torch.float32).min])
def test_info_nce_with_the_masks_that_people_use(fill: float) -> None:
    weights = {"lm": 1.0, "nce": 0.1}
    found = of(Composite(terms={"lm": shifted_loss, "nce": partial(masked_info_nce, fill)}, weights=weights))
    which = "constant_term" if fill >= -1e5 else "term_not_finite"
    assert "is its own target" in found[which].statement
    assert found[which].severity == "error"
    assert of(Composite(terms={"lm": shifted_loss, "nce": sound_info_nce}, weights=weights)) == {}


def test_a_large_and_steady_penalty_is_no_masked_score() -> None:
    model = make_model()
    size = sum(float(p.detach().square().sum()) for p in model.parameters())

    def penalty(*_: torch.Tensor) -> torch.Tensor:  # 10 010 at first, and a little less or more at each step
        return torch.stack([p.square().sum() for p in model.parameters()]).sum() * (10_010 / size)

    held = Composite(terms={"lm": shifted_loss, "l2": penalty}, weights={"lm": 1.0, "l2": 1e-5})
    assert "constant_term" not in of(held, model=model, optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e-3))


def projected(*, optimized: str) -> set[str]:
    """A term of a projector that stands beside the model; the optimizer has it, another one, or none."""
    torch.manual_seed(0)
    model, projector = make_model(), torch.nn.Linear(16, 16)
    parameters = [*model.parameters(), *(projector.parameters() if optimized == "own" else ())]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    other = torch.optim.AdamW(projector.parameters(), lr=1e-3 if optimized == "other" else 0.0)
    model.train()
    with Audit(model, optimizer, quiet=True) as audit:
        for number in range(12):
            batch = rows(4, number)
            output = model(batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True)
            terms = {
                "lm": shifted_loss(output.logits, batch["labels"]),
                "feature": projector(output.hidden_states[-1]).square().mean(),
            }
            total = terms["lm"] + 0.1 * terms["feature"]
            audit.watch(terms=terms, weights={"lm": 1.0, "feature": 0.1}, total=total)
            total.backward()
            for one in (optimizer, other):
                one.step()
                one.zero_grad()
    assert audit.report.mishaps == ()
    statements = [one.statement for one in audit.report.findings]
    assert all("parameter [16, 16] outside the model" in one for one in statements)
    return {one.rule for one in audit.report.findings}


def test_a_projector_beside_the_model_that_no_optimizer_has() -> None:
    assert projected(optimized="none") == {"gradients_outside_the_optimizer"}
    assert projected(optimized="own") == projected(optimized="other") == set()


def test_a_term_that_is_raised() -> None:
    """A log-likelihood with a weight below 0 is the NLL; with one above 0 it is unlearned."""

    def weighted(weight: float) -> Composite:
        terms = {"log_likelihood": lambda logits, labels: -shifted_loss(logits, labels), "z": z_loss}
        return Composite(terms=terms, weights={"log_likelihood": weight, "z": 0.01})

    twin(weighted(-1.0), "term_against_nll", "terms_in_conflict")
    found = of(weighted(1.0))
    assert found["term_against_nll"].numbers["cosine log_likelihood"] == pytest.approx(-1, abs=1e-5)
