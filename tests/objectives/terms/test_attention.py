"""Distillation of attention: rows, heads and layers that are compared."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ontogeny.core.errors import OntogenyError
from ontogeny.objectives.terms.attention import Attention, shared_heads
from tests.objectives.terms.pairs import (
    accumulation_error,
    built,
    double,
    frozen,
    neox,
    random_passages,
    slope_error,
    student,
    teacher,
    truncated,
    value,
)


def by_definition(model: Any, master: Any, pairs: list[tuple[int, int]], heads: dict[int, list[int]]) -> float:
    """Per supervised token: mean over pairs of layers and heads of KL(teacher || student), in numpy, no padding."""
    total = tokens = 0.0
    for passage in random_passages():
        ids = torch.from_numpy(passage.token_ids.astype(np.int64))[None]
        with torch.no_grad():
            ours, theirs = (m(ids, output_attentions=True).attentions for m in (model, master))
        for t in range(1, len(passage)):
            if not passage.supervised[t]:
                continue
            tokens += 1
            for i, j in pairs:
                for head, masters in heads.items():
                    q = ours[i - 1][0, head, t - 1, :t].double().numpy()
                    p = np.mean([theirs[j - 1][0, h, t - 1, :t].double().numpy() for h in masters], axis=0)
                    total += (p * np.log(p / q)).sum() / len(pairs) / len(heads)
    return total / tokens


def test_by_definition_with_the_default_maps_and_given_ones() -> None:
    """Two heads of ours, four of theirs: the first learns the mean of 1 and 2, the second of 3 and 4."""
    model, master = student(), teacher()
    default = built(Attention(), model, master)
    expected = by_definition(model, master.model, [(1, 2), (2, 4)], {0: [0, 1], 1: [2, 3]})
    assert expected > 0.01
    assert value(default, model, random_passages()) == pytest.approx(expected, rel=1e-4)
    given = built(Attention(layers=((2, 4),), heads=((2, 1), (2, 4))), model, master)
    expected = by_definition(model, master.model, [(2, 4)], {1: [0, 3]})
    assert value(given, model, random_passages()) == pytest.approx(expected, rel=1e-4)


def test_heads_by_hand() -> None:
    """2 of 4: 0-1, 2-3. 4 of 2: each of theirs for two of ours. 2 of 3: 0, then 1-2."""
    assert [list(shared_heads(i, 2, 4)) for i in range(2)] == [[0, 1], [2, 3]]
    assert [list(shared_heads(i, 4, 2)) for i in range(4)] == [[0], [0], [1], [1]]
    assert [list(shared_heads(i, 2, 3)) for i in range(2)] == [[0], [1, 2]]


def test_a_student_that_is_the_teacher_has_nothing_to_learn() -> None:
    model = student()
    assert 0 <= value(built(Attention(), model, frozen(student())), model, random_passages()) < 1e-9
    assert value(built(Attention(), model, frozen(neox(seed=2))), model, random_passages()) > 1e-3


def test_every_setting_changes_the_loss() -> None:
    model, passages = student(), random_passages()
    both = teacher(), replace(teacher(8), name="other")
    plain = value(built(Attention(), model, *both), model, passages)
    for term in (Attention(teacher="other"), Attention(layers=((2, 4),)), Attention(heads=((1, 1), (2, 2)))):
        assert abs(value(built(term, model, *both), model, passages) - plain) > 1e-3 * plain
    written_out = Attention(layers=((1, 2), (2, 4)), heads=((1, 1), (1, 2), (2, 3), (2, 4)))
    assert value(built(written_out, model, *both), model, passages) == plain


def test_gradients_accumulation_padding_and_truncation() -> None:
    model, master = student(), teacher()
    objective = built(Attention(), model, master)
    assert accumulation_error(objective, model, random_passages()) < 1e-5
    cut, masked = truncated(random_passages(1, seed=3)[0], 4)
    assert value(objective, model, [cut]) == pytest.approx(value(objective, model, [masked]), rel=1e-4)
    double(model, master.model)
    # eager attention takes its softmax in float32, so steps are long and digits few; the next test has all digits
    assert slope_error(objective, model, random_passages(2), step=1e-3) < 0.02
    assert all(p.grad is None for p in master.model.parameters())


def test_gradients_by_the_probabilities_are_those_of_finite_differences() -> None:
    """In float64, over logits of attention; the last key is hidden from all, with probability 0 on both sides."""
    supervised = torch.tensor([[False, True, True, False], [False, False, True, True]])
    generator = torch.Generator().manual_seed(0)
    hidden = torch.zeros(4, dtype=torch.float64).index_fill(0, torch.tensor([3]), -float("inf"))
    theirs = tuple(
        (torch.randn(2, 4, 4, 4, generator=generator, dtype=torch.float64) + hidden).softmax(-1) for _ in "ab"
    )

    def summed(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        ours = tuple((logits + hidden).softmax(-1) for logits in (first, second))
        teachers = {"teacher": SimpleNamespace(attentions=theirs)}
        forward: Any = SimpleNamespace(attentions=ours, companions=teachers, supervised=supervised)
        return Attention().value(forward)[0]

    leaves = [torch.randn(2, 2, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in "ab"]
    assert torch.autograd.gradcheck(summed, leaves)
    assert summed(*leaves).item() > 0


def test_dropout_on_attention_is_refused_in_training() -> None:
    """Models return probabilities after dropout; in evaluation there is none."""
    model = student(dropout=0.5)
    objective = built(Attention(), model, teacher())
    assert value(objective, model, random_passages()) > 0
    with pytest.raises(OntogenyError, match=r"do not add up to 1, as after dropout: write train.dropout: 0"):
        value(objective, model.train(), random_passages())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"heads": [[3, 1]]}, "compares head 3 .* heads 1 to 2, the teacher 1 to 4"),
        ({"heads": [[1, 0]]}, "the teacher's head 0"),
        ({"layers": [[1, 1]]}, "end the map with"),
    ],
)
def test_heads_and_layers_that_are_not_there_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(OntogenyError, match=why):
        built(Attention.model_validate_json(json.dumps(settings)), student(), teacher())


def test_pairs_that_cannot_work_are_refused() -> None:
    with pytest.raises(OntogenyError, match="'attention' compares attention of the same tokens"):
        built(Attention(), student(), replace(teacher(), tokenizer=object()))
    with pytest.raises(ValidationError, match=r"heads \[1, 1\] stand twice"):
        Attention(heads=((1, 1), (1, 1)))
