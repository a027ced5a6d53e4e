"""InfoNCE between pooled states: positives on the diagonal and in the sum."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe_file import validate
from ontogeny.objectives.terms.contrastive import Contrastive
from ontogeny.train.session import check_whole_batches
from tests.objectives.terms.pairs import (
    accumulation_error,
    built,
    double,
    frozen,
    gradient,
    neox,
    random_passages,
    slope_error,
    student,
    teacher,
    told,
    trained,
    value,
)
from tests.small_runs import tree, write_text


def pooled_forward(states: list[list[list[float]]], theirs: list[list[list[float]]]) -> Any:
    """States [B, T, D] of the student (already of the teacher's width) and of the teacher; no padding."""
    ours_tensor, theirs_tensor = torch.tensor(states), torch.tensor(theirs)
    mask = torch.ones(ours_tensor.shape[:2], dtype=torch.int64)
    master = SimpleNamespace(hidden_states=(theirs_tensor,), attention_mask=mask)
    return SimpleNamespace(
        hidden_states=(ours_tensor,), attention_mask=mask, companions={"teacher": master}, module=torch.nn.Identity()
    )


def test_by_hand() -> None:
    """Two pieces of one token, orthogonal. The right one: cosines 1 and 0, -ln(e^2 / (e^2 + 1)) at temperature 1/2.

    Exchanged: the positive has cosine 0, -ln(1 / (1 + e^2)). Alike: ln 2. As batch: the sum over both passages.
    """
    right = [[[1.0, 0.0], [0.0, 3.0]]]
    term = Contrastive(window=1, temperature=0.5)
    assert term.value(pooled_forward(right, right))[0].item() == pytest.approx(math.log(1 + math.exp(-2)))
    exchanged = [[right[0][1], right[0][0]]]
    assert term.value(pooled_forward(exchanged, right))[0].item() == pytest.approx(math.log(1 + math.exp(2)))
    alike = [[[1.0, 1.0], [1.0, 1.0]]]
    assert term.value(pooled_forward(alike, right))[0].item() == pytest.approx(math.log(2))
    passages = [[[1.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]
    batch = Contrastive(among="batch", temperature=0.5)
    total, unit = batch.value(pooled_forward(passages, passages))
    assert (total.item(), unit) == (pytest.approx(2 * math.log(1 + math.exp(-2))), "examples")


def test_pieces_are_means_of_their_tokens_and_what_is_left_over_is_one() -> None:
    """Three tokens in pieces of two: (1, 0) + (0, 1) over 2, and the third alone; padding is no token."""
    term = Contrastive(window=2)
    states = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [4.0, 2.0]], [[6.0, 2.0], [9.0, 9.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert term._pooled(states, mask).tolist() == [[[0.5, 0.5], [4.0, 2.0]], [[6.0, 2.0], [0.0, 0.0]]]
    assert term._pieces(mask).tolist() == [[True, True], [True, False]]


def test_where_the_student_is_the_teacher_it_is_at_its_floor() -> None:
    model, passages = student(), random_passages()
    for term in (Contrastive(window=2), Contrastive(among="batch")):
        same = told(built(term, model, frozen(student())), model, passages)
        assert same["contrastive"] == pytest.approx(same["contrastive_floor"], rel=1e-5)
        other = told(built(term, model, frozen(neox(seed=2))), model, passages)
        assert other["contrastive"] > 1.5 * other["contrastive_floor"]


def test_every_setting_changes_the_loss() -> None:
    model, passages = student(), random_passages()
    both = teacher(), replace(teacher(8), name="other")
    plain = value(built(Contrastive(), model, *both), model, passages)
    for term in (
        Contrastive(teacher="other"),
        Contrastive(among="batch"),
        Contrastive(window=3),
        Contrastive(temperature=0.3),
    ):
        assert abs(value(built(term, model, *both), model, passages) - plain) > 1e-3 * plain
    assert value(built(Contrastive(window=8), model, *both), model, passages) == plain


@pytest.mark.parametrize("term", [Contrastive(window=2), Contrastive(among="batch")])
def test_gradients_are_those_of_finite_differences(term: Contrastive) -> None:
    model, master = student(), teacher()
    double(model, master.model)
    assert slope_error(built(term, model, master), model, random_passages(4)) < 1e-5
    assert all(p.grad is None for p in master.model.parameters())


def test_accumulation_changes_nothing_among_pieces_of_a_passage_and_all_among_passages() -> None:
    model = student()
    assert accumulation_error(built(Contrastive(window=2), model, teacher()), model, random_passages()) < 1e-5
    alone = built(Contrastive(among="batch"), model, teacher())
    assert gradient(alone, model, [[passage] for passage in random_passages(3)]).abs().max() < 1e-9


def test_accumulation_among_passages_of_a_batch_is_refused(tmp_path: Any) -> None:
    """The small recipe accumulates over 2 micro-batches."""
    content = tree(write_text(tmp_path / "words"), companions={"teacher": {"kind": "ladder", "size": "pico"}})
    content["objective"] = ["next_token", {"kind": "contrastive"}]
    assert content["train"]["accumulate"] > 1
    validate(content, "test")
    content["objective"] = ["next_token", {"kind": "contrastive", "among": "batch"}]
    with pytest.raises(Exception, match=r"(?s)'contrastive' compares the passages of a batch.*leave accumulate out"):
        validate(content, "test")
    del content["train"]["accumulate"]
    validate(content, "test")


def test_several_processes_cut_a_batch_too() -> None:
    objective = built(Contrastive(among="batch"), student(), teacher())
    check_whole_batches(objective, 1)
    with pytest.raises(OntogenyError, match="2 processes cut it into pieces: train in one process"):
        check_whole_batches(objective, 2)
    check_whole_batches(built(Contrastive(), student(), teacher()), 2)


def test_its_projection_trains_and_the_loss_falls() -> None:
    model, master, passages = student(), teacher(), random_passages()
    objective = built(Contrastive(window=2), model, master)
    first, before = value(objective, model, passages), objective.modules["contrastive"].weight.detach().clone()
    optimizer = torch.optim.Adam(trained(objective, model), lr=0.01)
    for _ in range(10):
        gradient(objective, model, [passages])
        optimizer.step()
    assert value(objective, model, passages) < 0.9 * first
    assert (objective.modules["contrastive"].weight != before).all()


def test_pairs_that_cannot_work_are_refused_and_passages_pair_across_tokenizers() -> None:
    """Whole passages have no tokens to pair: a teacher with a tokenizer of its own is taken there."""
    other = replace(teacher(), tokenizer=object())
    with pytest.raises(OntogenyError, match="'contrastive' compares pieces of the same tokens"):
        built(Contrastive(), student(), other)
    assert built(Contrastive(among="batch"), student(), other).modules
    with pytest.raises(ValidationError, match="only to among: passage"):
        Contrastive(among="batch", window=3)


def test_numbers_are_finite_with_one_piece() -> None:
    """A single piece has only its positive: 0, and no gradient."""
    model = student()
    objective = built(Contrastive(window=64), model, teacher())
    assert value(objective, model, random_passages(3)) == pytest.approx(0, abs=1e-6)
    assert gradient(objective, model, [random_passages(3)]).isfinite().all()
