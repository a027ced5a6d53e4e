"""Printed logs of a composite loss: weights of a curriculum, total and parts, and evaluations.

Lines such as ``[CURRICULUM] Step 1000 (4.0%): kd=0.700, feat=0.000``, ``[TOTAL] Loss: 29.0376, Components: 6``, a block
``Raw loss components:`` with ``kd_loss: 27.4571``, ``[Eval] loss: 51.7094, ppl: …`` and ``Step 499: eval_loss: …``.
"""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import COUNT, MOST, NUMBER, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import lines, sample

FORM = "printed log of a composite loss"

_WEIGHTS = re.compile(rf"\[CURRICULUM\]\s*Step\s+({COUNT})(?!\d)[^:]{{0,80}}:\s*(.*)", re.IGNORECASE)
_WEIGHT = re.compile(rf"([A-Za-z]\w{{0,80}}+)\s*+=\s*+({NUMBER})(?![\w.])")
_TOTAL = re.compile(rf"\[TOTAL\]\s*Loss:\s*({NUMBER})(?![\w.])", re.IGNORECASE)
_BLOCK = re.compile(r"\bloss components:\s*$", re.IGNORECASE)
_PART = re.compile(rf"^\s*(?:[-*]\s+)?([A-Za-z]\w*)_loss:\s*({NUMBER})\s*$")
_EVAL = re.compile(rf"\[Eval\]\s*loss:\s*({NUMBER})(?:,\s*ppl:\s*({NUMBER}))?", re.IGNORECASE)
_EVAL_AT = re.compile(rf"\bStep\s+({COUNT}):\s*eval_loss:\s*({NUMBER})(?:,\s*ppl:\s*({NUMBER}))?", re.IGNORECASE)
_STEP = re.compile(rf"^\W*Step\s+({COUNT})\b", re.IGNORECASE)


def claim(source: Source) -> float:
    """It prints two of the three: a total, weights, a block of parts."""
    if not source.is_text:
        return 0.0
    wanted = [_TOTAL, _WEIGHTS, _BLOCK]
    for line in sample(source):
        if "oss" in line or "=" in line:
            wanted = [pattern for pattern in wanted if not pattern.search(line)]
        if len(wanted) <= 1:
            return 0.97
    return 0.0


class _CompositeReader:
    """State of the reader: the current step, whether a block of parts is open, an evaluation still without a step."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.step: float | None = None
        self.in_block = False
        self.pending: tuple[int, dict[str, float]] | None = None

    def line(self, row: int, text: str) -> None:
        """Read one line."""
        if self.in_block and (part := _PART.search(text)):
            self._add(row, {f"term/{part[1]}": _value(part[2])})
            return
        self.in_block = _BLOCK.search(text) is not None
        if match := _EVAL_AT.search(text):
            self.pending = None  # the same evaluation, now with its step
            self.builder.add(row, _evaluation(match[2], match[3]), step=_value(match[1]))
        elif match := _EVAL.search(text):
            self.flush()
            self.pending = row, _evaluation(match[1], match[2])
        elif match := _WEIGHTS.search(text):
            self.flush()
            self.step = _value(match[1])
            weights = {name: _value(value) for name, value in _WEIGHT.findall(match[2])}
            if self.step < MOST:
                self.builder.config.setdefault("term_weights", []).append((int(self.step), weights))
        elif match := _TOTAL.search(text):
            self.flush()
            self._add(row, {"loss": _value(match[1])})
        elif match := _STEP.search(text):
            self.flush()
            self.step = _value(match[1])

    def flush(self) -> None:
        """Assign an evaluation without a step to the step before it."""
        if self.pending is not None:
            self._add(*self.pending)
            self.pending = None

    def _add(self, row: int, values: dict[str, float]) -> None:
        self.builder.add(row, values, step=self.step)


def _value(text: str) -> float:
    number = number_of(text)
    return float("nan") if number is None else number


def _evaluation(loss: str, perplexity: str | None) -> dict[str, float]:
    values = {"eval_loss": _value(loss)}
    return values | {"eval_perplexity": _value(perplexity)} if perplexity else values


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. Parts become `term/<name>`; weights, as printed, go to ``config["term_weights"]``."""
    reader = _CompositeReader(builder)
    for row, text in lines(source):
        reader.line(row, text)
    reader.flush()
    if builder.config.get("term_weights"):
        builder.config["reported_perplexity"] = True
