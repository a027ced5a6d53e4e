"""The plan of batches that a recipe asks for."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train
from ontogeny.data.epoch_plan import BatchPlan
from ontogeny.data.mixed_plan import MixedPlan
from ontogeny.data.window_plan import WindowPlan


class Plan(Protocol):
    """Which examples make up which batch: pure functions of the step."""

    steps_per_epoch: int

    def batch_at(self, step: int) -> np.ndarray:
        """Examples of the update that leaves state `step`: int64 indices."""
        ...

    def epoch_at(self, step: int) -> float:
        """Epochs completed at state `step`."""
        ...

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`."""
        ...

    def steps_for(self, train: Train) -> int:
        """The length of training in steps."""
        ...


class RepeatedPlan:
    """Every batch of another plan, several times in a row."""

    def __init__(self, plan: Plan, repeats: int) -> None:
        self.plan = plan
        self.repeats = repeats
        self.steps_per_epoch = plan.steps_per_epoch * repeats

    def batch_at(self, step: int) -> np.ndarray:
        """Examples of the update that leaves state `step`: int64 indices."""
        return self.plan.batch_at(step // self.repeats)

    def repeat_at(self, step: int) -> int:
        """Which of the repeats the update is: from 0."""
        return step % self.repeats

    def epoch_at(self, step: int) -> float:
        """Epochs completed at state `step`; within the repeats of a batch, in proportion."""
        whole, part = divmod(step, self.repeats)
        before, after = self.plan.epoch_at(whole), self.plan.epoch_at(whole + bool(part))
        return before + (after - before) * part / self.repeats

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`, each repeat counted."""
        whole, part = divmod(step, self.repeats)
        before = self.plan.tokens_through(whole)
        again = self.plan.tokens_through(whole + 1) - before if part else 0
        return self.repeats * before + part * again

    def steps_for(self, train: Train) -> int:
        """The length of training in steps. For tokens: the first step that reaches them, repeats counted."""
        if train.steps is not None:
            return train.steps
        if train.tokens is None:
            return self.plan.steps_for(train) * self.repeats
        once = train.model_copy(update={"tokens": math.ceil(train.tokens / self.repeats)})
        step = (self.plan.steps_for(once) - 1) * self.repeats
        while self.tokens_through(step) < train.tokens:
            step += 1
        return step


def make_plan(
    train: Train, lengths: Sequence[int], replay: Mapping[str, tuple[range, float]], nll: np.ndarray | None = None
) -> Plan:
    """New text alone, or mixed with what is replayed; each batch as often in a row as asked.

    `nll`: of every example, where the order needs it.
    """
    plan: Plan
    if replay and train.mixing.window is not None:
        plan = WindowPlan(train.order, lengths, replay, train, nll)
    elif replay:
        plan = MixedPlan(train.order, lengths, replay, train, nll)
    else:
        plan = BatchPlan(train.order, lengths, train.batch, train.seed, nll)
    return RepeatedPlan(plan, train.repeats) if train.repeats > 1 else plan


def share_from(plan: Plan, step: int, replay: Mapping[str, float]) -> None:
    """From state `step` on each replay corpus has this share; the repeats of a batch that has begun stay the same.

    Raises DataError where nothing is replayed, or a window has a percentage of its own.
    """
    if isinstance(plan, RepeatedPlan):
        step, plan = -(-step // plan.repeats), plan.plan
    if not isinstance(plan, MixedPlan):
        raise DataError(f"no share of {', '.join(replay)} can be decided here: only where data.replay has a share")
    plan.share_from(step, replay)


def shares_at(plan: Plan, step: int) -> dict[str, float]:
    """The share asked of each replay corpus in the batch of the update that leaves that state, where one may be."""
    if isinstance(plan, RepeatedPlan):
        step, plan = step // plan.repeats, plan.plan
    return plan.shares_at(step) if isinstance(plan, MixedPlan) else {}


def realised(plan: Plan, step: int) -> dict[str, float]:
    """Of a step's batch: the share of tokens of each replay corpus, and which repeat it is, where there are such."""
    found: dict[str, float] = {}
    if isinstance(plan, RepeatedPlan):
        found["repeat"] = float(plan.repeat_at(step))
        step //= plan.repeats
        plan = plan.plan
    if isinstance(plan, MixedPlan | WindowPlan):
        found |= {f"replayed_{name}": share for name, share in plan.token_shares(step).items() if name != "new"}
    return found


def tree_of(plan: Plan, steps: int) -> dict[str, str]:
    """Where the tokens of a training come from, in words, part by part; empty where all are new."""
    repeats = 1
    if isinstance(plan, RepeatedPlan):
        repeats, steps, plan = plan.repeats, -(-steps // plan.repeats), plan.plan
    if not isinstance(plan, MixedPlan | WindowPlan):
        return {}
    parts = plan.composition(steps)
    total = sum(part.tokens for part in parts)
    often = f", each batch {repeats} times in a row" if repeats > 1 else ""
    return {
        part.name: f"{part.share:.1%} asked, {part.tokens / total:.1%} of tokens: {part.tokens:,} tokens in "
        f"{part.examples:,} passages, {part.epochs:.2f} epochs of them{often}"
        for part in parts
    }
