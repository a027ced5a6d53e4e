"""A gate over a teacher's layers or experts: what it mixes, and each of its parts."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ontogeny.core.errors import OntogenyError
from ontogeny.core.progress import Progress
from ontogeny.core.schedule import Schedule
from ontogeny.data.collate import collate
from ontogeny.models.companions import Companion
from ontogeny.objectives.compose import Objective
from ontogeny.objectives.layers import predicting
from ontogeny.objectives.terms.routing import Routing
from tests.objectives.terms.pairs import (
    V,
    accumulation_error,
    built,
    double,
    frozen,
    gradient,
    random_passages,
    slope_error,
    student,
    teacher,
    told,
    trained,
    truncated,
    value,
)


def mixture_of_experts(seed: int = 7) -> Any:
    """Mixtral of two blocks with four experts, two of them chosen."""
    from transformers import AutoModelForCausalLM, MixtralConfig

    config = MixtralConfig(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    return model.eval()


def experts_teacher() -> Companion:
    return frozen(mixture_of_experts())


def fixed(top_k: float) -> Schedule:
    return Schedule(value=top_k)


def by_definition(objective: Objective, model: Any, master: Any, k: int) -> dict[str, float]:
    """Parts per supervised token over the layers, one passage at a time, in numpy."""
    module = {name: p.detach().double().numpy() for name, p in objective.modules["routing"].named_parameters()}
    sums, tokens = dict.fromkeys(("feature", "balance", "alignment"), 0.0), 0
    for passage in random_passages():
        ids = torch.from_numpy(passage.token_ids.astype(np.int64))[None]
        with torch.no_grad():
            ours, theirs = (m(ids, output_hidden_states=True).hidden_states for m in (model, master))
        gates = []
        for t in range(1, len(passage)):
            if not passage.supervised[t]:
                continue
            s = ours[-1][0, t - 1].double().numpy()
            layers = np.array([states[0, t - 1].double().numpy() for states in theirs[1:]])
            gate = np.exp(module["gate.weight"] @ s + module["gate.bias"])
            gate /= gate.sum()
            projected = module["projection.weight"] @ s
            top = np.argsort(-gate)[:k]
            mixed = gate[top] @ layers[top] / gate[top].sum()
            sums["feature"] += ((projected - mixed) ** 2).mean()
            near = layers @ projected / np.linalg.norm(layers, axis=1) / np.linalg.norm(projected)
            r = np.exp(near / 0.1) / np.exp(near / 0.1).sum()
            sums["alignment"] += (r * np.log(r / gate)).sum()
            gates.append(gate)
        mean = np.mean(gates, axis=0)
        sums["balance"] += len(gates) * (mean * np.log(len(mean) * mean)).sum()
        tokens += len(gates)
    return {name: total / tokens for name, total in sums.items()}


@pytest.mark.parametrize("k", [1, 3])
def test_by_definition_over_layers(k: int) -> None:
    model, master = student(), teacher()
    objective = built(Routing(top_k=fixed(k), feature=0.7, balance=0.2, alignment=0.3), model, master)
    parts = by_definition(objective, model, master.model, k)
    numbers = told(objective, model, random_passages())
    for name, expected in parts.items():
        assert expected > 0
        assert numbers[f"routing_{name}"] == pytest.approx(expected, rel=1e-3)
    weighted = 0.7 * parts["feature"] + 0.2 * parts["balance"] + 0.3 * parts["alignment"]
    assert numbers["routing"] == pytest.approx(weighted, rel=1e-3)


def test_over_experts_the_gate_is_aligned_with_the_teachers_router() -> None:
    """A gate that does what the router does has alignment 0: logits of the router's weights, -30 for 0."""
    model, master = student(width=16), experts_teacher()
    objective = built(Routing(over="experts", top_k=fixed(2)), model, master)
    numbers = told(objective, model, random_passages())
    assert numbers["routing_alignment"] > 0.01

    class Copied(torch.nn.Module):
        def forward(self, state: torch.Tensor) -> torch.Tensor:
            batch = objective.forward(model, batch_of)
            weights = batch.companions["teacher"].experts.weights.flatten(0, 1)[predicting(batch.supervised)]
            return weights.clamp(min=1e-13).log()

    batch_of = collate(random_passages(), 0)
    objective.modules["routing"].gate = Copied()
    assert told(objective, model, random_passages())["routing_alignment"] == pytest.approx(0, abs=1e-5)


def test_where_the_student_is_the_teacher_a_gate_on_the_last_layer_has_no_distance() -> None:
    """A bias of 50 chooses the last of two layers alone: feature 0, balance ln 2 (always the same one)."""
    model = student()
    objective = built(Routing(top_k=fixed(1)), model, frozen(student()))
    assert told(objective, model, random_passages())["routing_feature"] > 1e-3
    with torch.no_grad():
        objective.modules["routing"].gate.weight.zero_()
        objective.modules["routing"].gate.bias.copy_(torch.tensor([0.0, 50.0]))
    numbers = told(objective, model, random_passages())
    assert numbers["routing_feature"] == pytest.approx(0, abs=1e-9)
    assert numbers["routing_balance"] == pytest.approx(math.log(2), rel=1e-5)
    with torch.no_grad():
        objective.modules["routing"].gate.bias.zero_()
    assert told(objective, model, random_passages())["routing_balance"] == pytest.approx(0, abs=1e-6)


def test_top_k_grows_from_1_to_4() -> None:
    """1 + 3 p, rounded, at p = 0, 0.2, 0.6, 0.95: 1, 2, 3, 4."""
    model, master, term = student(), teacher(), Routing()
    objective = built(term, model, master)
    shared = {k: value(built(Routing(top_k=fixed(k)), model, master), model, random_passages()) for k in (1, 2, 3, 4)}
    assert len(set(shared.values())) == 4
    for step, k in ((0, 1), (20, 2), (60, 3), (95, 4)):
        at = Progress(step=step, total_steps=100, epoch=0.0)
        assert value(objective, model, random_passages(), at) == shared[k]
    assert term.scale_changes
    assert not Routing(top_k=fixed(2)).scale_changes


def test_every_setting_changes_the_loss() -> None:
    model, passages = student(width=16), random_passages()
    both = experts_teacher(), replace(frozen(mixture_of_experts(9)), name="other")
    plain = value(built(Routing(), model, *both), model, passages)
    for settings in (
        {"teacher": "other"},
        {"over": "experts"},
        {"top_k": 1},
        {"feature": 2.0},
        {"balance": 1.0},
        {"alignment": 1.0},
    ):
        term = Routing.model_validate_json(json.dumps(settings))
        assert abs(value(built(term, model, *both), model, passages) - plain) > 1e-4 * plain


@pytest.mark.parametrize("over", ["layers", "experts"])
def test_gradients_accumulation_padding_and_truncation(over: Any) -> None:
    model = student(width=16)
    master = experts_teacher() if over == "experts" else teacher()
    term = Routing(over=over, balance=0.5, alignment=0.5)
    objective = built(term, model, master)
    assert accumulation_error(objective, model, random_passages()) < 1e-5
    cut, masked = truncated(random_passages(1, seed=3)[0], 4)
    assert value(objective, model, [cut]) == pytest.approx(value(objective, model, [masked]), rel=1e-4)
    double(model, *objective.modules.values())  # the kernel of the experts knows no float64; the teacher is constant
    assert slope_error(objective, model, random_passages(2)) < 1e-4
    assert all(p.grad is None for p in master.model.parameters())


def test_gate_and_projection_train_and_the_loss_falls() -> None:
    model, master, passages = student(), teacher(), random_passages()
    objective = built(Routing(), model, master)
    before = {name: p.detach().clone() for name, p in objective.modules["routing"].named_parameters()}
    first = value(objective, model, passages)
    optimizer = torch.optim.Adam(trained(objective, model), lr=0.01)
    for _ in range(10):
        gradient(objective, model, [passages])
        optimizer.step()
    assert value(objective, model, passages) < 0.9 * first
    for name, parameter in objective.modules["routing"].named_parameters():
        assert (parameter != before[name]).any(), name


def test_pairs_and_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(OntogenyError, match=r"'teacher' has none: choose a mixture of experts, or write over: layers"):
        built(Routing(over="experts"), student(), teacher())
    with pytest.raises(OntogenyError, match="'routing' compares states of the same tokens"):
        built(Routing(), student(), replace(teacher(), tokenizer=object()))
    for top_k in (0.5, {"shape": "ramp", "value": 4}, {"shape": "linear", "value": 4, "final": 0.25, "warmup": 0.1}):
        with pytest.raises(ValidationError, match="top_k stays at 1 or more"):
            Routing.model_validate_json(json.dumps({"top_k": top_k}))
