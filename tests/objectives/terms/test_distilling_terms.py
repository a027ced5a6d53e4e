"""What holds for every term that distils."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ontogeny.core.terms import Term
from ontogeny.objectives.terms.attention import Attention
from ontogeny.objectives.terms.contrastive import Contrastive
from ontogeny.objectives.terms.hidden import Hidden
from ontogeny.objectives.terms.kd import Kd
from ontogeny.objectives.terms.kd_chunks import KdChunks
from ontogeny.objectives.terms.routing import Routing
from ontogeny.objectives.terms.uld import Uld
from tests.objectives.terms.pairs import built, gradient, told
from tests.objectives.terms.test_kd_chunks import OURS, passages, student
from tests.objectives.terms.test_kd_chunks import frozen as frozen_model

TERMS = [Kd(), KdChunks(boundary=None), KdChunks(), Uld(), Hidden(), Attention(), Routing(), Contrastive()]


@pytest.mark.parametrize("term", TERMS, ids=lambda term: f"{term.kind}-{getattr(term, 'boundary', '')}")
def test_a_batch_without_targets_adds_nothing(term: Term) -> None:
    """No token is a target in it: the sum is 0, and so is its gradient; `contrastive` compares text, not targets."""
    model: Any = student()
    objective = built(term, model, frozen_model(student(2), trained_with=OURS))
    silent = [replace(p, supervised=np.zeros(len(p), dtype=bool)) for p in passages(2)]
    spoken = passages(2)
    units_from = [*silent, *spoken]
    numbers = told(objective, model, units_from)
    assert all(np.isfinite(number) for number in numbers.values())
    both = gradient(objective, model, [silent, spoken])
    assert both.isfinite().all()
    if not isinstance(term, Contrastive):
        # the units of a step are those of all its pieces, so a piece without any changes nothing
        assert (both - gradient(objective, model, [spoken])).norm() <= 1e-5 * both.norm()
