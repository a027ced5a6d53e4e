"""Collects the entries of a log in the order of the file and makes a `History` of them: names, segments, rounding."""

import math
from array import array
from collections.abc import Callable, Mapping
from typing import cast, get_type_hints

import numpy as np

from ontogeny.integrations.importers._names import Meaning, understand
from ontogeny.integrations.importers._numbers import MOST
from ontogeny.integrations.importers._segments import Cut, cut
from ontogeny.store.history import Axis, History, LogConfig, Segment, Series

_KINDS: dict[str, type] = get_type_hints(LogConfig)
"""The type of each setting."""
MOST_LABELS = 2000
"""Further labels are not read: a table with more columns is no training log."""


class Builder:
    """Add entries in the order of the file, then `build`. Only exact repetitions are dropped, and they are counted.

    `row_word`: what rows count, `line` or `entry` or `row`. `meaning`: what a label means, by default `understand`.
    """

    def __init__(
        self, path: str, form: str, *, row_word: str = "line", meaning: Callable[[str], Meaning | None] = understand
    ) -> None:
        self.path, self.form, self.row_word = path, form, row_word
        self.config: LogConfig = {}
        self.notes: list[str] = []
        self.partial = False
        self.nothing = ""
        self.step_label: str | None = None
        """The label that the user named as the step; None to detect it."""
        self.units: dict[str, str] = {}
        """Units that the log prints beside a label's numbers; for other labels, the meaning gives the unit."""
        self._meaning = meaning
        self._rows = array("q")
        self._steps = array("q")
        self._epochs = array("d")
        """Epoch, and time, of each entry up to the last that has one: most logs have none, and some are long."""
        self._times = array("d")
        self._writers: list[str] = []
        self._stepless = array("q")
        self._ends: set[int] = set()
        self._values: dict[str, tuple[array[int], array[float]]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        row: int,
        values: Mapping[str, float],
        *,
        step: float | None = None,
        epoch: float | None = None,
        time_unix_s: float | None = None,
        writer: str = "",
    ) -> None:
        """Add one entry: its row in the file, its numbers by the log's own labels, and its step if it has one.

        `writer` names the process or run that wrote the entry, if the log states it; each writer becomes a segment.
        """
        index = len(self._rows)
        self._rows.append(row)
        if step is not None and 0 <= step < MOST:  # False for NaN, too; -1 stands for the end of an epoch
            self._steps.append(int(step))
        else:
            self._steps.append(0)
            self._stepless.append(index)
        if epoch is not None:
            _put(self._epochs, index, epoch)
        if time_unix_s is not None:
            _put(self._times, index, time_unix_s)
        if writer:
            self._writers += [""] * (index - len(self._writers)) + [writer]
        for label, value in values.items():
            entries = self._values.get(label) or self._new_label(label)
            if entries is not None:
                entries[0].append(index)
                entries[1].append(float(value))

    def add_steps(
        self,
        rows: range,
        steps: np.ndarray,
        values: Mapping[str, np.ndarray],
        *,
        epochs: np.ndarray | None = None,
        times_unix_s: np.ndarray | None = None,
    ) -> None:
        """Add entries at once: rows, steps (0 or more, below `MOST`), and the numbers of each label.

        All arrays: float64 [entries].
        """
        start = len(self._rows)
        indices = np.arange(start, start + len(rows), dtype=np.int64).tobytes()
        self._rows.frombytes(np.arange(rows.start, rows.stop, dtype=np.int64).tobytes())
        self._steps.frombytes(steps.astype(np.int64).tobytes())
        for column, numbers in ((self._epochs, epochs), (self._times, times_unix_s)):
            if numbers is not None:
                column.extend([math.nan] * (start - len(column)))
                column.frombytes(numbers.tobytes())
        for label, numbers in values.items():
            entries = self._values.get(label) or self._new_label(label)
            if entries is not None:
                entries[0].frombytes(indices)
                entries[1].frombytes(numbers.tobytes())

    def _new_label(self, label: str) -> "tuple[array[int], array[float]] | None":
        """Room for the numbers of a label; None if there are too many labels."""
        if len(self._values) >= MOST_LABELS:
            self.note(f"more than {MOST_LABELS} different labels: the others were not read", partial=True)
            return None
        self._values[label] = (array("q"), array("d"))
        return self._values[label]

    @property
    def labels(self) -> frozenset[str]:
        """The labels of all numbers added, as the log writes them."""
        return frozenset(self._values)

    @property
    def has_steps(self) -> bool:
        """Does any entry have a step?"""
        return len(self._stepless) < len(self._rows)

    def end_run(self) -> None:
        """Record that the log says that a training has ended here."""
        self._ends.add(len(self._rows))

    def configure(self, key: str, value: object, *, overwrite: bool = True) -> None:
        """Record a setting that the log states. `key` is one of `LogConfig`.

        A value of another type than the setting's, NaN, and numbers too large to be meant are left out.
        """
        kind = _KINDS[key]
        settings = cast(dict[str, object], self.config)
        if kind in (int, float):
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
                return
            value = int(value) if kind is int and value == int(value) else value
        elif kind in (str, bool) and not isinstance(value, kind):
            return
        if overwrite or key not in settings:
            settings[key] = value

    def note(self, text: str, *, partial: bool = False) -> None:
        """Record what a reader of the history must know, once."""
        self.partial = self.partial or partial
        if text not in self.notes:
            self.notes.append(text)

    def build(self) -> History:
        """The history of all entries added."""
        segments = self._segments() if self._rows else ()
        nothing = self.nothing
        if not segments and not nothing:
            nothing = "none of its values is a metric" if self._rows else "it has no entry with a number at a step"
        config = {key: value for key, value in self.config.items() if value is not None}
        return History(
            path=self.path,
            form=self.form,
            segments=() if nothing else segments,
            row_word=self.row_word,
            config=cast(LogConfig, config),
            notes=tuple(self.notes),
            partial=self.partial,
            nothing=nothing,
        )

    def _segments(self) -> tuple[Segment, ...]:
        steps, axis = self._axis()
        rows = _whole(self._rows)
        epochs, times = _padded(self._epochs, len(rows)), _padded(self._times, len(rows))
        named = self._named()
        writers = self._writers + [""] * (len(rows) - len(self._writers)) if self._writers else None
        pieces = cut(steps, {key: (_whole(i), np.frombuffer(v)) for key, (_, i, v) in named.items()}, writers)
        for note in pieces.notes:
            self.note(note)
        segments: list[Segment] = []
        for piece in pieces.cuts:
            series = [
                Series(
                    name=key.name,
                    scope=key.scope,
                    label=named[key][0],
                    unit=self.units.get(named[key][0], key.unit),
                    steps=_chosen(steps, index),
                    values=values,
                    rows=_chosen(rows, index),
                    epochs=_chosen(epochs, index),
                    times_unix_s=_chosen(times, index),
                    decimals=decimals_of(values),
                )
                for key, (index, values) in piece.points.items()
                if len(index)
            ]
            if series:
                segments.append(self._segment(len(segments), piece, series, axis))
        return tuple(segments)

    def _segment(self, index: int, piece: Cut, series: list[Series], axis: Axis) -> Segment:
        beginning = piece.beginning if index else "first"
        reason = piece.reason.format(row_word=self.row_word, row=self._rows[piece.first]) if index else ""
        epoch_there = self._epochs[piece.first] if piece.first < len(self._epochs) else math.nan
        if reason and axis == "entry" and beginning == "restart" and math.isfinite(epoch_there):
            epoch = f"the epoch falls to {epoch_there:g}"
            reason = f"{epoch} at {self.row_word} {self._rows[piece.first]}: another run"
        return Segment(index=index, series=tuple(series), axis=axis, beginning=beginning, reason=reason)

    def _axis(self) -> tuple[np.ndarray, Axis]:
        """What entries are counted by: steps; if no entry has one, whole epochs; else the entries themselves.

        In a log with steps, an entry without one belongs to the step before it.
        """
        count = len(self._rows)
        if len(self._stepless) < count:
            steps = _whole(self._steps)
            if self._stepless:
                known = np.ones(count, dtype=bool)
                known[self._stepless] = False
                last = np.maximum.accumulate(np.where(known, np.arange(count), 0))
                steps = steps[last]
                self.note(f"entries without a step ({len(self._stepless)}) are placed at the step before them")
            return steps, "step"
        epochs = _padded(self._epochs, count)
        if np.isfinite(epochs).all() and (epochs == np.round(epochs)).all():
            changes = len(np.unique(epochs))
            if changes > 1 and count <= 8 * changes:
                return epochs.astype(np.int64), "epoch"
        return self._counted(epochs), "entry"

    def _counted(self, epochs: np.ndarray) -> np.ndarray:
        """Entries, counted from 1 in each training: one begins where the epoch falls by half, or after a stated end.

        int64 [entries].
        """
        starts, highest = [0], -math.inf
        for i, epoch in enumerate(epochs.tolist()):
            if epoch < 0.5 * highest or (i in self._ends and not epoch > highest):
                starts.append(i)
                highest = -math.inf
            highest = max(highest, epoch) if math.isfinite(epoch) else highest
        if len(set(starts) - self._ends) > 1 + len(epochs) / 10:  # several writers in turn
            starts = [0]
        counts = np.arange(1, len(epochs) + 1, dtype=np.int64)
        lengths = np.diff([*starts, len(epochs)])
        return counts - np.repeat(starts, lengths)

    def _named(self) -> "dict[Meaning, tuple[str, array[int], array[float]]]":
        """Values by meaning. Of two labels of one meaning, that with more values gets it; the other keeps its label."""
        named: dict[Meaning, tuple[str, array[int], array[float]]] = {}
        for label, (index, values) in sorted(self._values.items(), key=lambda item: -len(item[1][0])):
            meaning = self._meaning(label)
            if meaning is None:
                continue
            if meaning in named:
                meaning = Meaning(meaning.scope, label, meaning.unit)
            named[meaning] = (label, index, values)
        return named


def _put(column: "array[float]", index: int, value: float) -> None:
    """Append a value as that of entry `index`; entries between have none."""
    column.extend([math.nan] * (index - len(column)))
    column.append(float(value))


def _whole(column: "array[int]") -> np.ndarray:
    return np.frombuffer(column, dtype=np.int64)


def _padded(column: "array[float]", count: int) -> np.ndarray:
    """A column with NaN after its end. float64 [count]."""
    if len(column) == count:
        return np.frombuffer(column)
    padded = np.full(count, np.nan)
    padded[: len(column)] = column
    return padded


def _chosen(column: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Numbers at increasing places, as a view where these are neighbours: columns of long logs are not copied."""
    first, last = int(index[0]), int(index[-1])
    return column[first : last + 1] if last - first + 1 == len(index) else column[index]


def decimals_of(values: np.ndarray) -> int | None:
    """Decimals to which all values are rounded, at most 8; None if they have more, or there are fewer than two values.

    Inferred from the numbers: the fewest decimals that reproduce each of them. Whole numbers give 0.
    """
    finite = values[np.isfinite(values)]
    finite = finite[np.abs(finite) < 1e9]
    if len(finite) < 2:
        return None
    sample = finite if len(finite) <= 512 else np.concatenate([finite[:256], finite[-256:]])
    for decimals in range(9):
        if np.all(np.abs(np.round(sample, decimals) - sample) <= 1e-13 * np.maximum(np.abs(sample), 1.0)):
            return decimals
    return None
