"""The training loop: a generator of frozen events that does no I/O."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.core.errors import RunFailedError
from ontogeny.core.passages import Passage
from ontogeny.core.progress import StepEvent
from ontogeny.core.seeds import derive_seed
from ontogeny.core.terms import Unit, supervised_bytes
from ontogeny.core.weightings import effective
from ontogeny.data.collate import collate
from ontogeny.objectives.forward import ModelForward
from ontogeny.train.own_text import passages_of_step, written_tokens
from ontogeny.train.parameter_groups import set_learning_rate
from ontogeny.train.separate_gradients import SeparateGradients
from ontogeny.train.session import Session

if TYPE_CHECKING:
    from torch import Tensor


class NonFiniteLossError(RunFailedError):
    """The loss or the gradient of a step is NaN or infinite; the weights are those before the step."""

    def __init__(self, step: int, what: str, example_ids: list[int]) -> None:
        self.step = step
        self.what = what
        self.example_ids = example_ids
        super().__init__(f"step {step}: {what}")


def training_steps(session: Session) -> Iterator[StepEvent]:
    """Take one optimizer step after another, up to `session.total_steps`; yield an event after each.

    When an event arrives, `session.step` has moved on: the model is in state `event.step + 1`. Raises
    NonFiniteLossError before a step that would spoil the weights.
    """
    while session.step < session.total_steps:
        session.wrapped.train()
        session.modules.train()
        event = _take_step(session)
        session.step += 1
        yield event


def _take_step(session: Session) -> StepEvent:
    started = time.perf_counter()
    step = session.step
    ids = session.plan.batch_at(step)
    learning_rate = session.learning_rate(step)
    gradients = step_gradients(session)
    loss, told, grad_norm = gradients.loss, gradients.told, gradients.norm
    weights = effective(session.objective.weights(session.progress()), gradients.coefficients)
    if not np.isfinite(loss) or not np.isfinite(grad_norm):
        session.optimizer.zero_grad(set_to_none=True)
        what = f"loss is {loss}" if not np.isfinite(loss) else f"gradient norm is {grad_norm}"
        raise NonFiniteLossError(step, what, [int(i) for i in ids])
    set_learning_rate(session.optimizer, learning_rate)
    session.optimizer.step()
    return StepEvent(
        step=step,
        progress=session.progress(step),
        loss=loss,
        terms={name: value for name, value in told.items() if name in weights},
        details={name: value for name, value in told.items() if name not in weights},
        weights=weights,
        learning_rate=learning_rate,
        grad_norm=grad_norm,
        tokens=session.plan.tokens_through(step + 1) - session.plan.tokens_through(step),
        supervised_tokens=gradients.supervised,
        tokens_seen=session.plan.tokens_through(step + 1),
        example_ids=tuple(int(i) for i in ids),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, kw_only=True)
class StepGradients:
    """What a step's gradient was made of."""

    loss: float
    told: dict[str, float]
    """Its terms, and what they tell besides."""
    coefficients: dict[str, float]
    """Of each term's gradient, where the weighting combines them; else empty."""
    norm: float
    """Before clipping."""
    supervised: int
    """Target tokens."""


def step_gradients(session: Session) -> StepGradients:
    """Fill `.grad` as the next step needs it, clipped."""
    passages = passages_of_step(session)
    units = _units(session, passages)
    session.optimizer.zero_grad(set_to_none=True)
    separate = SeparateGradients(session) if session.objective.weighting.separate else None
    loss, told = _accumulate_gradients(session, passages, units, separate)
    if session.train.on_policy is not None:
        told["written_tokens"] = float(written_tokens(passages))
    coefficients = separate.combine() if separate else {}
    norm = float(_clip(session))
    return StepGradients(loss=loss, told=told, coefficients=coefficients, norm=norm, supervised=int(units["tokens"]))


def _units(session: Session, passages: Sequence[Passage]) -> dict[Unit, float]:
    """Units of the whole step, over all micro-batches and processes: known beforehand, nothing to communicate."""
    supervised = sum(int(passage.supervised[1:].sum()) for passage in passages)
    pieces = min(len(passages), session.train.accumulate * session.accelerator.num_processes)
    return {
        "tokens": float(max(supervised, 1)),
        "given_tokens": float(max(supervised - written_tokens(passages), 1)),
        "bytes": max(supervised_bytes(passages), 1.0),
        "examples": float(len(passages)),
        "batch": float(pieces),
    }


def _accumulate_gradients(
    session: Session, passages: Sequence[Passage], units: dict[Unit, float], separate: SeparateGradients | None
) -> tuple[float, dict[str, float]]:
    """Add up the gradients of this process's micro-batches; return the step's loss and terms over all processes.

    With `separate`, those of each term by themselves.

    Distributed training averages gradients over processes, so each share is multiplied by their number.
    """
    accelerator = session.accelerator
    world, rank = accelerator.num_processes, accelerator.process_index
    progress = session.progress()
    mine = np.array_split(np.arange(len(passages)), session.train.accumulate * world)[rank::world]
    parts: list[dict[str, Tensor]] = []
    losses: list[Tensor] = []
    for micro, piece in enumerate(mine):
        if not len(piece):
            continue
        forward = _forward(session, [passages[row] for row in piece], micro, rank)
        with _sync(session, last=micro == len(mine) - 1):
            if separate is None:
                loss, terms = session.objective.train_loss(forward, progress, units)
                accelerator.backward(loss * world)
            else:
                loss, summands, terms = session.objective.summands(forward, progress, units)
                separate.add(summands)
        losses.append(loss.detach())
        parts.append(terms)
    return _totals(session, losses, parts)


def _sync(session: Session, *, last: bool) -> Any:
    from contextlib import nullcontext

    return nullcontext() if last else session.accelerator.no_sync(session.wrapped)


def _forward(session: Session, passages: Sequence[Passage], micro: int, rank: int) -> ModelForward:
    import torch

    torch.manual_seed(micro_batch_seed(session.train.seed, session.step, rank, micro))
    batch = collate(passages, session.tokenizer.pad_token_id)
    return session.objective.step_forward(session.wrapped, batch.to(session.accelerator.device))


def micro_batch_seed(seed: int, step: int, rank: int, micro: int) -> int:
    """Seed of everything random in one micro-batch (dropout): a function of where it stands, so nothing is saved."""
    return derive_seed(seed, "micro-batch", step, rank, micro)


def _totals(
    session: Session, losses: "list[Tensor]", parts: "list[dict[str, Tensor]]"
) -> tuple[float, dict[str, float]]:
    import torch

    names = list(parts[0]) if parts else []
    table = torch.stack(
        [torch.stack([loss, *(terms[name] for name in names)]) for loss, terms in zip(losses, parts, strict=True)]
    )
    totals = table.sum(0)
    if session.accelerator.num_processes > 1:
        totals = session.accelerator.reduce(totals, reduction="sum")
    loss, *terms = totals.tolist()
    return loss, dict(zip(names, terms, strict=True))


def _clip(session: Session) -> "Tensor":
    """Global L2 norm of the gradient before clipping; clips where `session.clip` is set."""
    import torch

    parameters = [p for group in session.optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    if session.clip is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, session.clip, norm)
    return norm
