"""What was known before and is not known now: on probe sets and tasks, paired by item, and how fast it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.items import Items, losses_of, tasks_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics import by_document as stats
from ontogeny.statistics.paired import LEAST, Difference, chosen_by_others, difference, interval, quotient, since_best

LEVEL = 0.05
EARLY_STATES = 3
"""Checkpoints after the first within the first steps, below which nothing is said of them."""


class Forgetting(Analysis):
    """Each probe set's loss, and tasks made from it, now against before training and against their best.

    Differences are signed so that positive is *worse*, paired by item and taken per document (`paired.difference`).
    `since_first`: last minus first checkpoint. `since_best`: last minus best (Chaudhry et al. 2018). The best of many
    noisy checkpoints looks better than it was, so the plain difference is too large on average (`naive`, an upper
    bound); here the best is chosen on one half of the documents and measured on the other, both ways, over 20 halvings,
    which is at most the true difference on average (`paired.since_best`; the interval reaches up to that of the plain
    difference). All are adjusted together by Benjamini and Hochberg.

    `stability_gap` (De Lange et al. 2023), of sets that are not trained on: the worst checkpoint, chosen in the same
    way, against the first *and* against the last: a gap is claimed if both intervals exclude 0. `early`: the share of
    the increase, up to the last and up to the worst checkpoint, reached in the first steps (between checkpoints by
    straight lines), with Fieller's interval. Both need three checkpoints there.

    `plasticity`: how much the loss of the new text fell, and its share of what a reference run reached on the same
    passages.
    """

    early: float = Field(default=0.1, gt=0, lt=1)
    """Share of the steps that are the first ones."""
    reference: str | None = None
    """Directory of a run whose decrease of the new text's loss is what could be reached, such as one without replay."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read what was recorded by item, and judge."""
        losses = losses_of(run)
        corpora = {str(one.get("of")).partition("/")[0] for one in (run.recipe.get("data") or {}).get("train") or ()}
        if len(corpora) < 2 and not any(one.role == "general" for one in losses):
            raise StoreError(
                f"{run.path} needs two checkpoints of a probe set of text that it is not trained on, to say what it "
                "forgot: add general: {of: OTHER_CORPUS/SPLIT} to data.probes, and token_nll to measures"
            )
        return self.judge([*losses, *tasks_of(run)], self._reference(run) if self.reference else [])

    def judge(self, items: Sequence[Items], reference: Sequence[Items] = ()) -> Result:
        """The same, from numbers by document; `reference`: those of another run."""
        random = np.random.default_rng(self.seed)
        found = [_Found.of(one, random) for one in items if np.isfinite(one.total).all()]
        lost = [one.name for one in items if not np.isfinite(one.total).all()]
        p = np.array([one.p for row in found for one in (row.since_first, row.since_best)])
        adjusted = stats.benjamini_hochberg(p).reshape(-1, 2)
        sets = {
            row.items.name: row.numbers | {"p_adjusted": {"since_first": float(a), "since_best": float(b)}}
            for row, (a, b) in zip(found, adjusted, strict=True)
        }
        losses = [one for one in items if one.what == "loss" and one.name not in lost]
        gaps = {one.probe: self._gap(one, random) for one in losses if one.role == "general"}
        learned = {one.probe: _plasticity(one, reference) for one in losses if one.role != "general"}
        numbers = {"sets": sets, "stability_gap": gaps, "plasticity": learned, "no_number": lost, "early": self.early}
        sentences = [_of_set(name, one) for name, one in sets.items()]
        sentences += [_of_gap(probe, one, self.early) for probe, one in gaps.items()]
        sentences += [_of_plasticity(probe, one) for probe, one in learned.items()]
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
        return [one for one in losses_of(other) if one.probe in same]

    def _gap(self, items: Items, random: np.random.Generator) -> dict[str, Any]:
        """Is there a transient increase, and how much of the increase comes first?"""
        edge = items.step[0] + self.early * (items.step[-1] - items.step[0])
        first = int(((items.step > items.step[0]) & (items.step <= edge)).sum())
        if items.documents < LEAST or first < EARLY_STATES:
            lack = (
                f"{EARLY_STATES} checkpoints in the first {self.early:.0%} of the steps, it has {first}"
                if first < EARLY_STATES
                else f"{LEAST} documents with token_nll, it has {items.documents}"
            )
            return {"assessable": False, "lacks": lack}
        ends = {
            name: chosen_by_others(items.total - items.total[at], items.weight, lambda c: int(c.argmax()), random)
            for name, at in (("first", 0), ("last", -1))
        }
        above = {name: difference(total, items.weight) for name, total in ends.items()}
        early = np.array([np.interp(edge, items.step, own) for own in items.total.T]) - items.total[0]
        up_to = {"last": items.total[-1] - items.total[0], "worst": ends["first"]}
        shares = {}
        for name, increase in up_to.items():
            value, low, high = quotient(early, increase) if increase.sum() > 0 else (float("nan"),) * 3
            shares[name] = {"value": value, "low": low, "high": high}
        return {
            "assessable": True,
            "above_first": above["first"],
            "above_last": above["last"],
            "worst_step": int(items.step[items.mean.argmax()]),
            "claimed": bool(min(one.low for one in above.values()) > 0),
            "early_share": shares,
        }


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one number of one probe set did."""

    items: Items
    since_first: Difference
    since_best: Difference
    naive: float

    @classmethod
    def of(cls, items: Items, random: np.random.Generator) -> "_Found":
        cost = items.worse * (items.total - items.total[-1])
        curve = cost.sum(axis=1) / items.weight.sum()
        return cls(
            items=items,
            since_first=difference(-cost[0], items.weight),
            since_best=since_best(cost, items.weight, random),
            naive=float(0.0 - curve.min()),
        )

    @property
    def numbers(self) -> dict[str, Any]:
        one = self.items
        changes = [difference(one.total[i] - one.total[0], one.weight) for i in range(len(one.step))]
        return {
            "probe": one.probe,
            "role": one.role,
            "what": one.what,
            "unit": one.unit,
            "worse": one.worse,
            "n": one.items,
            "documents": one.documents,
            "step": one.step,
            "mean": one.mean,
            "change": {key: [getattr(change, key) for change in changes] for key in ("value", "low", "high")},
            "since_first": self.since_first,
            "since_best": self.since_best,
            "naive": self.naive,
            "best_step": int(one.step[(one.worse * one.mean).argmin()]),
        }


def _plasticity(items: Items, reference: Sequence[Items]) -> dict[str, Any]:
    """How much the loss fell from the first to the last checkpoint; its share of the reference's fall."""
    fell = items.total[0] - items.total[-1]
    found: dict[str, Any] = {"fell": difference(fell, items.weight)}
    for other in reference:
        if other.probe == items.probe and other.documents == items.documents:
            value, low, high = quotient(fell, other.total[0] - other.total[-1])
            found["share"] = {"value": value, "low": low, "high": high}
    return found


def _verdict(sets: dict[str, Any], lost: list[str]) -> str:
    known = {name: one for name, one in sets.items() if one["role"] != "trained"}
    sure = {
        key: [n for n, one in known.items() if one["p_adjusted"][key] < LEVEL and one[key].value > 0]
        for key in ("since_first", "since_best")
    }
    worse, below = sure["since_first"], [name for name in sure["since_best"] if name not in sure["since_first"]]
    said = [f"worse than before training: {', '.join(worse)}"] if worse else []
    said += [f"worse than at their best: {', '.join(below)}"] if below else []
    if said:
        return "; ".join(said)
    if lost or all(np.isnan(one["since_first"].p) for one in known.values()):
        return "not assessable: no number with an interval; token_nll gives one for each passage"
    return "nothing that was looked at is surely worse than before training, or than at its best"


def _of_set(name: str, one: dict[str, Any]) -> str:
    basis = f"n = {one['n']} from {one['documents']} documents" if one["n"] else "only the mean is known"
    p = one["p_adjusted"]
    said = f"{name} ({one['role']}), {one['unit']}, positive is worse: since before training "
    said += interval(one["since_first"])
    said += f", p = {p['since_first']:.3g} adjusted" if one["since_first"].p >= 0 else ""
    if np.isnan(one["since_best"].value):
        return f"{said}; since the best, step {one['best_step']}, at most {one['naive']:+.3f}; {basis}"
    said += f"; since the best {interval(one['since_best'])}, p = {p['since_best']:.3g} adjusted"
    flattered = f", {one['naive']:+.3f} if the best step, {one['best_step']}, is chosen on the same documents"
    return f"{said}{flattered if one['naive'] else ''}; {basis}"


def _of_gap(probe: str, one: dict[str, Any], early: float) -> str:
    if not one["assessable"]:
        return f"{probe}: a stability gap is not assessable: lacks {one['lacks']}"
    said = f"{probe}: {'a' if one['claimed'] else 'no sure'} stability gap: the worst checkpoint is "
    said += f"{interval(one['above_first'])} nats above the first and {interval(one['above_last'])} above the last"
    last, worst = one["early_share"]["last"], one["early_share"]["worst"]
    if np.isnan(last["low"]) and np.isnan(worst["low"]):
        return f"{said}; how early the increase came is not assessable: there is no sure increase"
    shares = [
        f"{interval(s, '.0%')} of the increase up to the {name}"
        for name, s in one["early_share"].items()
        if np.isfinite(s["low"])
    ]
    return f"{said}; the first {early:.0%} of the steps brought {' and '.join(shares)}"


def _of_plasticity(probe: str, one: dict[str, Any]) -> str:
    said = f"{probe}: learned {interval(one['fell'])} nats per token"
    return f"{said}, {interval(one['share'], '.0%')} of what the reference run learned" if "share" in one else said


_READING = (
    "Since before training: is it worse than it was? Since the best: how much of what was ever known is gone? All "
    "intervals are over documents of one run; other seeds are needed to speak of the training. A transient increase at "
    "single checkpoints is one of this run. How often each is claimed where nothing is: docs/statistics.md."
)
