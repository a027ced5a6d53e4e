"""What a rule is: a function from a view of a log to a verdict, and what people must know about it."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from ontogeny.core.contracts import Certainty, Evidence, Severity
from ontogeny.diagnosis.objective import LANGUAGE_MODELING, Objective
from ontogeny.diagnosis.view import View
from ontogeny.store.history import Series

MOST_POINTS = 12
"""Points of a series that a finding names; its first and last ones if there are more."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a rule returns when it found something; texts that it leaves empty are those of the rule."""

    severity: Severity
    statement: str
    numbers: Mapping[str, float | int | str]
    evidence: tuple[Evidence, ...]
    certainty: Certainty = "likely"
    otherwise: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """What a rule returns when it looked and found nothing."""

    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lacks:
    """What a rule returns when it cannot judge: completes `not assessable: lacks …`."""

    what: str


Outcome = Found | Nothing | Lacks
Check = Callable[[View], Outcome | Iterable[Found]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule, its reasons and its words. `id` is the name of its function and of its page in the documentation."""

    id: str
    family: str
    title: str
    """A noun phrase: `Overfitting`."""
    needs: str
    """Series and how many points; what must be known."""
    statistic: str
    """What is computed, as a formula in words."""
    threshold: str
    """When it is a finding; numbers with their units."""
    origin: str
    """Where statistic and threshold come from: threads, papers, or calibration."""
    otherwise: str
    refuted_by: str
    remedy: str
    objectives: frozenset[Objective]
    """The kinds of training that it holds for."""
    check: Check


def rule(
    *,
    title: str,
    needs: str,
    statistic: str,
    threshold: str,
    origin: str,
    otherwise: str,
    refuted_by: str,
    remedy: str,
    objectives: Iterable[Objective] = LANGUAGE_MODELING,
) -> Callable[[Check], Rule]:
    """Make a rule of a function that takes a `View` and returns `Found`, `Nothing` or `Lacks` (or several `Found`)."""

    def make(check: Check) -> Rule:
        return Rule(
            id=check.__name__,
            family=check.__module__.rpartition(".")[2],
            title=title,
            needs=needs,
            statistic=statistic,
            threshold=threshold,
            origin=origin,
            otherwise=otherwise,
            refuted_by=refuted_by,
            remedy=remedy,
            objectives=frozenset(objectives),
            check=check,
        )

    return make


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule of every family, in the order of families and of their files."""
    package = importlib.import_module("ontogeny.diagnosis.rules")
    found: list[Rule] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.name[0] != "_"):
        loaded = importlib.import_module(f"{package.__name__}.{module}")
        found += [value for value in vars(loaded).values() if isinstance(value, Rule) and value.family == module]
    return tuple(found)


def points(series: Series, chosen: np.ndarray | Iterable[int]) -> Evidence:
    """Evidence: the points of a series at these indices (or under this mask), the outermost if they are many."""
    index = np.asarray(chosen if isinstance(chosen, np.ndarray) else list(chosen))
    index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
    if len(index) > MOST_POINTS:
        index = np.concatenate([index[: MOST_POINTS // 2], index[-MOST_POINTS // 2 :]])
    return Evidence(
        scope=series.scope,
        name=series.name,
        label=series.label,
        rows=tuple(series.rows[index].tolist()),
        steps=tuple(series.steps[index].tolist()),
        values=tuple(series.values[index].tolist()),
    )
