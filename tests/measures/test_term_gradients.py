"""Gradients of terms against each other: planted conflicts, an independent computation, halves by document."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage
from ontogeny.core.schedule import Schedule
from ontogeny.core.terms import Term, TermNeed, Unit
from ontogeny.data.collate import collate
from ontogeny.looking.guard import untouched
from ontogeny.measures.term_gradients import TermGradients, halves_of
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.next_token import NextToken
from ontogeny.store.schema import check
from tests.measures.small import make_context, make_model, random_probe


class Against(Term):
    """The NLL with its sign turned: a term that works against the goal in every layer."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"nll"})

    def value(self, forward: Any) -> tuple[torch.Tensor, Unit]:
        return -forward.nll.sum(), "tokens"


class Aside(Term):
    """Half the squared norm of one block's weights: nothing to do with the text, and nothing in the other blocks."""

    def value(self, forward: Any) -> tuple[torch.Tensor, Unit]:
        own = [p for name, p in forward.parameters.items() if ".layers.1." in name]
        return 0.5 * torch.stack([p.square().sum() for p in own]).sum(), "batch"


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    """Twelve, of six documents, with lengths 6 to 17, written with twelve ids: so halves have something in common."""
    probe = random_probe("train", [6 + i for i in range(12)], seed=3)
    return [
        replace(passage, source=f"text:{i // 2}#{i}", token_ids=passage.token_ids % 12)
        for i, passage in enumerate(probe.passages)
    ]


def seen(batch: list[Passage], *terms: Term, model: Any = None, **settings: Any) -> Any:
    model = model or make_model(dropout=0.1, spread=1.0)
    training: Any = SimpleNamespace(next_batch=lambda: collate(batch, 0))
    context = make_context(model, [], objective=Objective(terms), training=training)
    with untouched(model):
        arrays = TermGradients(**settings).look(context).arrays
    check(arrays)
    return arrays


def test_a_term_that_works_against_the_goal_is_seen(passages: list[Passage]) -> None:
    """Everywhere exactly as far below 0 as the NLL agrees with itself between halves; the twin stays above."""
    arrays = seen(passages, NextToken(), Against(name="against", weight=Schedule(value=0.5)))
    ceiling = arrays["cosine_all"].sel(term="nll", other="nll").item()
    assert 0.05 < ceiling < 1
    assert arrays["cosine_all"].sel(term="against", other="nll").item() == pytest.approx(-ceiling, rel=1e-5)
    assert (arrays["cosine"].sel(term="against", other="nll") == -arrays["cosine"].sel(term="nll", other="nll")).all()
    assert arrays["cosine_all"].sel(term="next_token", other="nll").item() == pytest.approx(ceiling, rel=1e-6)
    # g = g_nll - 0.5 g_nll = 0.5 g_nll, so the shares are 1 / 0.5 and -0.5 / 0.5
    assert arrays["share"].sel(term="next_token").item() == pytest.approx(2.0, rel=1e-5)
    assert arrays["share"].sel(term="against").item() == pytest.approx(-1.0, rel=1e-5)


def test_a_term_that_has_nothing_to_do_with_the_text(passages: list[Passage]) -> None:
    """The same on both halves, so its ceiling is 1; it acts on its block alone, hardly along the NLL."""
    arrays = seen(passages, NextToken(), Aside(name="aside"))
    assert arrays["cosine_all"].sel(term="aside", other="aside").item() == pytest.approx(1.0, abs=1e-6)
    by_block = arrays["cosine"].sel(term="aside", other="nll")
    assert np.isfinite(by_block.sel(block=1))
    assert np.isnan(by_block.sel(block=0))
    assert abs(by_block.sel(block=1)) < 0.1
    assert arrays["share_block"].sel(term="aside", block=0) == 0


def test_shares_and_cosines_equal_an_independent_computation(passages: list[Passage]) -> None:
    """Gradients in float64 with torch's own backward, of the whole batch and of either half."""
    model = make_model(dropout=0.1).double()
    terms = (NextToken(weight=Schedule(value=0.7)), Aside(name="aside", weight=Schedule(value=0.01)))
    arrays = seen(passages, *terms, model=model)
    halves = halves_of(passages)
    model.eval()

    def gradient(term: str, examples: list[Passage]) -> torch.Tensor:
        model.zero_grad()
        total, tokens = torch.zeros((), dtype=torch.float64), 0
        for passage in examples:
            ids = torch.from_numpy(passage.token_ids.astype(np.int64))[None]
            total = total - model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).sum()
            tokens += len(passage) - 1
        if term == "aside":
            own = [p for name, p in model.named_parameters() if ".layers.1." in name]
            (0.5 * sum(p.square().sum() for p in own)).backward()
        else:
            (total / tokens).backward()
        return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in model.parameters()])

    a, b = ([gradient(term, half) for term in ("nll", "aside")] for half in halves)
    cosine = torch.nn.functional.cosine_similarity
    across = (cosine(a[0], b[1], dim=0) + cosine(a[1], b[0], dim=0)) / 2
    assert arrays["cosine_all"].sel(term="aside", other="nll").item() == pytest.approx(across.item(), rel=1e-6)
    own = cosine(a[0], b[0], dim=0)
    assert arrays["cosine_all"].sel(term="nll", other="nll").item() == pytest.approx(own.item(), rel=1e-6)
    parts = [0.7 * gradient("nll", list(passages)), 0.01 * gradient("aside", list(passages))]
    whole = parts[0] + parts[1]
    for label, part in zip(("next_token", "aside"), parts, strict=True):
        assert arrays["share"].sel(term=label).item() == pytest.approx(
            (part @ whole / (whole @ whole)).item(), rel=1e-6
        )
        assert arrays["norm"].sel(term=label).item() == pytest.approx(part.norm().item(), rel=1e-6)


def test_a_term_of_weight_0_is_not_looked_at(passages: list[Passage]) -> None:
    arrays = seen(passages, NextToken(), Against(name="against", weight=Schedule(value=0.0)))
    assert np.isnan(arrays["cosine_all"].sel(term="against")).all()
    assert np.isnan(arrays["share"].sel(term="against"))
    assert arrays["weight"].sel(term="against") == 0
    assert arrays["share"].sel(term="next_token").item() == pytest.approx(1.0, rel=1e-6)


def test_halves_share_no_document_and_all_passages_are_used(passages: list[Passage]) -> None:
    first, second = halves_of(passages)
    documents = [{p.source.partition("#")[0] for p in half} for half in (first, second)]
    assert len(first) == len(second) == 6
    assert not documents[0] & documents[1]
    alone = [replace(p, source=f"text:0#{i}") for i, p in enumerate(passages)]
    assert [len(half) for half in halves_of(alone)] == [6, 6]


def test_a_look_at_fewer_passages(passages: list[Passage]) -> None:
    few, all_of_them = seen(passages, NextToken(), passages=4), seen(passages[:4], NextToken())
    assert few.identical(all_of_them.assign_attrs(few.attrs))


def test_a_single_passage_has_no_halves(passages: list[Passage]) -> None:
    with pytest.raises(OntogenyError, match=r"write a larger train\.batch"):
        seen(passages[:1], NextToken())
    with pytest.raises(OntogenyError, match="needs the training itself"):
        TermGradients().look(make_context(make_model(), []))
