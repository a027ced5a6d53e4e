"""The training that a look interrupts, as measures may see it: its next batch, its next update, and trial steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage
from ontogeny.data.batch_plans import shares_at
from ontogeny.data.collate import Batch, collate
from ontogeny.train.loop import step_gradients
from ontogeny.train.optimizer import set_learning_rate
from ontogeny.train.session import Session

if TYPE_CHECKING:
    from torch import Tensor

Update = list[tuple["Tensor", "Tensor"]]


class LiveSession:
    """`contracts.LiveTraining`. Whoever computes an update or tries a step leaves training as it was."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def learning_rate(self) -> float:
        """Scheduled rate of the next step."""
        return self._session.learning_rate(self._session.step)

    @property
    def replay(self) -> Mapping[str, float]:
        """Share that each replay corpus has in the next batch, as asked."""
        return shares_at(self._session.plan, self._session.step)

    def next_batch(self) -> "Batch":
        """What the next step is taken on, in one piece, on the model's device."""
        session = self._session
        passages = [session.examples[i] for i in session.plan.batch_at(session.step)]
        return collate(passages, session.tokenizer.pad_token_id).to(session.accelerator.device)

    @property
    def planned_batches(self) -> int:
        """How many batches the recipe asks for; repeats of a batch and extensions of the run not counted."""
        session = self._session
        return -(-session.plan.steps_for(session.train) // session.train.repeats)

    def batch(self, number: int) -> "Sequence[Passage]":
        """The passages of one of them, new ones first."""
        session = self._session
        return [session.examples[i] for i in session.plan.batch_at(number * session.train.repeats)]

    def places(self, number: int) -> Sequence[int]:
        """Of its new passages (not the replayed ones): their places in the order of the data."""
        session = self._session
        ids = session.plan.batch_at(number * session.train.repeats)
        return [int(i) for i in ids if i < session.new_examples]

    def next_update(self) -> Update:
        """Each trained tensor with its direction: the next step adds learning rate x direction to it.

        One forward and one backward pass, as the step itself makes them (dropout, accumulation, clipping).
        """
        session = self._session
        with _kept(session):
            session.wrapped.train()
            session.modules.train()
            step_gradients(session)
            return update_direction(session.optimizer)

    @contextmanager
    def trial(self) -> "Iterator[Trial]":
        """Real steps that are taken back on leaving, bit for bit: weights, optimizer, place in the data."""
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
    """Put back gradients and modes; with `steps` also weights, optimizer state and the place in the data."""
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


def update_direction(optimizer: Any) -> Update:
    """What an optimizer's next step adds to each tensor with a gradient, per unit of learning rate.

    Adam and AdamW: -m / (sqrt(v) + eps), both corrected for bias, and with decoupled decay -decay x tensor; SGD: minus
    the (Nesterov) momentum. Decay that is not decoupled is in the gradient. A group's `multiplier` multiplies it all.
    The optimizer is only read. Raises OntogenyError for another optimizer.
    """
    import torch

    families = {torch.optim.Adam: _adam, torch.optim.AdamW: _adam, torch.optim.SGD: _sgd}
    direction = families.get(type(optimizer))
    if direction is None:
        raise OntogenyError(
            f"what {type(optimizer).__name__} will do at another learning rate is not known: Adam, AdamW and SGD are"
        )
    found: Update = []
    with torch.no_grad():
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    gradient = -p.grad if group["maximize"] else p.grad
                    u = direction(p, gradient, optimizer.state.get(p, {}), group)
                    found.append((p, u * group.get("multiplier", 1.0)))
    return found


def _adam(p: "Tensor", gradient: "Tensor", state: Mapping[str, Any], group: Mapping[str, Any]) -> "Tensor":
    import torch

    (beta1, beta2), decay = group["betas"], group["weight_decay"]
    decoupled = group.get("decoupled_weight_decay", False)
    if decay and not decoupled:
        gradient = gradient + decay * p
    step = float(state.get("step", 0)) + 1
    first = beta1 * state.get("exp_avg", torch.zeros_like(p)) + (1 - beta1) * gradient
    second = beta2 * state.get("exp_avg_sq", torch.zeros_like(p)) + (1 - beta2) * gradient * gradient
    if group["amsgrad"]:
        second = torch.maximum(state.get("max_exp_avg_sq", torch.zeros_like(p)), second)
    u = -(first / (1 - beta1**step)) / ((second / (1 - beta2**step)).sqrt() + group["eps"])
    return u - decay * p if decay and decoupled else u


def _sgd(p: "Tensor", gradient: "Tensor", state: Mapping[str, Any], group: Mapping[str, Any]) -> "Tensor":
    if group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * p
    momentum = group["momentum"]
    if not momentum:
        return -gradient
    before = state.get("momentum_buffer")
    buffer = gradient if before is None else momentum * before + (1 - group["dampening"]) * gradient
    return -(gradient + momentum * buffer if group["nesterov"] else buffer)
