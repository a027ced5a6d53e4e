"""Does general ability collapse, when, in which layers did weights move, and does their movement tell?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.analyses._change_points import ChangePoint, NoChangePoint, change_point, slope
from ontogeny.analyses.recorded.items import Items, harness_of, losses_of, of_kind, tasks_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.correlations import LEAST_RUNS, AlongRun, ArmsCompared, compare_arms, correlation_along_run
from ontogeny.statistics.estimates import counted, shortage
from ontogeny.statistics.intervals import ValueInterval
from ontogeny.statistics.paired import PairedDifference, interval_text, paired_difference

LEVEL = 0.05

Points = dict[str, list[tuple[float, float]]]
"""By arm (with or without replay): final MAD and increase of the general loss of each run."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Mean absolute difference of the weights (MAD) from the first checkpoint, at C checkpoints."""

    step: np.ndarray
    """int64 [C]"""
    block: np.ndarray
    """int64 [B]: as `weight_drift` numbers them."""
    mad: np.ndarray
    """float64 [C, B + 1]: of each block; last, of all weights."""


class Collapse(Analysis):
    """General ability at every checkpoint against the first, the same items, and what goes with it.

    `changes`: of each number of text that is not trained on (loss, last words, continuations, the harness's tasks),
    every later checkpoint minus the first, signed so that positive is worse, paired by item and taken per document
    (`paired.paired_difference`), all adjusted together by Benjamini and Hochberg. `change_point`: of each general loss,
    corrected over them (`_change_points.change_point`). `slopes`: of each probe set's loss, per 100 steps; whether the
    easiest text that is trained on (lowest loss at first) falls while the hardest rises.

    `mad_and_loss`: do the weights' MAD and the general loss move together along the run (differenced, detrended,
    circular shifts: `correlations.correlation_along_run`)? `across`: over the runs that `among` names, the correlation
    of the final MAD with the final increase of the general loss, with and without replay, and whether the two differ.
    """

    order: ClassVar[float] = 100
    section: ClassVar[str] = "forgetting"

    among: str | None = Field(default=None)
    """Pattern of other runs' directories, such as runs/forgetting-replay-*; runs without the measures are left out."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read losses, tasks and the drift of weights."""
        losses = losses_of(run)
        general = [items for items in (*losses, *tasks_of(run), *harness_of(run)) if items.role == "general"]
        if not general:
            raise StoreError(
                f"{run.path} needs two checkpoints of text that it is not trained on: add general: "
                "{of: OTHER_CORPUS/SPLIT} to data.probes, and token_nll, cloze, continuation to measures"
            )
        points = points_of(run, self.among) if self.among else None
        return self.judge(general, losses, drift_of(run), streams_of(run), points)

    def judge(
        self,
        general: Sequence[Items],
        losses: Sequence[Items] = (),
        drift: Drift | None = None,
        streams: Sequence[str] = (),
        points: Points | None = None,
    ) -> Result:
        """The same, from numbers by document; `streams`: a probe set for each text that is trained on."""
        random = np.random.default_rng(self.seed)
        if all(len(items.step) < 2 for items in general):
            most = max(len(items.step) for items in general)
            lack = shortage(2, "checkpoint", most, "measure at 2 or more", "of text that is not trained on")
            return Result(
                verdict=f"not assessable: lacks {lack}", sentences=(), reading=_READING, numbers={"n": len(general)}
            )
        known = [items for items in general if np.isfinite(items.total).all() and len(items.step) > 1]
        general_losses = [items for items in known if items.what == "loss"]
        slopes = {loss.probe: slope(loss) for loss in losses if np.isfinite(loss.total).all()}
        numbers: dict[str, Any] = {
            "changes": _changes(known),
            "one_checkpoint": [items.name for items in general if len(items.step) < 2],
            "no_number": [items.name for items in general if not np.isfinite(items.total).all()],
            "change_point": {loss.probe: change_point(loss, random, len(general_losses)) for loss in general_losses},
            "slopes": slopes,
            "streams": _streams([loss for loss in losses if loss.probe in streams and loss.probe in slopes], slopes),
        }
        if drift is not None:
            numbers["mad"] = {"step": drift.step, "block": drift.block, "mad": drift.mad}
            numbers["mad_and_loss"] = {loss.probe: _together(drift, loss) for loss in general_losses}
        if points is not None:
            numbers["across"] = compare_arms(points)
        sentences = tuple(_sentences(numbers))
        return Result(verdict=_verdict(numbers), sentences=sentences, reading=_READING, numbers=numbers)


def drift_of(run: RecordedRun) -> Drift | None:
    """What `weight_drift` recorded; None without it."""
    data = of_kind(run, "weight_drift")
    if data is None:
        return None
    mad = np.column_stack([data["block_mad_first"].values, data["mad_first"].values]).astype(np.float64)
    mad = np.where((data.step.values == data.step.values.min())[:, None], 0.0, mad)  # from itself: not recorded
    kept = np.isfinite(mad).all(axis=1)
    return Drift(step=data.step.values[kept].astype(np.int64), block=data["block"].values, mad=mad[kept])


def streams_of(run: RecordedRun) -> list[str]:
    """A probe set for each corpus that is trained on or replayed: a held-out one if there is one."""
    data = run.recipe.get("data") or {}
    takes = [*(data.get("train") or ()), *(data.get("replay") or {}).values()]
    trained = {str(take["of"]) for take in takes}
    splits = {name: str(take.get("of")) for name, take in (data.get("probes") or {}).items()}
    streams = []
    for corpus in dict.fromkeys(split.partition("/")[0] for split in trained):
        of_corpus = [name for name, split in splits.items() if split.partition("/")[0] == corpus]
        streams += sorted(of_corpus, key=lambda name: splits[name] in trained)[:1]
    return streams


def points_of(run: RecordedRun, among: str) -> Points:
    """Final MAD and final increase of the general loss of each run, with and without replay. Raises StoreError."""
    from ontogeny.store.run import open_run

    fingerprints = {name: run.probes[name].fingerprint for name in run.probes}
    pattern = Path(among)
    points: Points = {"with replay": [], "without replay": []}
    for path in sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))):
        if not (path / "provenance.json").is_file():
            continue
        other = open_run(path)
        same = {name for name in other.probes if fingerprints.get(name) == other.probes[name].fingerprint}
        general = [loss for loss in losses_of(other) if loss.role == "general" and loss.probe in same]
        drift = drift_of(other)
        if general and drift is not None:
            risen = float(np.mean([loss.mean[-1] - loss.mean[0] for loss in general]))
            arm = "with replay" if replays(other.recipe) else "without replay"
            points[arm].append((float(drift.mad[-1, -1]), risen))
    if not any(points.values()):
        raise StoreError(f"{among}: no run there has weight_drift, and the general probe sets of {run.path}")
    return points


def replays(recipe: Mapping[str, Any]) -> bool:
    """Does it begin with a share of replayed text above 0?"""
    replay = (recipe.get("data") or {}).get("replay") or {}
    return any(source.get("share", 0) > 0 for source in replay.values())


def _changes(general: Sequence[Items]) -> dict[str, dict[str, Any]]:
    """Each later checkpoint against the first, adjusted over all."""
    changes = {
        items.name: [
            paired_difference(items.worse * (total - items.total[0]), items.weight) for total in items.total[1:]
        ]
        for items in general
    }
    adjusted = iter(benjamini_hochberg(np.array([change.p for rows in changes.values() for change in rows])))
    return {
        items.name: {
            "probe": items.probe,
            "what": items.what,
            "unit": items.unit,
            "worse": items.worse,
            "step": items.step[1:],
            "n": items.items,
            "documents": items.documents,
            "basis": items.basis,
            "first": float(items.mean[0]),
            "last": float(items.mean[-1]),
            **{key: [getattr(change, key) for change in changes[items.name]] for key in ("value", "low", "high")},
            "p_adjusted": [float(next(adjusted)) for _ in changes[items.name]],
        }
        for items in general
    }


def _together(drift: Drift, loss: Items) -> AlongRun:
    _, left, right = np.intersect1d(drift.step, loss.step, return_indices=True)
    return correlation_along_run(loss.step[right], drift.mad[left].T, loss.mean[right])


def _streams(losses: Sequence[Items], slopes: dict[str, PairedDifference]) -> dict[str, Any]:
    """Of the texts that are trained on, does the easiest fall while the hardest rises?"""
    if len(losses) < 2:
        return {"assessable": False, "lacks": "probe sets of two texts that are trained on"}
    order = sorted(losses, key=lambda loss: loss.mean[0])
    easy, hard = order[0].probe, order[-1].probe
    return {"assessable": True, "easy": easy, "hard": hard, "claimed": bool(slopes[easy].high < 0 < slopes[hard].low)}


def _verdict(numbers: dict[str, Any]) -> str:
    if numbers["no_number"]:
        return f"collapsed: {', '.join(numbers['no_number'])} is no number at some checkpoint"
    changes = numbers["changes"]
    if all(np.isnan(change["low"]).all() for change in changes.values()):
        if any(change["documents"] for change in changes.values()):
            return (
                "not assessable: no number with an interval: take the probe sets from 2 documents or more (data.probes)"
            )
        return "not assessable: no number with an interval: add token_nll to measures, which gives one for each passage"
    last = {name: change["value"][-1] for name, change in changes.items() if change["p_adjusted"][-1] < LEVEL}
    worse = [name for name, value in last.items() if value > 0]
    better = [name for name, value in last.items() if value < 0]
    parts = [f"worse at the end than before training: {', '.join(worse)}"] if worse else []
    parts += [f"better: {', '.join(better)}"] if better else []
    untested = [name for name, change in changes.items() if np.isnan(change["low"][-1])]
    verdict = "; ".join(parts) or "no general number surely differs at the end from before training"
    if untested:
        verdict += (
            f"; without an interval, so not assessable: {', '.join(untested)}: take them from 2 documents or more"
        )
    if numbers["one_checkpoint"]:
        names = ", ".join(numbers["one_checkpoint"])
        verdict += f"; of one checkpoint, so not assessable: {names}: measure at 2 or more"
    return verdict


def _sentences(numbers: dict[str, Any]) -> list[str]:
    lines = [_of_change(name, change) for name, change in numbers["changes"].items()]
    lines += [f"{probe}: {_of_change_point(point)}" for probe, point in numbers["change_point"].items()]
    lines += [
        f"{probe}: {interval_text(change)} nats per 100 steps over the whole run, n = "
        f"{counted(change.documents, 'document')}"
        for probe, change in numbers["slopes"].items()
    ]
    streams = numbers["streams"]
    if streams["assessable"]:
        sure = "falls while" if streams["claimed"] else "does not significantly fall while"
        lines.append(f"the easier text ({streams['easy']}) {sure} the harder one ({streams['hard']}) rises")
    for probe, along in numbers.get("mad_and_loss", {}).items():
        lines.append(f"{probe}: {_of_drift(along, numbers['mad']['block'])}")
    return lines + (_of_runs(numbers["across"]) if "across" in numbers else [])


def _of_change(name: str, change: dict[str, Any]) -> str:
    last = interval_text(ValueInterval(value=change["value"][-1], low=change["low"][-1], high=change["high"][-1]))
    sure = (np.array(change["p_adjusted"]) < LEVEL) & (np.array(change["value"]) > 0)
    lasting = np.flatnonzero(np.logical_and.accumulate(sure[::-1])[::-1])
    since = f"; significantly worse from step {change['step'][lasting[0]]} on" if len(lasting) else ""
    p = change["p_adjusted"][-1]
    adjusted = f", p = {p:.3g} adjusted" if np.isfinite(p) else ""
    return (
        f"{name}: {change['first']:.3f} before, {change['last']:.3f} at the end ({change['unit']}); {last}, positive "
        f"is worse{adjusted}, {change['basis']}{since}"
    )


def _of_change_point(point: ChangePoint | NoChangePoint) -> str:
    if not point["assessable"]:
        return f"a change point of the loss is not assessable: lacks {point['lacks']}"
    slopes = (
        f"slopes {interval_text(point['before'])} before and {interval_text(point['after'])} nats per 100 steps after"
    )
    where = f"step {point['step']:.0f} ({point['low']:.0f} to {point['high']:.0f})"
    if not point["claimed"]:
        return f"the loss does not bend significantly at {where}: {slopes}"
    caveat = "all documents share this run's fluctuations, so only other seeds tell whether it recurs"
    return f"the loss bends at {where}: {slopes}; {caveat}"


def _of_drift(along: AlongRun, blocks: np.ndarray) -> str:
    if not along["assessable"]:
        return f"whether the weights' MAD moves with the loss is not assessable: lacks {along['lacks']}"
    r, p = along["r"], along["p"]
    at = int(np.argmin(p))
    which = "all weights" if at == len(p) - 1 else f"block {blocks[at]}"
    return (
        f"MAD and loss, both differenced and without their trend: r = {r[-1]:+.2f} of all weights; strongest of "
        f"{which}: r = {r[at]:+.2f}, p = {p[at]:.3g} by shifts, n = {along['n']} intervals"
    )


def _of_runs(compared: ArmsCompared) -> list[str]:
    lines = []
    for name, arm in compared["arms"].items():
        without = f"; {arm.left_out} without, whose loss or MAD is no number" if arm.left_out else ""
        if np.isnan(arm.r):
            lack = "runs that differ in loss and MAD: sweep over rates or seeds"
            if arm.n < LEAST_RUNS:
                lack = shortage(LEAST_RUNS, "run", arm.n, f"let `among` name more{without}")
            lines.append(f"final MAD and loss, runs {name}: not assessable: lacks {lack}")
        else:
            r = f"r = {arm.r:+.2f} (95% {arm.low:+.2f} to {arm.high:+.2f}), n = {arm.n} runs{without}"
            lines.append(f"final MAD and increase of the general loss over runs {name}: {r}")
    if "p" in compared:
        differ = "differ" if compared["p"] < LEVEL else "do not differ significantly"
        z = f"z = {compared['z']:+.2f}, p = {compared['p']:.3g}"
        lines.append(f"with and without replay, these correlations {differ}: {z}")
    return lines


_READING = (
    "Intervals are over documents of one run. A change point is where the slope changes, which a smooth bend has, too. "
    "That MAD and loss move together along a run does not say that one makes the other: the learning rate moves both. "
    "Over runs that differ in their rate, a correlation is that of the rate's effects; runs should differ in the seed, "
    "or in one setting."
)
