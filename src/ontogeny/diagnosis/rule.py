"""A rule: a function from a view of a log to an outcome, with the texts that explain it to people."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from ontogeny.core.verdicts import Certainty, Evidence, Severity
from ontogeny.diagnosis.objective import LANGUAGE_MODELING, ObjectiveKind
from ontogeny.diagnosis.view import View
from ontogeny.store.history import Series

MOST_POINTS = 12
"""Most points of a series that a finding names; of more, the first and the last."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A rule found something. Texts left empty are taken from the rule."""

    severity: Severity
    statement: str
    numbers: Mapping[str, float | int | str]
    evidence: tuple[Evidence, ...]
    certainty: Certainty = "likely"
    otherwise: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A rule could judge and found nothing."""

    numbers: Mapping[str, float | int | str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lacks:
    """A rule cannot judge. `what` completes `not assessable: lacks …`."""

    what: str


Outcome = Detection | Nothing | Lacks
Check = Callable[[View], Outcome | Iterable[Detection]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule with the texts that explain it. `id` names its function and its page in the documentation."""

    id: str
    family: str
    title: str
    """A noun phrase: `Overfitting`."""
    needs: str
    """Series, how many points of them, and what else must be known."""
    statistic: str
    """What is computed, as a formula in words."""
    threshold: str
    """When it is a finding; numbers with their units."""
    origin: str
    """Where statistic and threshold come from: threads, papers, or calibration."""
    otherwise: str
    """What else could explain the statistic."""
    refuted_by: str
    """What would show that the finding is wrong."""
    remedy: str
    objectives: frozenset[ObjectiveKind]
    """The kinds of training that it applies to."""
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
    objectives: Iterable[ObjectiveKind] = LANGUAGE_MODELING,
) -> Callable[[Check], Rule]:
    """Turn a function into a rule: it takes a `View` and returns `Nothing`, `Lacks`, or one or several `Detection`."""

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
    """Every rule: families by name, the rules of a family in the order of its file."""
    package = importlib.import_module("ontogeny.diagnosis.rules")
    rules: list[Rule] = []
    for family in sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.name[0] != "_"):
        module = importlib.import_module(f"{package.__name__}.{family}")
        rules += [value for value in vars(module).values() if isinstance(value, Rule) and value.family == family]
    return tuple(rules)


def points(series: Series, chosen: np.ndarray | Iterable[int]) -> Evidence:
    """Evidence: the points of a series at these indices (or under this mask); the first and last six of many."""
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
