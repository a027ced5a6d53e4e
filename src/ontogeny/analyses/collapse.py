"""Does general ability collapse, when, in which layers did weights move, and does their movement tell?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ontogeny.analyses._change_points import change_point, slope
from ontogeny.analyses.recorded.items import Items, harness_of, losses_of, of_kind, tasks_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics import by_document as stats
from ontogeny.statistics.association import across, along
from ontogeny.statistics.paired import difference, interval

LEVEL = 0.05


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
    (`paired.difference`), all adjusted together by Benjamini and Hochberg. `change_point`: of the general loss
    (`_change_points.change_point`). `slopes`: of each probe set's loss, per 100 steps; whether the easiest text that is
    trained on (lowest loss at first) falls while the hardest rises.

    `mad_and_loss`: do the weights' MAD and the general loss move together along the run (`_association.along`:
    differenced, trend taken off, circular shifts)? `across`: over the runs that `among` names, the correlation of the
    final MAD with the final increase of the general loss, with and without replay, and whether the two differ.
    """

    among: str | None = Field(default=None)
    """Pattern of other runs' directories, such as runs/forgetting-replay-*; those that lack what it takes are left
    out."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read losses, tasks and the drift of weights."""
        losses = losses_of(run)
        general = [*losses, *tasks_of(run), *harness_of(run)]
        general = [one for one in general if one.role == "general"]
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
        points: dict[str, list[tuple[float, float]]] | None = None,
    ) -> Result:
        """The same, from numbers by document; `streams`: a probe set for each text that is trained on."""
        random = np.random.default_rng(self.seed)
        known = [one for one in general if np.isfinite(one.total).all()]
        if all(len(one.step) < 2 for one in general):
            return Result(
                verdict="not assessable: lacks two checkpoints of text that is not trained on, it has one",
                sentences=(),
                reading=_READING,
                numbers={"n": len(general)},
            )
        known = [one for one in known if len(one.step) > 1]
        changes = _changes(known)
        of_loss = [one for one in known if one.what == "loss"]
        slopes = {one.probe: slope(one) for one in losses if np.isfinite(one.total).all()}
        numbers: dict[str, Any] = {
            "changes": changes,
            "no_number": [one.name for one in general if not np.isfinite(one.total).all()],
            "change_point": {one.probe: change_point(one, random) for one in of_loss},
            "slopes": slopes,
            "streams": _streams([one for one in losses if one.probe in streams and one.probe in slopes], slopes),
        }
        if drift is not None:
            numbers["mad"] = {"step": drift.step, "block": drift.block, "mad": drift.mad}
            numbers["mad_and_loss"] = {one.probe: _together(drift, one) for one in of_loss}
        if points is not None:
            numbers["across"] = across(points)
        return Result(
            verdict=_verdict(numbers), sentences=tuple(_sentences(numbers)), reading=_READING, numbers=numbers
        )


def drift_of(run: Any) -> Drift | None:
    """What `weight_drift` saw; None without it."""
    data = of_kind(run, "weight_drift")
    if data is None:
        return None
    mad = np.column_stack([data["block_mad_first"].values, data["mad_first"].values]).astype(np.float64)
    mad = np.where((data.step.values == data.step.values.min())[:, None], 0.0, mad)
    kept = np.isfinite(mad).all(axis=1)
    return Drift(step=data.step.values[kept].astype(np.int64), block=data["block"].values, mad=mad[kept])


def streams_of(run: Any) -> list[str]:
    """A probe set for each corpus that is trained on or replayed, one that was not trained on where there is one."""
    data = run.recipe.get("data") or {}
    takes = [*(data.get("train") or ()), *(data.get("replay") or {}).values()]
    trained = {str(take["of"]) for take in takes}
    of = {name: str(take.get("of")) for name, take in (data.get("probes") or {}).items()}
    found = []
    for corpus in dict.fromkeys(one.partition("/")[0] for one in trained):
        mine = sorted((name for name in of if of[name].partition("/")[0] == corpus), key=lambda n: of[n] in trained)
        found += mine[:1]
    return found


def points_of(run: Any, among: str) -> dict[str, list[tuple[float, float]]]:
    """Final MAD and final increase of the general loss of each run, with and without replay. Raises StoreError."""
    from ontogeny.store.run import open_run

    own = {name: run.probes[name].fingerprint for name in run.probes}
    pattern = Path(among)
    found: dict[str, list[tuple[float, float]]] = {"with replay": [], "without replay": []}
    for path in sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))):
        if not (path / "provenance.json").is_file():
            continue
        other = open_run(path)
        same = {name for name in other.probes if own.get(name) == other.probes[name].fingerprint}
        general = [one for one in losses_of(other) if one.role == "general" and one.probe in same]
        drift = drift_of(other)
        if general and drift is not None:
            risen = float(np.mean([one.mean[-1] - one.mean[0] for one in general]))
            arm = "with replay" if replays(other.recipe) else "without replay"
            found[arm].append((float(drift.mad[-1, -1]), risen))
    if not any(found.values()):
        raise StoreError(f"{among}: no run there has weight_drift, and the general probe sets of {run.path}")
    return found


def replays(recipe: Mapping[str, Any]) -> bool:
    """Does it begin with a share of replayed text above 0?"""
    replay = (recipe.get("data") or {}).get("replay") or {}
    return any(one.get("share", 0) > 0 for one in replay.values())


def _changes(general: Sequence[Items]) -> dict[str, Any]:
    """Each later checkpoint against the first, adjusted over all."""
    found = {
        one.name: [difference(one.worse * (row - one.total[0]), one.weight) for row in one.total[1:]] for one in general
    }
    p = stats.benjamini_hochberg(np.array([change.p for changes in found.values() for change in changes]))
    adjusted = iter(p)
    return {
        one.name: {
            "probe": one.probe,
            "what": one.what,
            "unit": one.unit,
            "worse": one.worse,
            "step": one.step[1:],
            "n": one.items,
            "documents": one.documents,
            "first": float(one.mean[0]),
            "last": float(one.mean[-1]),
            **{key: [getattr(change, key) for change in found[one.name]] for key in ("value", "low", "high")},
            "p_adjusted": [float(next(adjusted)) for _ in found[one.name]],
        }
        for one in general
    }


def _together(drift: Drift, loss: Items) -> dict[str, Any]:
    _, left, right = np.intersect1d(drift.step, loss.step, return_indices=True)
    return along(loss.step[right], drift.mad[left].T, loss.mean[right])


def _streams(losses: Sequence[Items], slopes: dict[str, Any]) -> dict[str, Any]:
    """Of the texts that are trained on, does the easiest fall while the hardest rises?"""
    if len(losses) < 2:
        return {"assessable": False, "lacks": "probe sets of two texts that are trained on"}
    order = sorted(losses, key=lambda one: one.mean[0])
    easy, hard = order[0].probe, order[-1].probe
    return {"assessable": True, "easy": easy, "hard": hard, "claimed": bool(slopes[easy].high < 0 < slopes[hard].low)}


def _verdict(numbers: dict[str, Any]) -> str:
    if numbers["no_number"]:
        return f"collapsed: {', '.join(numbers['no_number'])} is no number at some checkpoint"
    changes = numbers["changes"]
    if all(np.isnan(one["low"]).all() for one in changes.values()):
        return "not assessable: no number with an interval; token_nll gives one for each passage"
    worse = [name for name, one in changes.items() if one["p_adjusted"][-1] < LEVEL and one["value"][-1] > 0]
    better = [name for name, one in changes.items() if one["p_adjusted"][-1] < LEVEL and one["value"][-1] < 0]
    said = [f"worse at the end than before training: {', '.join(worse)}"] if worse else []
    said += [f"better: {', '.join(better)}"] if better else []
    return "; ".join(said) or "no general number surely differs at the end from before training"


def _sentences(numbers: dict[str, Any]) -> list[str]:
    lines = [_of_change(name, one) for name, one in numbers["changes"].items()]
    for probe, one in numbers["change_point"].items():
        if not one["assessable"]:
            lines.append(f"{probe}: a change point of the loss is not assessable: lacks {one['lacks']}")
            continue
        slopes = f"slopes {interval(one['before'])} before and {interval(one['after'])} nats per 100 steps after"
        caveat = "; documents share the run's own wander, so this is of this run alone: only seeds say more"
        where = f"step {one['step']:.0f} ({one['low']:.0f} to {one['high']:.0f})"
        lines.append(
            f"{probe}: the loss {'bends' if one['claimed'] else 'does not surely bend'} at {where}: {slopes}"
            f"{caveat if one['claimed'] else ''}"
        )
    for probe, one in numbers["slopes"].items():
        lines.append(f"{probe}: {interval(one)} nats per 100 steps over the whole run, n = {one.documents} documents")
    streams = numbers["streams"]
    if streams["assessable"]:
        sure = "falls while" if streams["claimed"] else "does not surely fall while"
        lines.append(f"the easier text ({streams['easy']}) {sure} the harder one ({streams['hard']}) rises")
    for probe, one in numbers.get("mad_and_loss", {}).items():
        lines.append(f"{probe}: {_of_moving(one, numbers['mad']['block'])}")
    return lines + (_of_runs(numbers["across"]) if "across" in numbers else [])


def _of_change(name: str, one: dict[str, Any]) -> str:
    last = interval({key: one[key][-1] for key in ("value", "low", "high")})
    sure = (np.array(one["p_adjusted"]) < LEVEL) & (np.array(one["value"]) > 0)
    lasting = np.flatnonzero(np.logical_and.accumulate(sure[::-1])[::-1])
    since = f"; surely worse from step {one['step'][lasting[0]]} on" if len(lasting) else ""
    p = one["p_adjusted"][-1]
    adjusted = f", p = {p:.3g} adjusted" if np.isfinite(p) else ""
    return (
        f"{name}: {one['first']:.3f} before, {one['last']:.3f} at the end ({one['unit']}); {last}, positive is worse"
        f"{adjusted}, n = {one['n']} from {one['documents']} documents{since}"
    )


def _of_moving(one: dict[str, Any], blocks: np.ndarray) -> str:
    if not one["assessable"]:
        return f"whether the weights' MAD moves with the loss is not assessable: lacks {one['lacks']}"
    at = int(np.argmin(one["p"]))
    which = "all weights" if at == len(one["p"]) - 1 else f"block {blocks[at]}"
    return (
        f"MAD and loss, both differenced and without their trend: r = {one['r'][-1]:+.2f} of all weights; strongest of "
        f"{which}: r = {one['r'][at]:+.2f}, p = {one['p'][at]:.3g} by shifts, n = {one['n']} intervals"
    )


def _of_runs(found: dict[str, Any]) -> list[str]:
    lines = []
    for name, one in found["arms"].items():
        without = f"; {one.left_out} without, whose loss or MAD is no number" if one.left_out else ""
        if np.isnan(one.r):
            lack = f"5 runs that differ, it has {one.n}{without}"
            lines.append(f"final MAD and loss, runs {name}: not assessable: lacks {lack}")
        else:
            said = f"r = {one.r:+.2f} (95% {one.low:+.2f} to {one.high:+.2f}), n = {one.n} runs{without}"
            lines.append(f"final MAD and increase of the general loss over runs {name}: {said}")
    if "p" in found:
        differ = "differ" if found["p"] < LEVEL else "do not surely differ"
        said = f"z = {found['z']:+.2f}, p = {found['p']:.3g}"
        lines.append(f"with and without replay, these correlations {differ}: {said}")
    return lines


_READING = (
    "Intervals are over documents of one run. A change point is where the slope changes, which a smooth bend has, too. "
    "That MAD and loss move together along a run does not say that one makes the other: the learning rate moves both. "
    "Over runs that differ in their rate, a correlation is that of the rate's effects; runs should differ in the seed, "
    "or in one setting."
)
