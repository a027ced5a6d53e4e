"""Universal logit distillation: sorted probabilities, where both have read the same bytes."""

import numpy as np
import pytest
import torch

from ontogeny.models.companions import retokenized
from ontogeny.objectives.terms.uld import Uld
from tests.objectives.terms.pairs import accumulation_error, built, double, frozen, slope_error, value
from tests.objectives.terms.test_kd_chunks import OURS, THEIRS, log_p, passages, student, teacher


def by_definition(model: torch.nn.Module, master: torch.nn.Module, temperature: float) -> float:
    """Per byte of supervised text, one passage at a time, in numpy."""
    total = covered = 0.0
    texts = passages()
    for ours, theirs in zip(texts, retokenized(texts, THEIRS), strict=True):
        covered += sum(np.diff(ours.byte_offsets)[1:] * ours.supervised[1:])
        tables = [log_p(m, p.token_ids.tolist()) for m, p in ((model, ours), (master, theirs))]
        for byte in set(ours.byte_offsets[1:-1].tolist()) & set(theirs.byte_offsets[1:-1].tolist()):
            i, j = ours.byte_offsets.tolist().index(byte), theirs.byte_offsets.tolist().index(byte)
            if not (ours.supervised[i] and theirs.supervised[j]):
                continue
            rows = []
            for table, at in ((tables[0], i - 1), (tables[1], j - 1)):
                tempered = np.exp(table[at] / temperature)
                rows.append(np.sort(np.append(tempered / tempered.sum(), np.zeros(400 - table.shape[1])))[::-1])
            total += np.abs(rows[0] - rows[1]).sum()
    return total / covered


def test_by_definition_and_every_setting_changes_it() -> None:
    model, master = student(), teacher()
    for temperature in (1.0, 3.0):
        objective = built(Uld(temperature=temperature), model, master)
        expected = by_definition(model, master.model, temperature)
        assert value(objective, model, passages()) == pytest.approx(expected, rel=1e-4)
    assert abs(by_definition(model, master.model, 1.0) - by_definition(model, master.model, 3.0)) > 0.01
    assert value(built(Uld(), model, teacher(8)), model, passages()) != pytest.approx(
        value(built(Uld(), model, master), model, passages()), rel=1e-3
    )


def test_a_student_that_is_the_teacher_has_nothing_to_learn() -> None:
    """And neither has one whose ids mean other tokens: it compares how sure the models are, not of what."""
    model = student()
    assert value(built(Uld(), model, frozen(student(), trained_with=OURS)), model, passages()) < 1e-5
    permuted = student()
    with torch.no_grad():
        head = permuted.get_output_embeddings().weight
        head.copy_(head[torch.randperm(len(head), generator=torch.Generator().manual_seed(0))])
    assert value(built(Uld(), model, frozen(permuted, trained_with=OURS)), model, passages()) < 1e-5
    assert value(built(Uld(), model, frozen(student(2), trained_with=OURS)), model, passages()) > 0.01


def test_gradients_accumulation_and_padding() -> None:
    model, master = student(), teacher()
    assert accumulation_error(built(Uld(), model, master), model, passages()) < 1e-5
    double(model, master.model)
    assert slope_error(built(Uld(), model, master), model, passages(2), step=1e-7) < 1e-4
    assert all(p.grad is None for p in master.model.parameters())
