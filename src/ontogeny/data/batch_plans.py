"""The batch plan that a recipe asks for."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train
from ontogeny.data.epoch_plan import EpochPlan
from ontogeny.data.mixed_plan import MixedPlan
from ontogeny.data.window_plan import WindowPlan

REPLAY_CARRIED = "replay_carried"
"""Key of provenance.json, true in runs whose decided shares of replay are carried over decisions (`count_anew`)."""
GAP = 0.25
"""A realised share of replay that is off the decided one by more than this part of it is told."""


class BatchPlan(Protocol):
    """Which examples make up which batch: pure functions of the step."""

    steps_per_epoch: int

    def batch_at(self, step: int) -> NDArray[np.int64]:
        """Examples of the batch of step `step`: int64 indices."""
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

    def __init__(self, plan: BatchPlan, repeats: int) -> None:
        self.plan = plan
        self.repeats = repeats
        self.steps_per_epoch = plan.steps_per_epoch * repeats

    def batch_at(self, step: int) -> NDArray[np.int64]:
        """Examples of the batch of step `step`: int64 indices."""
        return self.plan.batch_at(step // self.repeats)

    def repeat_at(self, step: int) -> int:
        """Which repeat of its batch a step is, from 0."""
        return step % self.repeats

    def epoch_at(self, step: int) -> float:
        """Epochs completed at state `step`, interpolated linearly within the repeats of a batch."""
        batches, repeat = divmod(step, self.repeats)
        before, after = self.plan.epoch_at(batches), self.plan.epoch_at(batches + bool(repeat))
        return before + (after - before) * repeat / self.repeats

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`, each repeat counted."""
        batches, repeat = divmod(step, self.repeats)
        before = self.plan.tokens_through(batches)
        batch_tokens = self.plan.tokens_through(batches + 1) - before if repeat else 0
        return self.repeats * before + repeat * batch_tokens

    def steps_for(self, train: Train) -> int:
        """The length of training in steps. If it is given in tokens: the first step that reaches them with repeats."""
        if train.steps is not None:
            return train.steps
        if train.tokens is None:
            return self.plan.steps_for(train) * self.repeats
        without_repeats = train.model_copy(update={"tokens": -(-train.tokens // self.repeats)})
        batches = self.plan.steps_for(without_repeats)
        if isinstance(self.plan, MixedPlan | WindowPlan) and self.plan.counts.counted_steps < batches:
            return batches * self.repeats  # extrapolated: counting to there would take too long
        before = self.plan.tokens_through(batches - 1)
        last_tokens = self.plan.tokens_through(batches) - before
        repeats_of_last = -(-(train.tokens - self.repeats * before) // last_tokens)
        return (batches - 1) * self.repeats + max(repeats_of_last, 0)


def make_plan(
    train: Train,
    lengths: Sequence[int],
    replay: Mapping[str, tuple[range, float]],
    nll: NDArray[np.float64] | None = None,
) -> BatchPlan:
    """New text alone, or mixed with replay; each batch as often in a row as `train.repeats` says.

    `lengths`: tokens of every example, new ones first. `replay`: each corpus's examples, and its share. `nll`: mean
    NLL per token of every example, in nats, if the order needs it. Raises DataError if there is nothing to train on.
    """
    plan: BatchPlan
    if replay and train.mixing.window is not None:
        plan = WindowPlan(train.order, lengths, replay, train, nll)
    elif replay:
        plan = MixedPlan(train.order, lengths, replay, train, nll)
    else:
        plan = EpochPlan(train.order, lengths, train.batch, train.seed, nll)
    return RepeatedPlan(plan, train.repeats) if train.repeats > 1 else plan


def change_shares(plan: BatchPlan, step: int, replay: Mapping[str, float]) -> None:
    """Give replay corpora these shares from step `step` on. Repeats of a batch that has begun stay the same.

    Raises DataError where nothing is replayed, or where the share follows from `percentage_window`.
    """
    if isinstance(plan, RepeatedPlan):
        step, plan = -(-step // plan.repeats), plan.plan  # rounded up: the next batch that has not begun
    if not isinstance(plan, MixedPlan):
        raise DataError(f"no share of {', '.join(replay)} can be decided here: only where data.replay has a share")
    plan.change_shares(step, replay)


def count_anew(plan: BatchPlan) -> None:
    """Count from 0 at each decision about shares, as earlier versions did: for runs that one of them began.

    Without it their recorded decisions would give other batches than those that were trained on.
    """
    if isinstance(plan, RepeatedPlan):
        plan = plan.plan
    if isinstance(plan, MixedPlan):
        plan.carries = False


def shares_at(plan: BatchPlan, step: int) -> dict[str, float]:
    """The share of a step's batch that each replay corpus is to have; empty where `change_shares` is impossible."""
    if isinstance(plan, RepeatedPlan):
        step, plan = step // plan.repeats, plan.plan
    return plan.shares_at(step) if isinstance(plan, MixedPlan) else {}


def realised_shares(plan: BatchPlan, step: int) -> dict[str, float]:
    """Metrics of a step's batch: `replayed_<corpus>`, its share of the tokens, and `repeat`, which repeat it is.

    Where shares of examples are decided on the way, `replayed_examples_<corpus>` is the share of the examples, to be
    compared with them. Without replay or repeats, the respective entries are absent.
    """
    shares: dict[str, float] = {}
    if isinstance(plan, RepeatedPlan):
        shares["repeat"] = float(plan.repeat_at(step))
        step //= plan.repeats
        plan = plan.plan
    if isinstance(plan, MixedPlan | WindowPlan):
        shares |= {f"replayed_{name}": share for name, share in plan.token_shares(step).items() if name != "new"}
    if isinstance(plan, MixedPlan) and plan.decided and plan.carries and plan.mixing.by == "examples":
        counts = plan.amounts_before(step + 1) - plan.amounts_before(step)
        shares |= {
            f"replayed_examples_{name}": float(counts[i] / counts.sum()) for i, name in enumerate(plan.names) if i
        }
    return shares


def replay_gaps(plan: BatchPlan, step: int) -> dict[str, dict[str, float]]:
    """Replay corpora that got a share unlike the one decided: `decided` and `realised` before state `step`, by name.

    Both are means over all batches, in the unit in which shares are counted. A corpus is listed if they differ by more
    than a quarter of the decided one; empty where nothing was decided on the way.
    """
    if isinstance(plan, RepeatedPlan):
        step, plan = -(-step // plan.repeats), plan.plan  # a batch that has begun counts whole
    if not isinstance(plan, MixedPlan) or not (plan.decided and plan.carries and step):
        return {}
    amounts, owed = plan.amounts_before(step), plan.owed_at(step)
    total = int(amounts.sum())
    shares = {
        name: {"decided": float(amount + lack) / total, "realised": float(amount / total)}
        for name, amount, lack in zip(plan.names[1:], amounts[1:], owed[1:], strict=True)
    }
    return {
        name: share
        for name, share in shares.items()
        if abs(share["realised"] - share["decided"]) > GAP * share["decided"] + 1e-9
    }


def planned_epochs(plan: BatchPlan, steps: int) -> float:
    """Epochs of a training of `steps` steps; of new text mixed with replay, as `describe_parts` counts."""
    if isinstance(plan, RepeatedPlan):
        return planned_epochs(plan.plan, -(-steps // plan.repeats))
    if isinstance(plan, MixedPlan) and plan.shares[0]:
        return plan.composition(steps)[0].epochs
    return plan.epoch_at(steps)


def describe_parts(plan: BatchPlan, steps: int) -> dict[str, str]:
    """Where the tokens of a training of `steps` steps come from, in words, by part; empty where all are new."""
    repeats = 1
    if isinstance(plan, RepeatedPlan):
        repeats, steps, plan = plan.repeats, -(-steps // plan.repeats), plan.plan
    if not isinstance(plan, MixedPlan | WindowPlan):
        return {}
    parts = plan.composition(steps)
    total = sum(part.tokens for part in parts)
    repeated = f", each batch {repeats} times in a row" if repeats > 1 else ""
    return {
        part.name: f"{part.share:.1%} asked, {part.tokens / total:.1%} of tokens: {part.tokens:,} tokens in "
        f"{part.examples:,} passages, {part.epochs:.2f} epochs of them{repeated}"
        for part in parts
    }
