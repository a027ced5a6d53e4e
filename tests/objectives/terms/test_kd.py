"""Distillation of a next-token distribution: what counts, what changes it, and what must not."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage
from ontogeny.core.progress import Progress
from ontogeny.core.schedule import Schedule
from ontogeny.core.terms import ModelShape, TermContext, Unit
from ontogeny.data.collate import collate
from ontogeny.models.companions import Companion
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.terms.kd import Kd
from tests.measures.small import make_model

HALF = Progress(step=5, total_steps=10, epoch=0.5)
V = 60


def passages(count: int = 8, seed: int = 0) -> list[Passage]:
    """Of different lengths; some tokens are not supervised."""
    generator = np.random.default_rng(seed)
    made = []
    for i in range(count):
        length = int(generator.integers(3, 12))
        made.append(
            Passage(
                text="",
                token_ids=generator.integers(0, V, length).astype(np.int32),
                byte_offsets=np.zeros(length + 1, dtype=np.int32),
                source=f"random:{i}",
                supervised=generator.random(length) < 0.8,
            )
        )
    return made


def teacher(seed: int = 7, vocabulary: int = V) -> Companion:
    model = make_model(seed=seed, vocabulary=vocabulary, dropout=0.0).requires_grad_(False).eval()
    return Companion(name="teacher", model=model, tokenizer=None, described={})


def objective(*terms: Kd, **companions: Companion) -> Objective:
    return Objective(terms or [Kd()], companions=companions or {"teacher": teacher()})


def units_of(examples: list[Passage]) -> dict[Unit, float]:
    tokens = sum(int(p.supervised[1:].sum()) for p in examples)
    return {"tokens": float(tokens), "examples": float(len(examples)), "batch": 1.0}


def loss(objective: Objective, model: Any, examples: list[Passage], progress: Progress = HALF) -> dict[str, float]:
    parts = objective.train_loss(objective.forward(model, collate(examples, 0)), progress, units_of(examples))[1]
    return {name: float(value) for name, value in parts.items()}


def student(vocabulary: int = V) -> Any:
    return make_model(seed=1, vocabulary=vocabulary, dropout=0.0).eval()


def by_definition(model: Any, master: Any, examples: list[Passage], temperature: float) -> float:
    """Mean over supervised tokens of KL(P || Q), each passage alone, in float64: no padding, no tiles."""
    total = tokens = 0.0
    for passage in examples:
        ids = torch.from_numpy(passage.token_ids.astype(np.int64))[None]
        with torch.no_grad():
            p, q = ((m(input_ids=ids).logits[0].double() / temperature).log_softmax(-1) for m in (master, model))
        for t in range(1, len(passage)):
            if passage.supervised[t]:
                total += float((p[t - 1].exp() * (p[t - 1] - q[t - 1])).sum())
                tokens += 1
    return total / tokens


def test_masked_shifted_per_token_times_temperature_squared() -> None:
    """Halfway through training the default temperature, which falls from 3 to 1, is 2."""
    master, model, examples = teacher(), student(), passages()
    told = loss(objective(teacher=master), model, examples)
    at_2, at_1 = (by_definition(model, master.model, examples, t) for t in (2.0, 1.0))
    assert told["kd"] == pytest.approx(4 * at_2, rel=1e-4)
    assert told["kd_untempered"] == pytest.approx(at_2, rel=1e-4)
    assert told["kd_kl_at_1"] == pytest.approx(at_1, rel=1e-4)


def test_in_training_the_kl_at_1_is_of_every_eighth_token() -> None:
    """Of 10 supervised tokens the first and the ninth, times 10 / 2."""
    master, model = teacher(), student()
    (long,) = passages(1)
    long = replace(long, token_ids=np.arange(11, dtype=np.int32), supervised=np.ones(11, dtype=bool))
    counted = replace(long, supervised=np.array([i in (1, 9) for i in range(11)]))
    told = loss(objective(teacher=master), model.train(), [long])
    assert told["kd_kl_at_1"] == pytest.approx(by_definition(model.eval(), master.model, [counted], 1.0), rel=1e-4)


def test_a_student_that_is_the_teacher_has_nothing_to_learn() -> None:
    """Exactly 0 where the logits are the same bits; the whole model is run in two parts for the teacher."""
    model = student()
    same = Companion(name="teacher", model=model, tokenizer=None, described={})
    for term in (Kd(), Kd(divergence="reverse"), Kd(divergence="jensen_shannon"), Kd(compared="top_k", top_k=5)):
        told = loss(objective(term, teacher=same), model, passages())
        assert 0 <= told["kd"] < 1e-9


SETTINGS: list[tuple[Kd, Kd]] = [
    (Kd(temperature=Schedule(value=1.0)), Kd(temperature=Schedule(value=4.0))),
    (Kd(), Kd(divergence="reverse")),
    (Kd(), Kd(divergence="jensen_shannon")),
    (Kd(divergence="jensen_shannon", beta=0.2), Kd(divergence="jensen_shannon", beta=0.8)),
    (Kd(compared="full"), Kd(compared="top_k", top_k=5)),
    (Kd(compared="top_k", top_k=4), Kd(compared="top_k", top_k=5)),
    (Kd(teachers={"teacher": 0.3, "other": 0.7}), Kd(teachers={"teacher": 0.7, "other": 0.3})),
    (Kd(teachers={"teacher": 0.5, "other": 0.5}), Kd(teachers={"teacher": 1.0})),
]


@pytest.mark.parametrize(("first", "second"), SETTINGS)
def test_every_setting_changes_the_loss(first: Kd, second: Kd) -> None:
    companions = {"teacher": teacher(), "other": teacher(seed=8)}
    model, examples = student(), passages()
    one, two = (loss(objective(term, **companions), model, examples)["kd"] for term in (first, second))
    assert abs(one - two) > 1e-3 * abs(one)


def test_settings_that_mean_nothing_change_nothing() -> None:
    """The twin of the test above: the ways to write one and the same give the same bits."""
    model, examples = student(), passages()
    for first, second in [
        (Kd(), Kd(divergence="forward", compared="full")),
        (Kd(), Kd(compared="top_k", top_k=V)),
        (Kd(divergence="jensen_shannon"), Kd(divergence="jensen_shannon", beta=0.5)),
    ]:
        assert loss(objective(first), model, examples) == loss(objective(second), model, examples)


def test_a_weight_changes_the_objective_and_not_the_term() -> None:
    model, examples = student(), passages()
    totals = {}
    for weight in (0.5, 2.0):
        own = objective(Kd(weight=Schedule(value=weight)))
        total, parts = own.train_loss(own.forward(model, collate(examples, 0)), HALF, units_of(examples))
        totals[weight] = total.item(), parts["kd"].item()
    assert totals[2.0][0] == pytest.approx(4 * totals[0.5][0])
    assert totals[2.0][1] == totals[0.5][1]


def test_several_teachers_are_mixed() -> None:
    """P = 0.25 P_a + 0.75 P_b, at temperature 2, against the definition on the mixture."""
    first, second, model, examples = teacher(), teacher(seed=8), student(), passages(3)
    told = loss(objective(Kd(teachers={"a": 0.25, "b": 0.75}), a=first, b=second), model, examples)

    class Mixed:
        def __call__(self, input_ids: torch.Tensor) -> Any:
            a, b = ((m.model(input_ids=input_ids).logits.double() / 2).softmax(-1) for m in (first, second))
            return SimpleNamespace(logits=2 * (0.25 * a + 0.75 * b).log())

    assert told["kd"] == pytest.approx(4 * by_definition(model, Mixed(), examples, 2.0), rel=1e-4)


@pytest.mark.parametrize("term", [Kd(), Kd(divergence="reverse"), Kd(compared="top_k", top_k=5)])
def test_ids_that_one_model_lacks_have_probability_0(term: Kd) -> None:
    """A head padded with 4 rows, of the student or of the teacher, whatever stands in them, changes nothing."""
    model, examples = student(), passages()
    expected = loss(objective(term), model, examples)
    with torch.no_grad():
        wide_model, wide_teacher = student(), teacher()
        for wide in (wide_model, wide_teacher.model):
            wide.resize_token_embeddings(V + 4, mean_resizing=False)
            wide.get_output_embeddings().weight[V:] = 10 * torch.randn(4, 24)
    for own, master in ((wide_model, teacher()), (model, wide_teacher), (wide_model, wide_teacher)):
        found = loss(objective(term, teacher=master), own, examples)
        if own is wide_model and master is wide_teacher:
            assert found["kd"] != pytest.approx(expected["kd"], rel=1e-3)  # both know these ids: they do count
        else:
            assert found == pytest.approx(expected, rel=1e-4)


def gradients(own: Objective, model: Any, pieces: list[list[Passage]]) -> torch.Tensor:
    """Of all parameters, summed over micro-batches."""
    model.zero_grad()
    units = units_of([passage for piece in pieces for passage in piece])
    for piece in pieces:
        own.train_loss(own.forward(model, collate(piece, 0)), HALF, units)[0].backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("term", [Kd(), Kd(divergence="jensen_shannon"), Kd(compared="top_k", top_k=5)])
def test_accumulation_padding_and_mixed_lengths_change_nothing(term: Kd) -> None:
    """8 micro-batches of 1 give the gradient of 1 of 8, though lengths and numbers of targets differ."""
    model, examples, own = student(), passages(), objective(term)
    assert len({len(passage) for passage in examples}) > 3
    whole = gradients(own, model, [examples])
    apart = gradients(own, model, [[passage] for passage in examples])
    assert (whole - apart).norm() < 1e-6 * whole.norm()


def test_truncation_counts_what_is_left() -> None:
    """What a shorter passage loses has no part in what is left: later tokens are not seen by earlier ones."""
    master, model = teacher(), student()
    (long,) = passages(1, seed=3)
    short = replace(
        long, token_ids=long.token_ids[:4], byte_offsets=long.byte_offsets[:5], supervised=long.supervised[:4]
    )
    hidden = replace(long, supervised=np.where(np.arange(len(long)) < 4, long.supervised, False))
    cut, masked = (loss(objective(teacher=master), model, [passage])["kd"] for passage in (short, hidden))
    assert cut == pytest.approx(masked, rel=1e-5)


def test_the_gradient_reaches_the_student_alone() -> None:
    """Against finite differences of the whole model in float64; the teacher's weights have none."""
    master, model, examples = teacher(), student().double(), passages(2)
    master.model.double()
    own = objective(Kd(divergence="jensen_shannon", beta=0.3), teacher=master)
    gradient = gradients(own, model, [examples])
    assert all(p.grad is None for p in master.model.parameters())
    parameters = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(len(parameters), generator=generator, dtype=torch.float64)
    ends = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(parameters + sign * 1e-6 * direction, model.parameters())
        ends.append(loss(own, model, examples)["kd"])
    assert (gradient @ direction).item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_a_teacher_with_its_own_tokens_is_refused() -> None:
    shape = ModelShape(width=1, blocks=1, heads=1, vocabulary=V)
    context = TermContext(model=shape, companions={"teacher": shape}, own_tokens={"teacher"}, sides={}, seed=0)
    with pytest.raises(OntogenyError, match="'teacher' has a tokenizer of its own"):
        Kd().build(context)
    assert Kd().build(replace(context, own_tokens=frozenset())) is None


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"temperature": 0}, "stays above 0"),
        ({"temperature": {"shape": "linear", "value": 3.0}}, "stays above 0"),
        ({"temperature": {"shape": "cosine", "value": 3.0, "final": 0.5, "warmup": 0.1}}, "stays above 0"),
        ({"teachers": {"a": 0.5, "b": 0.4}}, "add up to 0.9, not to 1"),
        ({"beta": 0.3}, "only to jensen_shannon"),
        ({"divergence": "jensen_shannon", "beta": 1.0}, "less than 1"),
        ({"compared": "full", "top_k": 4}, "full vocabulary"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Kd.model_validate_json(__import__("json").dumps(settings))


def test_the_defaults_are_those_that_are_described() -> None:
    term = Kd()
    assert term.temperature.at(0, 10) == 3.0
    assert term.temperature.at(10, 10) == pytest.approx(1.0)
    assert term.companions == ("teacher",)
    assert term.scale_changes
    assert not Kd(temperature=Schedule(value=2.0)).scale_changes
    assert math.isclose(sum(term.teachers.values()), 1.0)
