"""Agreement with a teacher, against a computation passage by passage."""

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import ProbeSet
from ontogeny.core.schedule import Schedule
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.agreement import Agreement
from ontogeny.models.companions import Companion
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.kd import Kd
from tests.measures.small import log_probabilities, make_context, make_model, random_probe

K = 3


@pytest.fixture(scope="module")
def probe() -> ProbeSet:
    return random_probe("novel", [5, 9, 14, 7], seed=0)


def seen(probe: ProbeSet, model: object, master: object, name: str = "teacher"):  # type: ignore[no-untyped-def]
    companion = Companion(name="teacher", model=master, tokenizer=None, described={})  # type: ignore[arg-type]
    objective = Objective([Kd(weight=Schedule(value=0.0))], companions={"teacher": companion})
    context = make_context(model, [probe], objective=objective)
    measure = Agreement(teacher=name, k=K)
    return run_stream_looks(context, [measure])[0]["agreement"].arrays.isel(probe=0)


def test_against_a_computation_passage_by_passage(probe: ProbeSet) -> None:
    model, master = make_model(seed=1), make_model(seed=2).requires_grad_(False).eval()
    arrays = seen(probe, model, master)
    top1 = top_k = divergence = nll = teacher_nll = tokens = 0.0
    for passage in probe.passages:
        q, p = (log_probabilities(m, passage.token_ids) for m in (model, master))
        for t in range(1, len(passage)):
            own, theirs = q[t - 1], p[t - 1]
            top1 += own.argmax() == theirs.argmax()
            top_k += len(set(np.argsort(own)[-K:]) & set(np.argsort(theirs)[-K:])) / K
            divergence += float((np.exp(theirs) * (theirs - own)).sum())
            nll -= own[passage.token_ids[t]]
            teacher_nll -= theirs[passage.token_ids[t]]
            tokens += 1
    expected = {"top1": top1, "top_k": top_k, "kl": divergence, "nll": nll, "teacher_nll": teacher_nll}
    for name, total in expected.items():
        assert arrays[name].item() == pytest.approx(total / tokens, rel=1e-4), name
    assert arrays["top1"] < 0.5


def test_a_model_agrees_with_itself(probe: ProbeSet) -> None:
    model = make_model(seed=1, dropout=0.0).requires_grad_(False).eval()
    arrays = seen(probe, model, model)
    assert arrays["top1"] == 1
    assert arrays["top_k"] == pytest.approx(1)
    assert 0 <= arrays["kl"] < 1e-9
    assert arrays["nll"] == pytest.approx(arrays["teacher_nll"].item(), rel=1e-6)


def test_an_unknown_companion_is_named(probe: ProbeSet) -> None:
    with pytest.raises(OntogenyError, match=r"unknown companion 'taecher'.*teacher"):
        seen(probe, make_model(), make_model(seed=2).requires_grad_(False), name="taecher")


def test_a_teacher_with_other_tokens_is_refused(probe: ProbeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = {"input_ids": torch.ones(1, 2, dtype=torch.int64), "attention_mask": torch.ones(1, 2, dtype=torch.int64)}
    shifted["supervised"] = torch.ones(1, 2, dtype=torch.bool)
    monkeypatch.setattr(Companion, "read", lambda self, batch: shifted)
    with pytest.raises(OntogenyError, match="has a tokenizer of its own: leave the measure out"):
        seen(probe, make_model(), make_model(seed=2).requires_grad_(False))
