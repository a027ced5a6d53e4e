"""Terms are added in one place, with the weights of the step, in training as in evaluation."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import Progress
from ontogeny.core.schedule import Schedule, Scheduled
from ontogeny.core.terms import Term, TermNeed, Unit
from ontogeny.objectives.compose import Objective, count_units
from ontogeny.objectives.forward import ModelForward
from ontogeny.objectives.terms.next_token import NextToken
from tests.measures.small import passage


class Squared(Term):
    """Sum of squared logits, per example: a stand-in with another unit and a schedule."""

    weight: Scheduled = Schedule(shape="linear", value=1.0)
    """Falls from 1 to 0."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"nll"})

    def value(self, forward: Any) -> tuple[torch.Tensor, Unit]:
        return (forward.nll**2).sum(), "examples"


def batch() -> SimpleNamespace:
    return SimpleNamespace(
        passages=[
            passage([0, 0, 0], supervised=[False, True, True]),
            passage([0, 0, 0], supervised=[True, True, False]),
        ],
        input_ids=torch.zeros(2, 3, dtype=torch.int64),
        nll=torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 0.0]], requires_grad=True),
        supervised=torch.tensor([[False, True, True], [False, True, False]]),
    )


HALF = Progress(step=5, total_steps=10, epoch=0.5)


def test_weighted_sum_by_hand() -> None:
    objective = Objective([NextToken(), Squared()])
    loss, parts = objective.train_loss(batch(), HALF, {"tokens": 3.0, "examples": 2.0, "batch": 1.0})
    # next_token: (1 + 2 + 3) / 3 = 2; squared: (1 + 4 + 9) / 2 = 7, weighted 1 - 5/10 = 0.5
    assert parts["next_token"].item() == pytest.approx(2.0)
    assert parts["test_compose"].item() == pytest.approx(7.0)
    assert loss.item() == pytest.approx(2.0 + 0.5 * 7.0)


def test_a_listener_hears_terms_with_their_graph_and_changes_nothing() -> None:
    objective, heard = Objective([NextToken(), Squared()]), list[Any]()
    objective.listeners.append(lambda *told: heard.append(told))
    loss, _ = objective.train_loss(batch(), HALF, {"tokens": 3.0, "examples": 2.0, "batch": 1.0})
    shares, weights, total = heard[0]
    assert total is loss
    assert weights == {"next_token": 1.0, "test_compose": 0.5}
    assert all(share.requires_grad for share in shares.values())
    assert loss.item() == pytest.approx(5.5)


def test_evaluation_has_the_same_weights_as_the_step_it_stands_at() -> None:
    objective = Objective([NextToken(), Squared()])
    forward = batch()
    # a byte per token; the first of a passage is not predicted, so 2 + 1 bytes are
    assert count_units(forward) == {"tokens": 3.0, "bytes": 3.0, "examples": 2.0, "batch": 1.0}
    value, terms = objective.combine(objective.sums(forward, HALF), HALF)
    trained, _ = objective.train_loss(forward, HALF, count_units(forward))
    assert value == pytest.approx(trained.item())
    assert terms == {"next_token": pytest.approx(2.0), "test_compose": pytest.approx(7.0)}


def test_shares_of_micro_batches_add_up() -> None:
    objective = Objective([NextToken(), Squared()])
    units: dict[Unit, float] = {"tokens": 6.0, "examples": 4.0, "batch": 1.0}
    shares = [objective.train_loss(batch(), HALF, units)[0].item() for _ in range(2)]
    whole = objective.train_loss(batch(), HALF, count_units(batch()))[0].item()
    assert sum(shares) == pytest.approx(whole)


def test_two_terms_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="share a name"):
        Objective([NextToken(), NextToken()])


def test_training_nll_is_shifted_once_and_masked() -> None:
    """Against the definition: -log softmax of the logits before the token."""
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 5)
    model = SimpleNamespace(seen=None)

    def call(input_ids: torch.Tensor, attention_mask: Any, use_cache: bool) -> Any:
        model.seen = attention_mask
        return SimpleNamespace(logits=logits)

    ids = torch.tensor([[1, 2, 3, 0]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.tensor([[1, 1, 1, 0]]),
        "supervised": torch.tensor([[False, False, True, False]]),
    }
    nll = ModelForward(call, inputs).nll
    expected = -torch.log_softmax(logits[0, 1].double(), -1)[3]
    assert nll[0, 2].item() == pytest.approx(expected.item(), rel=1e-6)
    assert nll[0, [0, 1, 3]].tolist() == [0.0, 0.0, 0.0]
    assert model.seen is not None
    ModelForward(call, inputs | {"attention_mask": torch.ones(1, 4)}).output  # noqa: B018
    assert model.seen is None, "without padding no mask is passed"


class Built(Squared):
    """A term with a part of its own, under any label."""

    def build(self, context: Any) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)


@pytest.mark.parametrize("label", ["train", "keys", "half"])
def test_a_label_that_torch_cannot_keep_is_refused(label: str) -> None:
    """Built parts lie in a `torch.nn.ModuleDict`, whose own attributes are no keys."""
    context: Any = SimpleNamespace(seed=0)
    with pytest.raises(OntogenyError, match=f"the loss term '{label}' has trainable parts.* give it another name"):
        Objective([Built(name=label)]).build(context)
    kept = Objective([Built(name="trained")])
    kept.build(context)
    assert list(torch.nn.ModuleDict(kept.modules)) == ["trained"]


class Teller(Term):
    """Tells what it reads first of all terms; its value does not need it."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"nll"})
    weight: Scheduled = Schedule(value=0.25)

    @property
    def details(self) -> tuple[str, ...]:
        return ("nll",)

    def value(self, forward: Any) -> tuple[torch.Tensor, Unit]:
        return torch.ones((), requires_grad=True) * len(forward.input_ids), "examples"

    def tell(self, value: torch.Tensor, forward: Any) -> dict[str, torch.Tensor]:
        return {"nll": forward.nll.sum()}


def real_forward() -> tuple[ModelForward, torch.Tensor]:
    """Of a model that is one tensor of logits."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5, requires_grad=True)
    inputs = {"input_ids": torch.tensor([[1, 2, 3, 0], [4, 3, 2, 1]]), "attention_mask": torch.ones(2, 4)}
    inputs["supervised"] = torch.tensor([[False, True, True, False], [False, True, False, True]])

    def model(**given: Any) -> Any:
        return SimpleNamespace(logits=logits)

    return ModelForward(model, inputs), logits


def test_what_a_term_tells_is_a_share_too_and_costs_others_no_gradient() -> None:
    forward, logits = real_forward()
    objective = Objective([Teller(name="teller"), NextToken()])
    loss, parts = objective.train_loss(forward, HALF, {"tokens": 4.0, "examples": 2.0, "batch": 1.0})
    assert list(parts) == ["teller", "next_token", "teller_nll"]
    assert not parts["teller_nll"].requires_grad
    # told per example, of which there are 2; the term itself per token, of which there are 4
    assert parts["teller_nll"].item() == pytest.approx(2 * parts["next_token"].item(), rel=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0
    _, evaluated = objective.combine(objective.sums(real_forward()[0], HALF), HALF)
    assert evaluated == {name: pytest.approx(value.item()) for name, value in parts.items()}


def test_a_term_of_weight_0_is_not_computed_in_training() -> None:
    """Not even where its value is no number; evaluation computes it, and keeps it out of the objective."""

    class Broken(Term):
        weight: Scheduled = Schedule(value=0.0)

        def value(self, forward: Any) -> tuple[torch.Tensor, Unit]:
            return torch.tensor(float("nan")), "tokens"

    objective = Objective([NextToken(), Broken(name="broken")])
    loss, parts = objective.train_loss(batch(), HALF, {"tokens": 3.0, "examples": 2.0, "batch": 1.0})
    assert (loss.item(), list(parts)) == (pytest.approx(2.0), ["next_token"])
    value, terms = objective.combine(objective.sums(batch(), HALF), HALF)
    assert value == pytest.approx(2.0)
    assert terms["broken"] != terms["broken"]
    objective.set_weight("broken", 1.0)
    assert torch.isnan(objective.train_loss(batch(), HALF, {"tokens": 3.0, "examples": 2.0, "batch": 1.0})[0])


def test_a_detail_that_is_called_as_a_term_is_refused() -> None:
    with pytest.raises(ValueError, match="share a name"):
        Objective([Teller(name="teller"), NextToken(name="teller_nll")])


def test_a_term_sees_where_training_stands() -> None:
    class Clock(Term):
        def value(self, forward: Any) -> tuple[torch.Tensor, Unit]:
            return torch.tensor(float(forward.progress.step), requires_grad=True), "batch"

    objective = Objective([Clock(name="clock")])
    for step in (3, 7):
        progress = Progress(step=step, total_steps=10, epoch=0.0)
        assert objective.train_loss(batch(), progress, {"tokens": 3.0, "batch": 1.0})[1]["clock"] == step
        assert objective.sums(batch(), progress)["clock"] == (step, 1.0)
