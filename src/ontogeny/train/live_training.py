"""What measures and controls may ask of the training they interrupt: its next batch, its next update, trial steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ontogeny.core.optimizers import Update
from ontogeny.core.passages import Passage
from ontogeny.data.batch_plans import shares_at
from ontogeny.data.collate import Batch, collate
from ontogeny.train.loop import step_gradients
from ontogeny.train.own_text import passages_of_step
from ontogeny.train.parameter_groups import set_learning_rate
from ontogeny.train.session import Session


class LiveSession:
    """`core.live.LiveTraining`. Every method leaves the training as it was."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def learning_rate(self) -> float:
        """Scheduled rate of the next step."""
        return self._session.learning_rate(self._session.step)

    @property
    def replay(self) -> Mapping[str, float]:
        """The share asked of each replay corpus in the next batch."""
        return shares_at(self._session.plan, self._session.step)

    def next_batch(self) -> "Batch":
        """The batch of the next step, in one piece, on the model's device; own text as it will be written."""
        session = self._session
        return collate(passages_of_step(session), session.tokenizer.pad_token_id).to(session.accelerator.device)

    @property
    def planned_batches(self) -> int:
        """How many batches the recipe asks for; repeats of a batch and extensions of the run not counted."""
        session = self._session
        return -(-session.plan.steps_for(session.train) // session.train.repeats)

    def batch(self, number: int) -> "Sequence[Passage]":
        """The passages of a planned batch, new ones first."""
        session = self._session
        return [session.examples[i] for i in session.plan.batch_at(number * session.train.repeats)]

    def places(self, number: int) -> Sequence[int]:
        """Places in the order of the data, of a planned batch's new passages (not the replayed ones)."""
        session = self._session
        ids = session.plan.batch_at(number * session.train.repeats)
        return [int(i) for i in ids if i < session.new_examples]

    def next_update(self) -> Update:
        """Each trained tensor with its direction: the next step adds learning rate x direction to it.

        One forward and one backward pass, as the step itself makes them (dropout, accumulation, clipping). Raises
        DirectionUnknownError where the optimizer's step is not learning rate x direction.
        """
        session = self._session
        with _kept(session):
            session.wrapped.train()
            session.modules.train()
            step_gradients(session)
            return session.train.optimizer.update_direction(session.optimizer)

    @contextmanager
    def trial(self) -> "Iterator[Trial]":
        """Real steps, undone on leaving, bit for bit: weights, optimizer, place in the data."""
        with _kept(self._session, steps=True):
            yield Trial(self._session)


class Trial:
    """Takes real steps."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def step(self, learning_rate: float) -> None:
        """Take the next step at that rate."""
        session = self._session
        session.wrapped.train()
        session.modules.train()
        step_gradients(session)
        set_learning_rate(session.optimizer, learning_rate)
        session.optimizer.step()
        session.step += 1


@contextmanager
def _kept(session: Session, *, steps: bool = False) -> Iterator[None]:
    """Restore gradients and modes; with `steps` also weights, optimizer state and the place in the data."""
    optimizer = session.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters]
    modes = [(module, module.training) for root in (session.model, session.modules) for module in root.modules()]
    weights = [p.detach().clone() for p in parameters] if steps else []
    rates = [group["lr"] for group in optimizer.param_groups]
    states = {p: _copied(state) for p, state in optimizer.state.items()} if steps else {}
    at = session.step
    try:
        yield
    finally:
        session.step = at
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        for module, mode in modes:
            module.training = mode
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if steps:
            for p, before in zip(parameters, weights, strict=True):
                p.data.copy_(before)
            optimizer.state.clear()
            optimizer.state.update(states)


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.clone() if hasattr(value, "clone") else value for key, value in state.items()}
