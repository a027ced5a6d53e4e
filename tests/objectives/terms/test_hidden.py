"""Distillation of hidden states: which are compared, and what trains."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.objectives.layers import blocks_of
from ontogeny.objectives.terms.hidden import Hidden
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
    truncated,
    value,
)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_by_definition_over_the_default_layers(distance: str) -> None:
    """Two blocks and four: 1 with 2, 2 with 4. Each passage alone, position t - 1 for token t, in numpy."""
    model, master, passages = student(), teacher(), random_passages()
    objective = built(Hidden(distance=distance), model, master)
    weights = {k: p.detach().double().numpy() for k, p in objective.modules["hidden"].named_parameters()}
    assert sorted(weights) == ["1-2.weight", "2-4.weight"]
    total = tokens = 0.0
    for passage in passages:
        ids = torch.from_numpy(passage.token_ids.astype(np.int64))[None]
        with torch.no_grad():
            ours, theirs = (m(ids, output_hidden_states=True).hidden_states for m in (model, master.model))
        for t in range(1, len(passage)):
            if not passage.supervised[t]:
                continue
            tokens += 1
            for i, j in ((1, 2), (2, 4)):
                a = weights[f"{i}-{j}.weight"] @ ours[i][0, t - 1].double().numpy()
                b = theirs[j][0, t - 1].double().numpy()
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                total += ((a - b) ** 2).mean() / 2 if distance == "mse" else (1 - cosine) / 2
    assert value(objective, model, passages) == pytest.approx(total / tokens, rel=1e-4)


def test_a_student_that_is_the_teacher_has_nothing_to_learn() -> None:
    """Widths are the same, so projections are the identity; another teacher of that width is far."""
    model = student()
    for distance in ("mse", "cosine"):
        assert 0 <= value(built(Hidden(distance=distance), model, frozen(student())), model, random_passages()) < 1e-10
        other = frozen(neox(seed=2))
        assert value(built(Hidden(distance=distance), model, other), model, random_passages()) > 0.01


def test_every_setting_changes_the_loss() -> None:
    model, passages = student(), random_passages()
    both = teacher(), frozen(neox(seed=9, width=32, blocks=4), name="other")
    plain = value(built(Hidden(), model, *both), model, passages)
    for term in (Hidden(teacher="other"), Hidden(layers=((2, 4),)), Hidden(distance="cosine")):
        assert abs(value(built(term, model, *both), model, passages) - plain) > 1e-3 * plain
    written_out = Hidden(teacher="teacher", layers=((1, 2), (2, 4)), distance="mse")
    assert value(built(written_out, model, *both), model, passages) == plain


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_gradients_are_those_of_finite_differences(distance: str) -> None:
    """Of the student's and the projections' parameters; the teacher has none."""
    model, master = student(), teacher()
    double(model, master.model)
    assert slope_error(built(Hidden(distance=distance), model, master), model, random_passages(2)) < 1e-5
    assert all(p.grad is None for p in master.model.parameters())


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_accumulation_padding_and_mixed_lengths_change_nothing(distance: str) -> None:
    model = student()
    assert accumulation_error(built(Hidden(distance=distance), model, teacher()), model, random_passages()) < 1e-6


def test_truncation_counts_what_is_left() -> None:
    model = student()
    objective = built(Hidden(), model, teacher())
    cut, masked = truncated(random_passages(1, seed=3)[0], 4)
    assert value(objective, model, [cut]) == pytest.approx(value(objective, model, [masked]), rel=1e-5)


def test_its_projections_train_and_the_loss_falls() -> None:
    model, master, passages = student(), teacher(), random_passages()
    objective = built(Hidden(), model, master)
    before = [p.detach().clone() for p in objective.modules["hidden"].parameters()]
    theirs = [p.clone() for p in master.model.parameters()]
    first = value(objective, model, passages)
    optimizer = torch.optim.Adam(trained(objective, model), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        gradient(objective, model, [passages])
        optimizer.step()
    assert value(objective, model, passages) < 0.7 * first
    assert all((p != was).any() for p, was in zip(objective.modules["hidden"].parameters(), before, strict=True))
    assert all(torch.equal(p, was) for p, was in zip(master.model.parameters(), theirs, strict=True))


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (((1, 1),), r"end at \[1, 1\], and the last blocks are \[2, 4\]"),
        (((2, 3),), r"end the map with \[2, 4\]"),
        (((3, 4), (2, 4)), "compares block 3 .* blocks 1 to 2"),
        (((1, 0), (2, 4)), "the teacher's block 0"),
        (((2, 4), (2, 4)), r"\[2, 4\] twice"),
    ],
)
def test_a_map_that_does_not_reach_the_last_layer_is_refused(layers: tuple[tuple[int, int], ...], why: str) -> None:
    model = student()
    with pytest.raises(OntogenyError, match=why):
        built(Hidden(layers=layers), model, teacher())


def test_deep_students_reach_the_last_layer_too() -> None:
    """Four blocks learn from two: round(i / 2), halves to even, at least 1: 1, 1, 2, 2."""
    assert blocks_of(None, 4, 2, "x") == ((1, 1), (2, 1), (3, 2), (4, 2))
    assert blocks_of(None, 2, 4, "x") == ((1, 2), (2, 4))


def test_a_teacher_with_other_tokens_is_refused() -> None:
    model, master = student(), teacher()
    with pytest.raises(OntogenyError, match=r"'hidden' compares hidden states of the same tokens.*'teacher'"):
        built(Hidden(), model, replace(master, tokenizer=object()))


def test_a_model_without_hidden_states_is_refused() -> None:
    model, master = student(), teacher()
    objective = built(Hidden(), model, master)
    parts: Any = master.body_and_head
    body = parts.body
    parts.body = lambda *given, **asked: body(*given, **asked)._replace(hidden_states=None)
    with pytest.raises(OntogenyError, match="GPTNeoXForCausalLM returns no hidden states"):
        told(objective, model, random_passages(2))
