"""What was known before and is not known now: on probe sets and tasks, paired by item, and how fast it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NotRequired, TypedDict

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.changes import change, worse_since_best, worse_since_first
from ontogeny.analyses.recorded.items import NOT_NEW, Items, losses_of, tasks_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.documents import LEAST_DOCUMENTS
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import ValueInterval
from ontogeny.statistics.paired import (
    PairedDifference,
    chosen_by_others,
    fieller_ratio,
    interval_text,
    paired_difference,
)

LEVEL = 0.05
REMEDY = "ontogeny measure RUN --kind token_nll  adds a loss for each passage, and so an interval"
EARLY_STATES = 3
"""Checkpoints after the first among the first steps, below which nothing is claimed about them."""


class StabilityGap(TypedDict):
    """Is the loss at the worst checkpoint above the first and above the last?"""

    assessable: Literal[True]
    above_first: PairedDifference
    above_last: PairedDifference
    worst_step: int
    claimed: bool
    early_share: dict[str, ValueInterval]
    """Up to the `last` and up to the `worst` checkpoint: the share of the increase in the first steps."""


class NoStabilityGap(TypedDict):
    """Why it is not assessable."""

    assessable: Literal[False]
    lacks: str


class Plasticity(TypedDict):
    """How much the loss of the new text fell."""

    fell: PairedDifference
    share: NotRequired[ValueInterval]
    """Of the reference run's fall."""


class Forgetting(Analysis):
    """Each probe set's loss, and tasks made from it, now against before training and against their best.

    Differences are signed so that positive is *worse*, paired by item and taken per document
    (`paired.paired_difference`). `since_first`: last minus first checkpoint. `since_best`: last minus best (Chaudhry et
    al. 2018). The best of many noisy checkpoints looks better than it was, so the plain difference is too large on
    average (`naive`, an upper bound); here the best is chosen on one half of the documents and measured on the other,
    both ways, over 20 halvings, which is at most the true difference on average (`paired.since_best`; the interval
    reaches up to that of the plain difference). All are adjusted together by Benjamini and Hochberg.

    `stability_gap` (De Lange et al. 2023), of sets that are not trained on: the worst checkpoint, chosen in the same
    way, against the first *and* against the last: a gap is claimed if both intervals exclude 0. `early`: the share of
    the increase, up to the last and up to the worst checkpoint, reached in the first steps (between checkpoints by
    straight lines), with Fieller's interval. Both need three checkpoints there.

    `plasticity`: how much the loss of the new text fell, and its share of what a reference run reached on the same
    passages.
    """

    order: ClassVar[float] = 80
    section: ClassVar[str] = "forgetting"

    early: float = Field(default=0.1, gt=0, lt=1)
    """The first steps, as a share of all."""
    reference: str | None = None
    """Directory of a run, such as one without replay, whose decrease of the new text's loss is the most to expect."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read what was recorded by item, and judge."""
        losses = losses_of(run)
        takes = (run.recipe.get("data") or {}).get("train") or ()
        corpora = {str(take.get("of")).partition("/")[0] for take in takes}
        if len(corpora) < 2 and not any(items.role in NOT_NEW for items in losses):
            raise StoreError(
                f"{run.path} needs two checkpoints of a probe set of text that it is not trained on, to say what it "
                "forgot: add general: {of: OTHER_CORPUS/SPLIT} to data.probes, and evaluation to measures"
            )
        return self.judge([*losses, *tasks_of(run)], self._reference(run) if self.reference else [])

    def judge(self, items: Sequence[Items], reference: Sequence[Items] = ()) -> Result:
        """The same, from numbers by document; `reference`: those of another run."""
        random = np.random.default_rng(self.seed)
        known = [numbers for numbers in items if np.isfinite(numbers.total).all()]
        lost = [numbers.name for numbers in items if not np.isfinite(numbers.total).all()]
        changes = [_Change.of(numbers) for numbers in known]
        p = np.array([[change.since_first.p, change.since_best.p] for change in changes]).reshape(-1, 2)
        adjusted = benjamini_hochberg(p.ravel()).reshape(-1, 2)
        sets = {
            change.items.name: change.numbers | {"p_adjusted": {"since_first": float(a), "since_best": float(b)}}
            for change, (a, b) in zip(changes, adjusted, strict=True)
        }
        losses = [numbers for numbers in known if numbers.what == "loss"]
        gaps = {loss.probe: self._gap(loss, random) for loss in losses if loss.role in NOT_NEW}
        learned = {loss.probe: _plasticity(loss, reference) for loss in losses if loss.role not in NOT_NEW}
        numbers = {"sets": sets, "stability_gap": gaps, "plasticity": learned, "no_number": lost, "early": self.early}
        sentences = [_of_set(name, row) for name, row in sets.items()]
        sentences += [_of_gap(probe, gap, self.early) for probe, gap in gaps.items()]
        sentences += [_of_plasticity(probe, row) for probe, row in learned.items()]
        sentences += [f"{name}: not assessable: it is no number at some checkpoint" for name in lost]
        return Result(verdict=_verdict(sets, lost), sentences=tuple(sentences), reading=_READING, numbers=numbers)

    def _reference(self, run: RecordedRun) -> list[Items]:
        """Losses of the other run on probe sets that hold the same passages."""
        from ontogeny.store.run import open_run

        other = open_run(Path(str(self.reference)))
        same = {
            name
            for name in other.probes
            if name in run.probes and other.probes[name].fingerprint == run.probes[name].fingerprint
        }
        return [items for items in losses_of(other) if items.probe in same]

    def _gap(self, items: Items, random: np.random.Generator) -> StabilityGap | NoStabilityGap:
        """Is there a transient increase, and how much of the increase comes first?"""
        edge = items.step[0] + self.early * (items.step[-1] - items.step[0])
        first = int(((items.step > items.step[0]) & (items.step <= edge)).sum())
        if first < EARLY_STATES:
            remedy = f"measure there more often, at step {max(int(edge) // EARLY_STATES, 1)} for instance"
            lack = shortage(EARLY_STATES, "checkpoint", first, remedy, f"in the first {self.early:.0%} of the steps")
            return {"assessable": False, "lacks": lack}
        if not items.items:
            return {"assessable": False, "lacks": f"losses by passage: {items.basis}; {REMEDY}"}
        if items.documents < LEAST_DOCUMENTS:
            lack = shortage(LEAST_DOCUMENTS, "document", items.documents, "take the probe set from more documents")
            return {"assessable": False, "lacks": lack}

        def worst_minus(checkpoint: int) -> np.ndarray:
            risen = items.total - items.total[checkpoint]
            return chosen_by_others(risen, items.weight, lambda curve: int(curve.argmax()), random)

        worst_minus_first, worst_minus_last = worst_minus(0), worst_minus(-1)
        above_first = paired_difference(worst_minus_first, items.weight)
        above_last = paired_difference(worst_minus_last, items.weight)
        early = np.array([np.interp(edge, items.step, loss) for loss in items.total.T]) - items.total[0]
        return {
            "assessable": True,
            "above_first": above_first,
            "above_last": above_last,
            "worst_step": int(items.step[items.mean.argmax()]),
            "claimed": bool(min(above_first.low, above_last.low) > 0),
            "early_share": {
                "last": _share(early, items.total[-1] - items.total[0]),
                "worst": _share(early, worst_minus_first),
            },
        }


def _share(part: np.ndarray, increase: np.ndarray) -> ValueInterval:
    """Part over increase, with Fieller's interval; NaN if nothing increased."""
    value, low, high = fieller_ratio(part, increase) if increase.sum() > 0 else (float("nan"),) * 3
    return {"value": value, "low": low, "high": high}


@dataclass(frozen=True, kw_only=True)
class _Change:
    """How one number of one probe set changed."""

    items: Items
    since_first: PairedDifference
    since_best: PairedDifference
    naive: float
    """Last minus best, the best chosen on the same documents: too large on average."""

    @classmethod
    def of(cls, items: Items) -> "_Change":
        curve = (items.worse * (items.total - items.total[-1])).sum(axis=1) / items.weight.sum()
        return cls(
            items=items,
            since_first=worse_since_first(items),
            since_best=worse_since_best(items),
            naive=float(0.0 - curve.min()),
        )

    @property
    def numbers(self) -> dict[str, Any]:
        items = self.items
        changes = [change(items, 0, at) for at in range(len(items.step))]
        return {
            "probe": items.probe,
            "role": items.role,
            "what": items.what,
            "unit": items.unit,
            "worse": items.worse,
            "n": items.items,
            "documents": items.documents,
            "basis": items.basis,
            "step": items.step,
            "mean": items.mean,
            "change": {key: [getattr(since, key) for since in changes] for key in ("value", "low", "high")},
            "since_first": self.since_first,
            "since_best": self.since_best,
            "naive": self.naive,
            "best_step": int(items.step[(items.worse * items.mean).argmin()]),
        }


def _plasticity(items: Items, reference: Sequence[Items]) -> Plasticity:
    """How much the loss fell from the first to the last checkpoint; its share of the reference's fall."""
    fell = items.total[0] - items.total[-1]
    plasticity: Plasticity = {"fell": paired_difference(fell, items.weight)}
    for other in reference:
        if other.probe == items.probe and other.documents == items.documents:
            value, low, high = fieller_ratio(fell, other.total[0] - other.total[-1])
            plasticity["share"] = {"value": value, "low": low, "high": high}
    return plasticity


def _verdict(sets: dict[str, Any], lost: list[str]) -> str:
    untrained = {name: row for name, row in sets.items() if row["role"] != "trained"}
    sure = {
        key: [name for name, row in untrained.items() if row["p_adjusted"][key] < LEVEL and row[key].value > 0]
        for key in ("since_first", "since_best")
    }
    worse, below = sure["since_first"], [name for name in sure["since_best"] if name not in sure["since_first"]]
    parts = [f"worse than before training: {', '.join(worse)}"] if worse else []
    parts += [f"worse than at their best: {', '.join(below)}"] if below else []
    untested = [name for name, row in untrained.items() if np.isnan(row["since_first"].p)] + lost
    if not parts and len(untested) == len(untrained) + len(lost):
        return _without_intervals(untrained, lost)
    parts = parts or ["nothing that was looked at is surely worse than before training, or than at its best"]
    return "; ".join([*parts, *([f"not assessable: {', '.join(untested)}"] if untested else [])])


def _without_intervals(untrained: dict[str, Any], lost: list[str]) -> str:
    """Why nothing can be said, and what to do about it."""
    if lost:
        return f"not assessable: no number at some checkpoint: {', '.join(lost)}"
    if any(row["n"] for row in untrained.values()):
        return "not assessable: no interval: take the probe sets from 2 documents or more (data.probes)"
    return f"not assessable: no interval, since only means of probe sets are known: {REMEDY}"


def _of_set(name: str, row: dict[str, Any]) -> str:
    basis, p, naive = row["basis"], row["p_adjusted"], row["naive"]
    sentence = f"{name} ({row['role']}), {row['unit']}, positive is worse: since before training "
    sentence += interval_text(row["since_first"])
    sentence += f", p = {p['since_first']:.3g} adjusted" if row["since_first"].p >= 0 else ""
    if np.isnan(row["since_best"].value):
        return f"{sentence}; since the best, step {row['best_step']}, at most {naive:+.3f}; {basis}"
    sentence += f"; since the best {interval_text(row['since_best'])}, p = {p['since_best']:.3g} adjusted"
    if naive:
        sentence += f", {naive:+.3f} if the best step, {row['best_step']}, is chosen on the same documents"
    return f"{sentence}; {basis}"


def _of_gap(probe: str, gap: StabilityGap | NoStabilityGap, early: float) -> str:
    if not gap["assessable"]:
        return f"{probe}: a stability gap is not assessable: lacks {gap['lacks']}"
    sentence = (
        f"{probe}: {'a' if gap['claimed'] else 'no significant'} stability gap: the worst checkpoint is "
        f"{interval_text(gap['above_first'])} nats above the first and {interval_text(gap['above_last'])} above "
        "the last"
    )
    shares = [
        f"{interval_text(share, '.0%')} of the increase up to the {name}"
        for name, share in gap["early_share"].items()
        if np.isfinite(share["low"])
    ]
    if not shares:
        return f"{sentence}; how early the increase came is not assessable: there is no significant increase"
    return f"{sentence}; the first {early:.0%} of the steps brought {' and '.join(shares)}"


def _of_plasticity(probe: str, row: Plasticity) -> str:
    sentence = f"{probe}: its loss fell over the whole run by {interval_text(row['fell'])} nats per token"
    if "share" in row:
        sentence += f", {interval_text(row['share'], '.0%')} of what the reference run learned"
    return sentence


_READING = (
    "Since before training: is it worse than it was? Since the best: how much of what was ever known is gone? All "
    "intervals are over documents of one run; other seeds are needed to speak of the training. A transient increase at "
    "single checkpoints is one of this run. How often each is claimed where nothing is: docs/statistics.md."
)
