"""Verdicts of rules: a finding, clear, or not assessable."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

if TYPE_CHECKING:
    pass


Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The most severe first: findings are listed in this order."""
Certainty = Literal["certain", "likely", "possible"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Points of one series that a finding rests on: where they stand in the log, and their values."""

    scope: str
    name: str
    label: str
    """What the log calls the series."""
    rows: tuple[int, ...]
    """Places in the file, counted as `History.row_word` says."""
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule found something."""

    rule: str
    severity: Severity
    statement: str
    """One sentence, with the numbers that matter."""
    numbers: Mapping[str, float | int | str]
    """The statistic and what it was computed from, by name; units in the names."""
    threshold: str
    certainty: Certainty
    """`certain`: follows from the numbers; `likely`: other explanations are rare; `possible`: look before you act."""
    otherwise: str
    """What else could explain it."""
    refuted_by: str
    """What would show it to be wrong."""
    remedy: str
    evidence: tuple[Evidence, ...]
    segment: int = 0
    """Index of the segment in which it was found: the last one, where a run was resumed."""

    verdict: ClassVar[str] = "finding"


@dataclass(frozen=True, kw_only=True)
class Clear:
    """A rule had what it needs and found nothing."""

    rule: str
    numbers: Mapping[str, float | int | str]
    segment: int = 0

    verdict: ClassVar[str] = "clear"


@dataclass(frozen=True, kw_only=True)
class NotAssessable:
    """A rule could not judge."""

    rule: str
    lacks: str
    """What it would need: completes the sentence `not assessable: lacks …`."""
    segment: int = 0

    verdict: ClassVar[str] = "not assessable"


Verdict = Finding | Clear | NotAssessable
