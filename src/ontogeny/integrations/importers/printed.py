"""Any printed log: a step and metrics in one line, in a block of lines, or in epochs; under any prefix, in any order.

``step 10 loss 4.5``, ``[rank0]: Epoch 1, loss=4.5``, ``iter 10/500 | lm loss: 4.5E+00 | grad norm: nan |``, or a line
with a step and its metrics on the lines below it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ontogeny.integrations.importers._alike import LineStream, column, pattern_of
from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import understand
from ontogeny.integrations.importers._numbers import MOST
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._template import NUMBER_IN_LINE, Plan, plan_of
from ontogeny.integrations.importers._text import REPEATED, is_bar, is_core, learn, lines, sample, share, without_logger
from ontogeny.store.history import TRAIN

FORM = "printed log"
_DIALECTS = {
    "nanoGPT": re.compile(r"^iter \d+: loss "),
    "nanochat": re.compile(r"^step \d{5}(?>.*? \| loss: )(?>.*? \| lrm: )"),
    "torchtitan": re.compile(r"step:\s+\d+\s+loss:\s"),
    "torchtune": re.compile(r"^Step \d+ \| \w+:"),
    "llm.c": re.compile(r"^s:\d+ t[re]l:"),
    "modded-nanogpt": re.compile(r"^step:\d+/\d+ (?:avg_)?(?:train|val)_loss:"),
    "build-nanogpt": re.compile(r"^step +\d+ \| loss: .* \| norm: "),
}
_WORDS = re.compile(
    r"loss|ppl|perplexity|bleu|rouge|acc|rew|score|\bf1|\bwer|entropy|xent|cost|step|iter|epoch|update|batch"
    r"|norm|\blr\b|learning|\bL\.r|bpb|bpc|\[[ \d]*/|\d ?/ ?\d|\bval\b|\b[a-z]+/\w|\bs:\d|\bEp\.|-{9}|={9}|\bkl\b",
    re.IGNORECASE,
)
"""A line without any of these has no number that is read."""
_RULE = re.compile(r"\s*[-=+|─━┌┐└┘├┤]{9,}\s*")
_MOST_WORDS_BEFORE = 3
"""Words before the first metric of an evaluation that has no step: with more, it is one task of several, or prose."""
_PLACELESS = 0.4
"""Confidence in a log whose losses have neither step nor epoch, relative to others."""


def claim(source: Source) -> float:
    """Its lines give entries with a loss or the like."""
    if not source.is_text:
        return 0.0
    scratch = Builder("", "")
    reader = _PrintedReader(scratch, _places_of(sample(source)))
    for number, line in enumerate(sample(source)):
        reader.line(number, line)
    reader.flush()
    confidence = share(source, (True for _ in range(len(scratch))))
    return confidence if reader.places else _PLACELESS * confidence


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. What has no step of its own belongs to the step before it, or to the epoch that it stands in."""
    reader = _PrintedReader(builder, _places_of(sample(source)))
    stream = LineStream(source)
    for number, line in lines(stream):
        reader.line(number, line)
        alike = reader.alike
        if alike is not None:
            reader.take(alike, number, stream.take(number, alike.pattern))
    reader.flush()
    best = max(reader.dialects, key=lambda name: reader.dialects[name])
    if reader.dialects[best]:
        builder.form = f"printed log ({best})"
    if reader.bars:
        builder.note(f"{reader.bars} repaints of progress bars contain losses, which were not read")


def _places_of(printed: Iterable[str]) -> frozenset[str]:
    """What the lines of a log are counted by: `step`, `epoch`, both or neither."""
    places = set()
    for line in printed:
        if _WORDS.search(line):
            plan = plan_of(tuple(NUMBER_IN_LINE.split(line)[::2]))
            is_step = plan.step is not None and not plan.is_repaint
            places |= {"step"} if is_step else {"epoch"} if plan.epoch is not None else set()
    return frozenset(places)


@dataclass
class _Place:
    """Where in training a line stands. Steps that begin anew with each epoch are made to continue."""

    step: float | None = None
    epoch: float | None = None
    offset: float = 0.0
    has_new_epoch: bool = False

    def move(self, step: float | None, total: float | None, epoch: float | None, rank: int) -> None:
        """Take over what a line says."""
        if epoch is not None:
            if self.epoch is not None and epoch < self.epoch:
                self.offset = 0.0
            self.has_new_epoch = self.has_new_epoch or (self.epoch is not None and epoch > self.epoch)
            self.epoch = epoch
        if step is not None:
            if self.has_new_epoch and rank < 3:
                self._begin_epoch(step, total)
            self.has_new_epoch = False
            self.step = step + (self.offset if rank < 3 else 0.0)

    def _begin_epoch(self, step: float, total: float | None) -> None:
        """A counter that fell as the epoch rose counts within epochs."""
        last = (self.step or 0.0) - self.offset
        if step < last:
            self.offset += total if total is not None and total >= last else last + 1


@dataclass
class _Block:
    """Metrics on lines of their own, for one place."""

    row: int = 0
    values: dict[str, float] = field(default_factory=dict)
    has_header: bool = False


class _PrintedReader:
    """State of the reader: the place in training, and an open block."""

    def __init__(self, builder: Builder, places: frozenset[str]) -> None:
        self.builder = builder
        self.places = places
        self.place = _Place()
        self.block = _Block()
        self.dialects = dict.fromkeys(_DIALECTS, 0)
        self.bars = 0
        self.evaluated: tuple[float | None, set[str]] = (None, set())
        """A step, and what was said of its evaluation in lines without a step."""
        self.alike: _Alike | None = None
        """What the line read last and the one before it have in common, if each is an entry of its own."""
        self._gaps: tuple[str, ...] = ()

    def line(self, row: int, text: str) -> None:
        """Read one line."""
        self.alike = None
        if not _WORDS.search(text):
            learn(text, row, self.builder)
            return
        if is_bar(text) and self._is_running_mean(text):
            return
        pieces = NUMBER_IN_LINE.split(text)
        plan = plan_of(tuple(pieces[::2]))
        numbers = pieces[1::2]
        if not plan.has_place and not plan.labels:
            if _RULE.fullmatch(text):
                self.flush()
            learn(text, row, self.builder)
        else:
            self._entry(row, text, plan, numbers)
            gaps = tuple(pieces[::2])
            if gaps == self._gaps and plan.has_core and plan.step is not None:
                self.alike = _alike(plan, gaps, numbers)
            self._gaps = gaps

    def take(self, alike: "_Alike", row: int, rows: list[tuple[str, ...]]) -> None:
        """Read the lines after `row`, which are like it, from their numbers."""
        if not rows:
            return
        texts = zip(alike.positions, zip(*rows, strict=True), strict=True)
        columns = {position: column(numbers) for position, numbers in texts}
        plan = alike.plan
        assert plan.step is not None
        offset = self.place.offset if plan.rank < 3 else 0.0
        steps = columns[plan.step] * plan.step_factor + offset
        if not ((steps >= 0) & (steps < MOST)).all():  # NaN, too
            for i in range(len(rows)):
                values = {label: float(columns[position][i]) for label, position in alike.labels.items()}
                self.builder.add(row + 1 + i, values, step=float(steps[i]), epoch=self.place.epoch)
        else:
            values_of = {label: columns[position] for label, position in alike.labels.items()}
            epochs = None if self.place.epoch is None else np.full(len(rows), self.place.epoch)
            self.builder.add_steps(range(row + 1, row + 1 + len(rows)), steps, values_of, epochs=epochs)
        self.place.step = float(steps[-1])
        if plan.step_total is not None:
            self._learn_total(float(columns[plan.step_total].max()), plan)

    def _is_running_mean(self, text: str) -> bool:
        title = text.split("%|", 1)[0]
        if "=" in title or ":" in title.rstrip("0123456789 :"):
            return False
        self.bars += "loss" in text
        return True

    def _entry(self, row: int, text: str, plan: Plan, numbers: list[str]) -> None:
        metrics = _metrics(plan, numbers)
        has_own = self._move(plan, numbers)
        if has_own is None:
            return
        if plan.is_cell or (not plan.has_core and self.block.has_header and not has_own):
            self._add_to_block(row, metrics)
        elif not plan.has_core:
            learn(text, row, self.builder)
        elif has_own:
            self.flush()
            self.builder.add(row, metrics, step=self.place.step, epoch=self.place.epoch)
            self._count_dialects(text)
        elif self.block.has_header and len(plan.labels) <= 2:
            self._add_to_block(row, metrics)
        elif not REPEATED.search(text):
            self.flush()
            self._add_stepless(row, metrics, plan)
        self.builder.units |= plan.units

    def _move(self, plan: Plan, numbers: list[str]) -> bool | None:
        """Go where the line stands. Returns whether it says so itself; None if it is a repaint that does not count."""
        step, total, epoch = (_at(numbers, i) for i in (plan.step, plan.step_total, plan.epoch))
        if plan.is_repaint:
            if step != total:
                return None
            step = total = None
        has_own = step is not None or epoch is not None
        if has_own and (plan.has_core or plan.is_header):
            if not plan.has_core and not plan.is_cell:
                self.flush()
            self.place.move(None if step is None else step * plan.step_factor, total, epoch, plan.rank)
            self._learn_totals(plan, numbers)
            self.block.has_header = plan.is_header and not plan.has_core
        return has_own

    def _add_to_block(self, row: int, values: Mapping[str, float]) -> None:
        if not self.block.values:
            self.block.row = row
        for label, value in values.items():
            self.block.values.setdefault(label, value)

    def flush(self) -> None:
        """Add the open block."""
        block, self.block = self.block, _Block()
        if any((meaning := understand(label)) and is_core(meaning.name) for label in block.values):
            self.builder.add(block.row, block.values, step=self.place.step, epoch=self.place.epoch)

    def _add_stepless(self, row: int, values: Mapping[str, float], plan: Plan) -> None:
        """Metrics without a place. Where lines have steps, a training loss without one is a mean over many."""
        if "step" in self.places:
            step = self.place.step or 0.0
            if step != self.evaluated[0]:
                self.evaluated = step, set()
            seen = self.evaluated[1]
            values = {label: value for label, value in values.items() if _is_evaluation(label) and label not in seen}
            seen.update(values)
            if values and plan.lead <= _MOST_WORDS_BEFORE:
                self.builder.add(row, values, step=step, epoch=self.place.epoch)
        elif not self.places or self.place.epoch is not None:
            self.builder.add(row, values, epoch=self.place.epoch)

    def _learn_totals(self, plan: Plan, numbers: list[str]) -> None:
        total = _at(numbers, plan.step_total)
        if total is not None:
            self._learn_total(total, plan)
        self.builder.configure("epochs", _at(numbers, plan.epoch_total))

    def _learn_total(self, total: float, plan: Plan) -> None:
        if plan.rank > 0 and plan.epoch is None:
            known = self.builder.config.get("max_steps", 0)
            self.builder.configure("max_steps", max(total * plan.step_factor, known))

    def _count_dialects(self, text: str) -> None:
        if len(self.builder) < 50:
            bare = without_logger(text)
            for name, pattern in _DIALECTS.items():
                self.dialects[name] += pattern.search(bare) is not None


def _is_evaluation(label: str) -> bool:
    meaning = understand(label)
    return meaning is not None and meaning.scope != TRAIN


def _metrics(plan: Plan, numbers: list[str]) -> dict[str, float]:
    """Values by label; of a label that occurs twice, the first. An accuracy of `9822/10000` is the share."""
    metrics: dict[str, float] = {}
    for position, label in plan.labels:
        value = _at(numbers, position)
        if value is None:
            continue
        whole = _at(numbers, plan.ratios.get(position))
        meaning = understand(label)
        is_share = whole and meaning is not None and meaning.name == "accuracy"
        metrics.setdefault(label, value / whole if whole and is_share else value)
    return metrics


def _at(numbers: list[str], position: int | None) -> float | None:
    if position is None or position >= len(numbers) or len(numbers[position]) > 64:
        return None
    text = numbers[position]
    return float(text.replace(",", "") if "," in text else text)


@dataclass(frozen=True)
class _Alike:
    """Lines that are entries of their own, with one plan: their expression, and which group is what."""

    pattern: "re.Pattern[str]"
    plan: Plan
    positions: tuple[int, ...]
    """The position in the line of each group."""
    labels: Mapping[str, int]
    """The position of each metric's number."""


def _alike(plan: Plan, gaps: tuple[str, ...], numbers: list[str]) -> "_Alike | None":
    """What is read of lines like this one; None of lines whose meaning depends on more than their numbers."""
    text = "0".join(gaps)
    if plan.epoch is not None or plan.ratios or plan.is_cell or plan.is_repaint or "%|" in text or "{" in text:
        return None
    labels: dict[str, int] = {}
    for position, label in plan.labels:
        labels.setdefault(label, position)
    places = {position for position in (plan.step, plan.step_total) if position is not None}
    wanted = frozenset(places | set(labels.values()))
    pattern = pattern_of(gaps, numbers, wanted)
    return None if pattern is None else _Alike(pattern, plan, tuple(sorted(wanted)), labels)
