"""Evaluations whose numbers depend on their batches, on a seed, or on a cut; each beside the same one without it."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ontogeny.core.verdicts import Finding
from ontogeny.integrations.audit.check import all_checks
from ontogeny.integrations.audit.recorder_evaluation import USES, seeds_set
from ontogeny.integrations.audit.recorder_terms import GRADIENT_CHECKS
from ontogeny.integrations.audit.session import Audit
from tests.audit.evaluating import Evaluation
from tests.audit.judging import audited
from tests.audit.loops import PAD, Loop, make_model, rows


def of(model: Any, evaluate: Callable[..., Any]) -> dict[str, Finding]:
    return {one.rule: one for one in audited(Loop(model=model), evaluate=evaluate).report.findings}


def answers(model: Any, *, of_means: bool) -> Callable[[int], Mapping[str, float]]:
    """The loss of answers, four short ones after four long ones, with an own mask: over tokens, or a mean of means.

    The short ones are harder.
    """
    texts = [rows(1, number, length=30, shortest=30) for number in range(24)]

    def evaluate(batch_size: int = 8) -> Mapping[str, float]:
        model.eval()
        sums, counts = [], []
        with torch.no_grad():
            for start in range(0, len(texts), batch_size):
                part = texts[start : start + batch_size]
                ids = torch.cat([one["input_ids"] for one in part])
                short = torch.arange(start, start + len(part))[:, None] % 8 >= 4
                answer = torch.arange(30)[None] >= torch.where(short, 27, 5)
                logits = model(ids).logits * torch.where(short, 30, 1)[..., None]
                nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
                kept = answer[:, 1:].flatten()
                sums.append(float(nll[kept].sum()))
                counts.append(int(kept.sum()))
        model.train()
        if of_means:
            return {"eval_loss": float(np.mean(np.divide(sums, counts)))}
        return {"eval_loss": sum(sums) / sum(counts)}

    return evaluate


@pytest.mark.slow
def test_a_mean_of_means_of_an_own_loss() -> None:
    model = make_model()
    found = of(model, answers(model, of_means=True))
    assert set(found) == {"evaluation_depends_on_batch"}
    numbers = found["evaluation_depends_on_batch"].numbers
    assert (numbers["size"], numbers["other_size"]) == (8, 4)
    evaluate = answers(model, of_means=True)
    assert numbers["at_other_size"] == pytest.approx(evaluate(4)["eval_loss"], rel=1e-4)
    model = make_model()
    assert of(model, answers(model, of_means=False)) == {}


def padded(model: Any, *, left: bool, mask: bool) -> Callable[[], Mapping[str, float]]:
    def evaluate() -> Mapping[str, float]:
        model.eval()
        total = count = 0.0
        with torch.no_grad():
            for number in range(5):
                batch = rows(4, 100 + number)
                if left:
                    short = (batch["attention_mask"] == 0).sum(dim=1).tolist()
                    batch = {
                        name: torch.stack([row.roll(by) for row, by in zip(one, short, strict=True)])
                        for name, one in batch.items()
                    }
                if not mask:
                    del batch["attention_mask"]
                tokens = int((batch["labels"][:, 1:] != -100).sum())
                total, count = total + float(model(**batch).loss) * tokens, count + tokens
        model.train()
        return {"eval_loss": total / count}

    return evaluate


@pytest.mark.slow
def test_an_evaluation_that_pads_on_the_left_without_a_mask() -> None:
    """Training pads on the right, where no later token is seen: only the evaluation sees the padding."""
    model = make_model()
    found = of(model, padded(model, left=True, mask=False))
    assert set(found) == {"evaluation_depends_on_batch"}
    assert "alone and without padding" in found["evaluation_depends_on_batch"].statement
    for clean in ({"left": True, "mask": True}, {"left": False, "mask": False}):
        model = make_model()
        assert model.config.pad_token_id == PAD
        assert of(model, padded(model, **clean)) == {}


@pytest.mark.slow
def test_seeds_that_are_set_and_that_are_put_back() -> None:
    def seeds() -> None:
        random.seed(0)
        np.random.seed(0)

    def puts_back() -> None:
        states = random.getstate(), np.random.get_state()
        seeds()
        random.random()
        random.setstate(states[0])
        np.random.set_state(states[1])

    def draws() -> None:
        random.shuffle(list(range(5000)))
        np.random.rand(5000)

    model = make_model()
    found = of(model, Evaluation(model=model, before=seeds))
    assert set(found) == {"evaluation_leaves_alone"}
    assert "sets the seed of numpy, random" in found["evaluation_leaves_alone"].statement
    for clean in (puts_back, draws):
        assert of(model, Evaluation(model=model, before=clean)) == {}
    functions = random.seed, np.random.seed
    with seeds_set():
        pass
    assert (random.seed, np.random.seed) == functions


@pytest.mark.slow
def test_a_perplexity_alone_that_is_cut_off() -> None:
    model = make_model()
    found = of(model, Evaluation(model=model, after=lambda numbers: {"perplexity": 485165195.4097903}))
    assert set(found) == {"perplexity_of_nll"}
    assert "485165195.41" in found["perplexity_of_nll"].statement
    assert of(model, Evaluation(model=model, after=lambda numbers: {"perplexity": numbers["perplexity"]})) == {}


def test_an_evaluation_that_no_check_wants_is_not_carried_out() -> None:
    calls: list[int] = []
    model = make_model()
    for skip, expected in ((USES, 0), (USES - {"evaluation_counts_once"}, 1)):
        calls.clear()
        with Audit(model, torch.optim.SGD(model.parameters(), lr=0.1), skip=skip, quiet=True) as audit:
            audit.watch(evaluate=lambda: calls.append(1))
        assert len(calls) == expected


def test_what_checks_need_is_named_by_them() -> None:
    ids = {one.id for one in all_checks()}
    assert ids >= GRADIENT_CHECKS
    evaluating = {one.id for one in all_checks() if one.family == "evaluation"}
    assert evaluating - {"trained_in_evaluation_mode"} == USES
