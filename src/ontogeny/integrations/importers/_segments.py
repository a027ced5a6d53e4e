"""Cut a log into segments, so that no segment mixes two runs.

Within a segment no series returns to an earlier step. A value that repeats the one before it, at the same step, is a
copy: it is dropped and counted. A series that goes back, or has another value for the same step, begins a segment. A
log that goes back again and again was written by several processes at once: each entry is then assigned to the writer
that it continues.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from ontogeny.store.history import Beginning

Key = TypeVar("Key", bound=Hashable)
Points = tuple[np.ndarray, np.ndarray]
"""Indices of entries, and the values there."""

INTERLEAVED_RETURNS = 8
"""A log that goes back more often than this, and at more than a tenth of its entries, has several writers."""
MOST_WRITERS = 64
MOST_NAMED_WRITERS = 1000
"""Writers that a log names, one segment each at least: a log with more is no log of some trainings."""


@dataclass
class Cut(Generic[Key]):
    """One segment: the entry at which it begins, why, and its points by series."""

    first: int
    beginning: Beginning
    reason: str
    points: dict[Key, Points]


@dataclass
class Cuts(Generic[Key]):
    """All segments, in order, and notes for the reader."""

    cuts: list[Cut[Key]]
    notes: list[str]


def cut(steps: np.ndarray, points: Mapping[Key, Points], writers: Sequence[str] | None = None) -> Cuts[Key]:
    """Cut series into segments. `steps`: int64, one per entry; `points` index entries in the order of the file."""
    if writers is not None:
        return _by_writer(steps, points, writers)
    points = {key: series for key, series in points.items() if len(series[0])}
    notes: list[str] = []
    backward = _backward(steps, points)
    if backward:
        points = {key: (index[::-1], values[::-1]) for key, (index, values) in points.items()}
        notes.append("the log runs backwards: its order was reversed")
    points, copies = _without_copies(steps, points)
    returns = _returns(steps, points, backward=backward)
    boundaries = _boundaries(returns)
    if len(boundaries) > INTERLEAVED_RETURNS and len(boundaries) > _entries(points) / 10:
        lanes, interleaved = _lanes(steps, points)
        return Cuts(lanes, [*notes, *interleaved, *_note_on_copies(copies)])
    notes += _note_on_copies(copies)
    if backward:
        return Cuts([Cut(0, "first", "", dict(points))], notes)
    return Cuts(_split(steps, points, boundaries), notes)


def _entries(points: Mapping[Key, Points]) -> int:
    """How many entries have a value in some series."""
    return len(np.unique(np.concatenate([index for index, _ in points.values()]))) if points else 0


def _note_on_copies(copies: int) -> list[str]:
    return [f"{copies} values repeat the one before at the same step: the copies were dropped"] if copies else []


def _backward(steps: np.ndarray, points: Mapping[Key, Points]) -> bool:
    """Do the steps of every series decrease throughout?"""
    long = [steps[index] for index, _ in points.values() if len(index) > 3]
    return bool(long) and all(bool((np.diff(series_steps) < 0).all()) for series_steps in long)


def _without_copies(steps: np.ndarray, points: Mapping[Key, Points]) -> tuple[dict[Key, Points], int]:
    """Drop values that repeat the one before them: same series, step and value. Also returns how many."""
    kept, copies = {}, 0
    for key, (index, values) in points.items():
        same = (np.diff(steps[index]) == 0) & _equal(values[1:], values[:-1])
        if not same.any():
            kept[key] = (index, values)
            continue
        keep = np.concatenate([[True], ~same])
        copies += int(len(keep) - keep.sum())
        kept[key] = (index[keep], values[keep])
    return kept, copies


def _equal(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first == second) | (np.isnan(first) & np.isnan(second))


def _returns(steps: np.ndarray, points: Mapping[Key, Points], *, backward: bool) -> list[tuple[int, int]]:
    """Entries at which a series' step does not increase, each with the entry before it in that series; in order."""
    if backward:
        return []
    returns = set()
    for index, _ in points.values():
        back = np.flatnonzero(np.diff(steps[index]) <= 0)
        returns |= {(int(index[i + 1]), int(index[i])) for i in back}
    return sorted(returns)


def _boundaries(returns: list[tuple[int, int]]) -> list[int]:
    """Entries that begin a segment: a return counts if the entry it returns from is in the current segment."""
    boundaries: list[int] = []
    start = 0
    for entry, before in returns:
        if before >= start:
            boundaries.append(entry)
            start = entry
    return boundaries


def _split(steps: np.ndarray, points: Mapping[Key, Points], boundaries: list[int]) -> list[Cut[Key]]:
    edges = [0, *boundaries, len(steps)]
    pieces: list[dict[Key, Points]] = [{} for _ in edges[1:]]
    for key, (index, values) in points.items():
        places = np.searchsorted(index, edges)
        for i in np.flatnonzero(np.diff(places)):  # only where the series has points: the work is bounded by these
            part = slice(places[i], places[i + 1])
            pieces[i][key] = (index[part], values[part])
    cuts: list[Cut[Key]] = []
    for first, piece in zip(edges[:-1], pieces, strict=True):
        cuts.append(_cut(steps, first, piece, cuts[-1] if cuts else None))
    return cuts


def _extent(steps: np.ndarray, points: Mapping[Key, Points]) -> tuple[int, int]:
    """First and last step of all series; (0, 0) without any."""
    by_series = [steps[index] for index, _ in points.values() if len(index)]
    if not by_series:
        return 0, 0
    return int(min(series[0] for series in by_series)), int(max(series[-1] for series in by_series))


def _cut(steps: np.ndarray, first: int, piece: dict[Key, Points], before: Cut[Key] | None) -> Cut[Key]:
    if before is None:
        return Cut(first, "first", "", piece)
    begin, last = _extent(steps, before.points)
    now, _ = _extent(steps, piece)
    where = "at {row_word} {row}"
    spacing = max((last - begin) // 20, 1)
    if now > begin + spacing and now > _interval(steps, piece):
        return Cut(first, "resume", f"the step goes back from {last} to {now} {where}: resumed, or run again", piece)
    return Cut(first, "restart", f"the step goes back from {last} to {now} {where}: another run, or a restart", piece)


def _interval(steps: np.ndarray, points: Mapping[Key, Points]) -> int:
    """Median interval of the longest series: a run's first entry is logged within one interval of its start."""
    index = max((index for index, _ in points.values()), key=len, default=np.zeros(0, dtype=np.int64))
    return int(np.median(np.diff(steps[index]))) if len(index) > 1 else 0


def _by_writer(steps: np.ndarray, points: Mapping[Key, Points], writers: Sequence[str]) -> Cuts[Key]:
    """Cut the entries of each writer separately; of more than `MOST_NAMED_WRITERS`, only the first ones."""
    codes_of: dict[str, int] = {}
    codes = np.array([codes_of.setdefault(writer, len(codes_of)) for writer in writers])
    names = list(codes_of)[:MOST_NAMED_WRITERS]
    pieces: list[dict[Key, Points]] = [{} for _ in names]
    for key, (index, values) in points.items():
        order = np.argsort(codes[index], kind="stable")
        places = np.searchsorted(codes[index][order], np.arange(len(names) + 1))
        for code in np.flatnonzero(np.diff(places)):
            part = order[places[code] : places[code + 1]]
            pieces[code][key] = (index[part], values[part])
    cuts: list[Cut[Key]] = []
    notes: list[str] = []
    if len(codes_of) > len(names):
        notes.append(f"{len(codes_of)} writers: only the first {len(names)} were read")
    for name, piece in zip(names, pieces, strict=True):
        if not piece:
            continue
        of_writer = cut(steps[: _end(piece)], piece)
        notes += [note for note in of_writer.notes if note not in notes]
        start = of_writer.cuts[0]
        first = min((int(index[0]) for index, _ in start.points.values() if len(index)), default=0)
        cuts.append(Cut(first, "writer", f"written by '{name}' from {{row_word}} {{row}} on", start.points))
        cuts += of_writer.cuts[1:]
    return Cuts(cuts, notes)


def _end(points: Mapping[Key, Points]) -> int:
    """The entry after the last one of these series."""
    return 1 + max(int(index[-1]) for index, _ in points.values())


@dataclass
class _Lane(Generic[Key]):
    """What one of several interleaved writers has written so far."""

    first: int
    lasts: dict[Key, int] = field(default_factory=dict)
    points: dict[Key, tuple[list[int], list[float]]] = field(default_factory=dict)

    def last(self, entry_values: Sequence[tuple[Key, float]]) -> int:
        """The last step of the series that an entry has values of; -1 if the writer has none of them."""
        return max((self.lasts.get(key, -1) for key, _ in entry_values), default=-1)

    def take(self, entry: int, step: int, entry_values: Sequence[tuple[Key, float]]) -> None:
        for key, value in entry_values:
            self.lasts[key] = step
            index, values = self.points.setdefault(key, ([], []))
            index.append(entry)
            values.append(value)


def _lanes(steps: np.ndarray, points: Mapping[Key, Points]) -> tuple[list[Cut[Key]], list[str]]:
    """Assign every entry to the writer that it continues: the one with the highest last step below its own."""
    of_entry: dict[int, list[tuple[Key, float]]] = {}
    for key, (index, values) in points.items():
        for entry, value in zip(index.tolist(), values.tolist(), strict=True):
            of_entry.setdefault(entry, []).append((key, value))
    lanes: list[_Lane[Key]] = []
    dropped = 0
    for entry in sorted(of_entry):
        step, entry_values = int(steps[entry]), of_entry[entry]
        lasts = [lane.last(entry_values) for lane in lanes]
        open_lanes = [i for i, last in enumerate(lasts) if last < step]
        if open_lanes:
            lane = lanes[max(open_lanes, key=lambda i: lasts[i])]
        elif len(lanes) < MOST_WRITERS:
            lane = _Lane(entry)
            lanes.append(lane)
        else:
            dropped += 1
            continue
        lane.take(entry, step, entry_values)
    notes = [f"{len(lanes)} writers are interleaved in one file: their entries were separated by their steps"]
    if dropped:
        notes.append(f"{dropped} entries fit none of {MOST_WRITERS} writers and were left out")
    cuts: list[Cut[Key]] = []
    for lane in lanes:
        arrays = {key: (np.array(i, dtype=np.int64), np.array(v)) for key, (i, v) in lane.points.items()}
        if not any(_same(steps, arrays, other.points) for other in cuts):
            cuts.append(Cut(lane.first, "writer", "a further writer, from {row_word} {row} on", arrays))
    if len(cuts) < len(lanes):
        notes.append(f"{len(lanes) - len(cuts)} of the writers repeat another one exactly and were dropped")
    return cuts, notes


def _same(steps: np.ndarray, first: Mapping[Key, Points], second: Mapping[Key, Points]) -> bool:
    if first.keys() != second.keys():
        return False
    return all(
        np.array_equal(steps[first[key][0]], steps[second[key][0]])
        and bool(_equal(first[key][1], second[key][1]).all())
        for key in first
    )
