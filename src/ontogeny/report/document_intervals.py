"""Bars of single checkpoints over documents, from what measures recorded of every passage and item."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ontogeny.analyses.recorded.items import Items
from ontogeny.analyses.recorded.passage_losses import document_losses, document_tasks, documents_of
from ontogeny.report.charts import INDEPENDENT, STANDARD_ERRORS
from ontogeny.statistics.estimates import BY_DOCUMENT, difference_of_means, sample, share_interval
from ontogeny.statistics.paired import paired_difference
from ontogeny.store.run_group import RunGroup, RunView

COLUMNS = ("run", "scope", "step", "low", "high")
LEVELS = "95% t intervals of the level over documents"
GAPS = "95% t intervals over documents (Welch), not paired, since the two sets hold different documents"
SHARES = f"95% {BY_DOCUMENT}"
STORED_SHARES = f"95% Wilson intervals, {INDEPENDENT}"
CHANGES = "Changes of the same documents are known better than these levels: see the sentences above."

_Interval = Callable[[float, np.ndarray, np.ndarray], tuple[float, float]]
"""The interval from a mean, and the sums and weights of documents, float64 [D] each."""


@dataclass(frozen=True, kw_only=True)
class DocumentIntervals:
    """The ends of bars, and what they are."""

    frame: pd.DataFrame | None
    """Columns run, scope, step, low, high; None where nothing was recorded by passage, and stored ends are drawn."""
    note: str
    """Kind of interval and what it rests on, for `charts.interval_note`."""
    remark: str = ""
    """A further sentence for the caption."""


def of_losses(runs: RunGroup) -> DocumentIntervals:
    """Of the level of each probe set's loss at each checkpoint."""
    recorded = [(run, items) for run in _alone(runs) for items in document_losses(run).values()]
    drawn = _of_items(recorded, _t, LEVELS, STANDARD_ERRORS)
    return drawn if drawn.frame is None else DocumentIntervals(frame=drawn.frame, note=drawn.note, remark=CHANGES)


def gap_name(unseen: str, trained: str) -> str:
    """What the difference between the losses of two probe sets is called."""
    return f"{unseen} − {trained}"


def of_gaps(runs: RunGroup, pairs: Mapping[str, Sequence[tuple[str, str]]]) -> DocumentIntervals:
    """Of the loss of one probe set minus that of another, which hold different documents; `pairs`: by run."""
    rows: list[tuple[object, ...]] = []
    samples: list[str] = []
    for run in _alone(runs):
        losses = document_losses(run)
        for unseen, trained in pairs.get(run.name, ()):
            if unseen not in losses or trained not in losses:
                continue
            first, second = losses[unseen], losses[trained]
            if not (first.items and second.items and np.array_equal(first.step, second.step)):
                continue
            samples += [f"{items.probe} {items.basis}" for items in (first, second)]
            for at, step in enumerate(first.step):
                levels = [paired_difference(items.total[at], items.weight) for items in (first, second)]
                rows.append((run.name, gap_name(unseen, trained), int(step), *difference_of_means(*levels)))
    return _gathered(rows, samples, GAPS, f"95% intervals, {INDEPENDENT}, as are the two sets")


def of_task(runs: RunGroup, what: str, stored: str) -> DocumentIntervals:
    """Of a task, by the name that analyses give its number; `stored`: what to say of the ends that were stored."""
    recorded = [(run, items) for run in _alone(runs) for items in document_tasks(run) if items.what == what]
    if any(items.worse > 0 for _, items in recorded):
        return _of_items(recorded, _exp_t, "exp of the 95% t interval of the mean NLL over documents", stored)
    return _of_items(recorded, _share, SHARES, stored)


def of_flags(runs: RunGroup, kind: str, variable: str) -> DocumentIntervals:
    """Of a share of passages, from flags on the axis `passage`: 1 or 0, NaN where a passage is too short."""
    rows: list[tuple[object, ...]] = []
    samples: list[str] = []
    for run in _alone(runs):
        group = run.group_of(kind)
        if group not in run.measures or variable not in (data := run.measure(group)):
            continue
        names, ids = data["probe_of_passage"].to_numpy().astype(str), data["passage_id"].to_numpy()
        flags, steps = data[variable].to_numpy().astype(np.float64), data["step"].to_numpy()
        for probe in dict.fromkeys(names.tolist()):
            inside = np.flatnonzero(names == probe)
            inside = inside[np.isfinite(flags[:, inside]).all(axis=0)]
            if not len(inside) or probe not in run.probes:
                continue
            _, counts = np.unique(documents_of(run, probe, ids[inside]), return_counts=True)
            weight = counts.astype(np.float64)
            samples.append(f"{probe} {sample(len(inside), 'passage', len(counts))}")
            for step, share in zip(steps, flags[:, inside].mean(axis=1), strict=True):
                rows.append((run.name, probe, int(step), *share_interval(float(share), weight)))
    return _gathered(rows, samples, SHARES, STORED_SHARES)


def _alone(runs: RunGroup) -> Iterator[RunView]:
    """Runs that are drawn with bars of their own: those of bands of one."""
    return (run for band, run in runs.each() if len(band.runs) == 1)


def _of_items(recorded: Iterable[tuple[RunView, Items]], ends: _Interval, kind: str, stored: str) -> DocumentIntervals:
    rows: list[tuple[object, ...]] = []
    samples: list[str] = []
    for run, items in recorded:
        if not items.items:
            continue
        samples.append(f"{items.probe} {items.basis}")
        for step, mean, total in zip(items.step, items.mean, items.total, strict=True):
            rows.append((run.name, items.probe, int(step), *ends(float(mean), total, items.weight)))
    return _gathered(rows, samples, kind, stored)


def _gathered(rows: list[tuple[object, ...]], samples: list[str], kind: str, stored: str) -> DocumentIntervals:
    if not rows:
        return DocumentIntervals(frame=None, note=stored)
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"low": float, "high": float})
    return DocumentIntervals(frame=frame, note=f"{kind} ({', '.join(dict.fromkeys(samples))})")


def _t(_: float, total: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    level = paired_difference(total, weight)
    return level.low, level.high


def _exp_t(_: float, total: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    low, high = np.exp(_t(_, total, weight))
    return float(low), float(high)


def _share(share: float, _: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    return share_interval(min(max(share, 0.0), 1.0), weight)
