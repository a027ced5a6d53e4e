"""A student, a teacher and a term between them, and what holds for every term that distils."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ontogeny.core.passages import Passage
from ontogeny.core.progress import Progress
from ontogeny.core.terms import Term, Unit, supervised_bytes
from ontogeny.data.collate import collate
from ontogeny.models.companions import Companion
from ontogeny.objectives.compose import Objective
from ontogeny.train.session import term_context

HALF = Progress(step=5, total_steps=10, epoch=0.5)
V = 60


def neox(
    *,
    seed: int,
    width: int = 24,
    blocks: int = 2,
    heads: int = 2,
    vocabulary: int = V,
    dropout: float = 0.0,
    positions: int = 64,
) -> Any:
    """GPT-NeoX of random weights, five times the usual ones, so that states and attention differ by place."""
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=positions,
        hidden_dropout=dropout,
        attention_dropout=dropout,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    return model.eval()


def student(**shape: Any) -> Any:
    return neox(seed=1, **shape)


def frozen(model: Any, name: str = "teacher", **settings: Any) -> Companion:
    return Companion(name=name, model=model.requires_grad_(False).eval(), tokenizer=None, described={}, **settings)


def teacher(seed: int = 7, **shape: Any) -> Companion:
    """Wider and deeper than the student, with more heads."""
    return frozen(neox(seed=seed, **({"width": 32, "blocks": 4, "heads": 4} | shape)))


def random_passages(count: int = 8, seed: int = 0) -> list[Passage]:
    """Of different lengths, a byte or more per token; some tokens are not supervised."""
    generator = np.random.default_rng(seed)
    made = []
    for i in range(count):
        length = int(generator.integers(4, 12))
        offsets = np.concatenate([[0], np.cumsum(generator.integers(1, 4, length))])
        made.append(
            Passage(
                text="x" * int(offsets[-1]),
                token_ids=generator.integers(0, V, length).astype(np.int32),
                byte_offsets=offsets.astype(np.int32),
                source=f"random:{i}",
                supervised=generator.random(length) < 0.8,
            )
        )
    return made


def built(term: Term, model: Any, *companions: Companion) -> Objective:
    """The term as a session would have it: its module is built, the models return what it reads."""
    objective = Objective([term], companions={companion.name: companion for companion in companions})
    objective.prepare(model)
    objective.build(term_context(model, objective.companions, {}, seed=3))
    for module in objective.modules.values():
        module.to(next(model.parameters()).dtype)
    return objective


def units_of(passages: Sequence[Passage], pieces: int = 1) -> dict[Unit, float]:
    tokens = sum(int(p.supervised[1:].sum()) for p in passages)
    return {
        "tokens": float(tokens),
        "bytes": supervised_bytes(passages),
        "examples": float(len(passages)),
        "batch": float(pieces),
    }


def told(objective: Objective, model: Any, passages: list[Passage], progress: Progress = HALF) -> dict[str, float]:
    """The term, and what it tells besides, on one batch."""
    parts = objective.train_loss(objective.forward(model, collate(passages, 0)), progress, units_of(passages))[1]
    return {name: float(value) for name, value in parts.items()}


def value(objective: Objective, model: Any, passages: list[Passage], progress: Progress = HALF) -> float:
    return told(objective, model, passages, progress)[objective.terms[0].label]


def trained(objective: Objective, model: Any) -> list[torch.nn.Parameter]:
    """All that the optimizer would have: the student's parameters and the term's."""
    own = [p for module in objective.modules.values() for p in module.parameters()]
    return [p for p in [*model.parameters(), *own] if p.requires_grad]


def gradient(objective: Objective, model: Any, pieces: Sequence[list[Passage]]) -> torch.Tensor:
    """Of all trained parameters, summed over micro-batches."""
    parameters = trained(objective, model)
    for parameter in parameters:
        parameter.grad = None
    units = units_of([passage for piece in pieces for passage in piece], len(pieces))
    for piece in pieces:
        objective.train_loss(objective.forward(model, collate(piece, 0)), HALF, units)[0].backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


def slope_error(objective: Objective, model: Any, passages: list[Passage], step: float = 1e-6) -> float:
    """Relative error of the gradient along random directions against finite differences; models in float64."""
    analytic = gradient(objective, model, [passages])
    parameters = trained(objective, model)
    at = torch.nn.utils.parameters_to_vector(parameters).detach()
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(3):
        direction = torch.randn(len(at), generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            torch.nn.utils.vector_to_parameters(at + sign * step * direction, parameters)
            ends.append(value(objective, model, passages))
        torch.nn.utils.vector_to_parameters(at, parameters)
        expected = (ends[0] - ends[1]) / (2 * step)
        worst = max(worst, abs(float(analytic @ direction) - expected) / max(abs(expected), 1e-9))
    return worst


def accumulation_error(objective: Objective, model: Any, passages: list[Passage]) -> float:
    """How far the gradient of micro-batches of one is from that of all at once, relative to its norm."""
    assert len({len(passage) for passage in passages}) > 3, "mixed lengths, so that there is padding"
    whole = gradient(objective, model, [passages])
    apart = gradient(objective, model, [[passage] for passage in passages])
    assert whole.norm() > 0
    return float((whole - apart).norm() / whole.norm())


def truncated(passage: Passage, tokens: int) -> tuple[Passage, Passage]:
    """The passage cut after so many tokens, and whole with only these supervised."""
    kept = np.arange(len(passage)) < tokens
    cut = replace(
        passage,
        text=passage.text.encode()[: passage.byte_offsets[tokens]].decode(),
        token_ids=passage.token_ids[:tokens],
        byte_offsets=passage.byte_offsets[: tokens + 1],
        supervised=passage.supervised[:tokens],
    )
    return cut, replace(passage, supervised=passage.supervised & kept)


def double(*models: Any) -> None:
    for model in models:
        model.double()
