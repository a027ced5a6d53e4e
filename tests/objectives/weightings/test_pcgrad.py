"""Gradients are given by hand; a step is compared with one that projects whole vectors."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.objectives.weightings.pcgrad import PcGrad
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.train.loop import step_gradients
from ontogeny.train.separate_gradients import SeparateGradients
from tests.objectives.weightings.weighted_runs import TERMS, session_of, weighted_recipe
from tests.small_runs import differences, interrupt_and_resume, tree


def test_two_conflicting_gradients_by_hand() -> None:
    """g1 = (1, 0), g2 = (-1, 1): g1.g2 = -1, |g1|^2 = 1, |g2|^2 = 2.

    g1' = g1 + 1/2 g2 = (1/2, 1/2), g2' = g2 + 1 g1 = (0, 1): the sum is (1/2, 3/2) = 2 g1 + 3/2 g2.
    """
    gradients = np.array([[1.0, 0.0], [-1.0, 1.0]])
    found = PcGrad().coefficients(gradients @ gradients.T, seed=0)
    assert found == pytest.approx([2.0, 1.5])
    assert found @ gradients == pytest.approx([0.5, 1.5])


def test_gradients_that_agree_are_left_alone() -> None:
    """(1, 0) and (1, 1) have the product 1, and a gradient of 0 conflicts with none."""
    gradients = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert PcGrad().coefficients(gradients @ gradients.T, seed=0).tolist() == [1.0, 1.0, 1.0]


def projected(gradients: np.ndarray, orders: list[np.ndarray]) -> np.ndarray:
    """Algorithm 1 of the paper on whole vectors."""
    total = np.zeros(gradients.shape[1])
    for i, order in enumerate(orders):
        own = gradients[i].copy()
        for j in order:
            if j != i and own @ gradients[j] < 0:
                own -= own @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
        total += own
    return total


def test_products_are_enough() -> None:
    """Four random gradients in 7 dimensions: the coefficients give what projecting the vectors gives."""
    for seed in range(20):
        gradients = np.random.default_rng(100 + seed).normal(size=(4, 7))
        generator = np.random.default_rng(seed)
        orders = [generator.permutation(4) for _ in range(4)]
        found = PcGrad().coefficients(gradients @ gradients.T, seed=seed)
        assert found @ gradients == pytest.approx(projected(gradients, orders))
        assert (found >= 1).all()


def test_the_step_follows_the_projected_sum_whatever_the_accumulation(texts: Path) -> None:
    """A conflict is planted: l2_start pulls back with a weight of 3000 from where text pulled the weights to.

    In one piece or in three, `.grad` is sum c_i w_i g_i of the plain gradients, and not their sum.
    """
    whole, cut, plain = (
        session_of(weighted_recipe(texts, weighting=weighting, train={"steps": 4, "batch": 6, "accumulate": pieces}))
        for weighting, pieces in (("pcgrad", 1), ("pcgrad", 3), ("fixed", 1))
    )
    for session in (whole, cut, plain):
        with torch.no_grad():
            for p in session.model.parameters():
                p.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    taken = [step_gradients(session) for session in (whole, cut, plain)]
    grads = [torch.cat([p.grad.flatten() for p in s.model.parameters()]) for s in (whole, cut, plain)]
    assert taken[0].coefficients == pytest.approx(taken[1].coefficients, rel=1e-4)
    assert grads[0].numpy() == pytest.approx(grads[1].numpy(), abs=2e-6 * float(grads[0].abs().max()) + 1e-6)
    assert taken[0].loss == pytest.approx(taken[2].loss, rel=1e-6), "the objective is the one before projection"
    assert max(taken[0].coefficients.values()) > 1
    assert not torch.allclose(grads[0], grads[2], rtol=1e-2)


def test_one_gradient_of_all_terms_is_the_plain_one(texts: Path) -> None:
    """With coefficients of 1 the separate way gives the gradient of the sum, modules of terms counted in."""
    session = session_of(weighted_recipe(texts, weighting="pcgrad"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PcGrad, "coefficients", lambda self, products, seed: np.ones(len(products)))
        step_gradients(session)
    ours = [p.grad.clone() for group in session.optimizer.param_groups for p in group["params"]]
    fixed = session_of(weighted_recipe(texts, weighting="fixed"))
    step_gradients(fixed)
    theirs = [p.grad for group in fixed.optimizer.param_groups for p in group["params"]]
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)
    assert SeparateGradients(session)._others, "hidden has a projection of its own"


@pytest.mark.parametrize("weighting", ["pcgrad", "fixed"])
def test_what_a_term_of_weight_0_trains_for_itself_stays_as_it_is(texts: Path, weighting: str) -> None:
    """The projection of `hidden` gets no gradient, so that neither decay nor momentum moves it; the model gets one."""
    silent = [term | {"weight": 0.0} if term["kind"] == "hidden" else term for term in TERMS]
    train = {"steps": 4, "batch": 6, "accumulate": 2}
    session = session_of(weighted_recipe(texts, weighting=weighting, objective=silent, train=train))
    step_gradients(session)
    assert [p.grad for p in session.modules["hidden"].parameters()] == [None] * len(list(session.modules.parameters()))
    assert all(p.grad is not None for p in session.model.parameters())


@pytest.mark.slow
def test_a_run_records_effective_weights_and_resumes_exactly(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = weighted_recipe(texts, weighting="pcgrad")
    run = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    weights = {term["kind"]: run.series(f"weight_{term['kind']}", "train")["value"].to_numpy() for term in TERMS}
    for term in TERMS:
        assert (weights[term["kind"]] >= term["weight"] * (1 - 1e-12)).all(), "c is at least 1"
    again = interrupt_and_resume(recipe, tmp_path / "again", 5, monkeypatch)
    assert differences(run.path, again.path) == []


def test_one_term_has_nothing_to_be_weighed_against(texts: Path) -> None:
    with pytest.raises(RecipeError, match=r"pcgrad weighs terms against one another.*one term"):
        validate(tree(texts, weighting="pcgrad"), "test")


def test_parameters_that_are_added_have_gradients_of_their_own() -> None:
    """a + b gives both one gradient tensor. Two micro-batches, of 1 and of 2 per entry, make 3 for each of them."""
    model = torch.nn.Module()
    model.a, model.b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    session: Any = SimpleNamespace(
        model=model,
        optimizer=SimpleNamespace(param_groups=[{"params": list(model.parameters())}]),
        objective=SimpleNamespace(weighting=PcGrad()),
        train=SimpleNamespace(seed=0),
        step=0,
    )
    separate = SeparateGradients(session)
    for factor in (1.0, 2.0):
        separate.add({"one term": ((model.a + model.b) * factor).sum()})
    separate.combine()
    assert [p.grad.tolist() for p in model.parameters() if p.grad is not None] == [[3.0, 3.0], [3.0, 3.0]]
