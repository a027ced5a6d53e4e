"""Where one run ends and another begins: segments of a log, never a mixture.

Within a segment no series comes back to a step. A value that repeats exactly, at the same step, is a copy and is
dropped (and counted). A series that goes back, or brings another value for a step it already has, begins a segment. A
log that goes back again and again was written by several processes at once: each entry then goes to the writer that it
continues.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np

from ontogeny.store.history import Beginning

Key = TypeVar("Key", bound=Hashable)
Points = tuple[np.ndarray, np.ndarray]
"""Indices of entries, and the values there."""

INTERLEAVED_RETURNS = 8
"""A log that goes back more often than that, and at more than a tenth of its entries, has several writers."""
MOST_WRITERS = 64


@dataclass
class Cut:
    """One segment: the entry at which it begins, why, and its points by series."""

    first: int
    beginning: Beginning
    reason: str
    points: dict = field(default_factory=dict)


@dataclass
class Cuts:
    """All segments, in order, and what must be said about them."""

    cuts: list[Cut]
    notes: list[str]


def cut(steps: np.ndarray, points: Mapping[Key, Points], writers: Sequence[str] | None = None) -> Cuts:
    """Cut series into segments. `steps` int64, one per entry; `points` index entries in the order of the file."""
    if writers is not None:
        return _by_writer(steps, points, writers)
    points = {key: found for key, found in points.items() if len(found[0])}
    notes: list[str] = []
    backward = _backward(steps, points)
    if backward:
        points = {key: (index[::-1], values[::-1]) for key, (index, values) in points.items()}
        notes.append("the log runs backwards: it was turned around")
    points, copies = _without_copies(steps, points)
    returns = _returns(steps, points, backward=backward)
    entries = len(np.unique(np.concatenate([index for index, _ in points.values()]))) if points else 0
    boundaries = _boundaries(returns)
    if len(boundaries) > INTERLEAVED_RETURNS and len(boundaries) > entries / 10:
        lanes, interleaved = _lanes(steps, points)
        return Cuts(lanes, [*notes, *interleaved, *_said(copies)])
    notes += _said(copies)
    if backward:
        return Cuts([Cut(0, "first", "", dict(points))], notes)
    return Cuts(_split(steps, points, boundaries), notes)


def _said(copies: int) -> list[str]:
    return [f"{copies} values stand twice at the same step, with the same value: the copies were dropped"] * bool(
        copies
    )


def _backward(steps: np.ndarray, points: Mapping[Key, Points]) -> bool:
    """Does every series fall strictly, all the way?"""
    long = [steps[index] for index, _ in points.values() if len(index) > 3]
    return bool(long) and all(bool((np.diff(own) < 0).all()) for own in long)


def _without_copies(steps: np.ndarray, points: Mapping[Key, Points]) -> tuple[dict[Key, Points], int]:
    """Drop values that follow one of the same series, step and bits."""
    kept, copies = {}, 0
    for key, (index, values) in points.items():
        same = (np.diff(steps[index]) == 0) & _equal(values[1:], values[:-1])
        keep = np.concatenate([[True], ~same])
        copies += int(len(keep) - keep.sum())
        kept[key] = (index[keep], values[keep])
    return kept, copies


def _equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one == other) | (np.isnan(one) & np.isnan(other))


def _returns(steps: np.ndarray, points: Mapping[Key, Points], *, backward: bool) -> list[tuple[int, int]]:
    """Entries at which a series goes back or stands still, each with the series' entry before it; in order."""
    if backward:
        return []
    found = set()
    for index, _ in points.values():
        back = np.flatnonzero(np.diff(steps[index]) <= 0)
        found |= {(int(index[i + 1]), int(index[i])) for i in back}
    return sorted(found)


def _boundaries(returns: list[tuple[int, int]]) -> list[int]:
    """Entries that begin a segment: a return counts if the entry it returns from is in the present segment."""
    boundaries: list[int] = []
    start = 0
    for entry, before in returns:
        if before >= start:
            boundaries.append(entry)
            start = entry
    return boundaries


def _split(steps: np.ndarray, points: Mapping[Key, Points], boundaries: list[int]) -> list[Cut]:
    edges = [0, *boundaries, len(steps)]
    cuts: list[Cut] = []
    for first, end in pairwise(edges):
        own = {}
        for key, (index, values) in points.items():
            low, high = np.searchsorted(index, [first, end])
            own[key] = (index[low:high], values[low:high])
        cuts.append(_cut(steps, first, own, cuts[-1] if cuts else None))
    return cuts


def _extent(steps: np.ndarray, points: Mapping[Key, Points]) -> tuple[int, int]:
    every = [steps[index] for index, _ in points.values() if len(index)]
    return (int(min(one[0] for one in every)), int(max(one[-1] for one in every))) if every else (0, 0)


def _cut(steps: np.ndarray, first: int, own: dict[Key, Points], before: Cut | None) -> Cut:
    if before is None:
        return Cut(first, "first", "", own)
    begin, last = _extent(steps, before.points)
    now, _ = _extent(steps, own)
    where = "at {row_word} {row}"
    spacing = max((last - begin) // 20, 1)
    if now > begin + spacing and now > _interval(steps, own):
        return Cut(first, "resume", f"the step goes back from {last} to {now} {where}: resumed, or run again", own)
    return Cut(first, "restart", f"the step goes back from {last} to {now} {where}: another run, or a restart", own)


def _interval(steps: np.ndarray, points: Mapping[Key, Points]) -> int:
    """Steps between two entries of the series with the most: a run's first entry stands there, or before."""
    index = max((index for index, _ in points.values()), key=len)
    return int(np.median(np.diff(steps[index]))) if len(index) > 1 else 0


def _by_writer(steps: np.ndarray, points: Mapping[Key, Points], writers: Sequence[str]) -> Cuts:
    """Cut each writer's entries by themselves."""
    names = list(dict.fromkeys(writers))
    codes = np.array([names.index(one) for one in writers])
    cuts: list[Cut] = []
    notes: list[str] = []
    for code, name in enumerate(names):
        own = {
            key: (index[codes[index] == code], values[codes[index] == code]) for key, (index, values) in points.items()
        }
        found = cut(steps, own)
        notes += [note for note in found.notes if note not in notes]
        for number, one in enumerate(found.cuts):
            if number == 0:
                first = min((int(index[0]) for index, _ in one.points.values() if len(index)), default=0)
                one = Cut(first, "writer", f"written by '{name}' from {{row_word}} {{row}} on", one.points)  # noqa: PLW2901
            cuts.append(one)
    return Cuts(cuts, notes)


@dataclass
class _Lane:
    """What one of several interleaved writers wrote so far."""

    first: int
    lasts: dict = field(default_factory=dict)
    points: dict = field(default_factory=dict)

    def last(self, found: Sequence[tuple[Hashable, float]]) -> int:
        return max((self.lasts.get(key, -1) for key, _ in found), default=-1)

    def take(self, entry: int, step: int, found: Sequence[tuple[Hashable, float]]) -> None:
        for key, value in found:
            self.lasts[key] = step
            index, values = self.points.setdefault(key, ([], []))
            index.append(entry)
            values.append(value)


def _lanes(steps: np.ndarray, points: Mapping[Key, Points]) -> tuple[list[Cut], list[str]]:
    """Give every entry to the writer that it continues: the one with the highest last step below its own."""
    of_entry: dict[int, list[tuple[Key, float]]] = {}
    for key, (index, values) in points.items():
        for entry, value in zip(index.tolist(), values.tolist(), strict=True):
            of_entry.setdefault(entry, []).append((key, value))
    lanes: list[_Lane] = []
    dropped = 0
    for entry in sorted(of_entry):
        step, found = int(steps[entry]), of_entry[entry]
        open_lanes = [lane for lane in lanes if lane.last(found) < step]
        if not open_lanes and len(lanes) >= MOST_WRITERS:
            dropped += 1
            continue
        if not open_lanes:
            lanes.append(_Lane(entry))
        chosen = max(open_lanes, key=lambda lane: lane.last(found)) if open_lanes else lanes[-1]
        chosen.take(entry, step, found)
    notes = [f"{len(lanes)} writers stand interleaved in one file: their entries were told apart by their steps"]
    if dropped:
        notes.append(f"{dropped} entries fit none of {MOST_WRITERS} writers and were left out")
    cuts: list[Cut] = []
    seen: list[dict[Key, Points]] = []
    for lane in lanes:
        first = lane.first
        arrays: dict[Key, Points] = {
            key: (np.array(i, dtype=np.int64), np.array(v)) for key, (i, v) in lane.points.items()
        }
        if any(_same(steps, arrays, other) for other in seen):
            continue
        seen.append(arrays)
        cuts.append(Cut(first, "writer", "a further writer, from {row_word} {row} on", arrays))
    if len(cuts) < len(lanes):
        notes.append(f"{len(lanes) - len(cuts)} of the writers repeat another one exactly: they were dropped")
    return cuts, notes


def _same(steps: np.ndarray, one: Mapping[Key, Points], other: Mapping[Key, Points]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(
        np.array_equal(steps[one[key][0]], steps[other[key][0]]) and bool(_equal(one[key][1], other[key][1]).all())
        for key in one
    )
