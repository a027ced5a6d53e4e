"""What a check is: a function from a recording to an outcome, and what people must know about it."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ontogeny.diagnosis.rule import Detection, Lacks, Nothing
from ontogeny.integrations.audit.recording import Recording

Outcome = Detection | Lacks | Nothing
Judge = Callable[[Recording], Outcome]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check and its words. `id` is the name of its function and of its page in the documentation."""

    id: str
    family: str
    title: str
    """A noun phrase: `No optimizer step`."""
    needs: str
    """What must have been seen or watched."""
    cost: str
    """What it costs the run, in one phrase."""
    threshold: str
    """When it is a finding; numbers with their units."""
    otherwise: str
    """What else could explain it."""
    refuted_by: str
    """What would show it to be wrong."""
    remedy: str
    judge: Judge


def check(
    *, title: str, needs: str, cost: str, threshold: str, otherwise: str, refuted_by: str, remedy: str
) -> Callable[[Judge], Check]:
    """Make a check of a function that takes a `Recording` and returns `Detection`, `Nothing` or `Lacks`."""

    def make(judge: Judge) -> Check:
        return Check(
            id=judge.__name__,
            family=judge.__module__.rpartition(".")[2],
            title=title,
            needs=needs,
            cost=cost,
            threshold=threshold,
            otherwise=otherwise,
            refuted_by=refuted_by,
            remedy=remedy,
            judge=judge,
        )

    return make


_FIRST = ("optimizer", "schedule", "loss", "targets", "terms")
"""Families whose findings may be the cause of others'."""


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check of every family: what undoes everything else first, then in the order of their files."""
    package = importlib.import_module("ontogeny.integrations.audit.checks")
    found: list[Check] = []
    modules = [info.name for info in pkgutil.iter_modules(package.__path__)]
    for module in sorted(modules, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        loaded = importlib.import_module(f"{package.__name__}.{module}")
        found += [one for one in vars(loaded).values() if isinstance(one, Check) and one.family == module]
    return tuple(found)
