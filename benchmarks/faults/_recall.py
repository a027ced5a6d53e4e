"""Recall and false-alarm rate of every rule over planted faults and their clean twins."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.faults._clean import Synthetic
from ontogeny.core.verdicts import Finding
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rule import Rule, all_rules

Generator = Callable[[np.random.Generator], tuple[Synthetic, Synthetic]]


@dataclass(frozen=True)
class Score:
    """Of `draws` planted faults, how many the rule found; of the clean twins, on how many it raised an alarm."""

    rule: str
    draws: int
    found: int
    false_alarms: int


def generator_of(rule: Rule) -> Generator:
    """The function of the rule's name in the module of its family. Raises AttributeError if there is none."""
    module = importlib.import_module(f"benchmarks.faults.{rule.family}")
    generator: Generator = getattr(module, rule.id)
    return generator


def score(rule: Rule, draws: int, seed: int = 0) -> Score:
    """Plant, examine, count. Each draw has a random state of its own."""
    found = alarms = 0
    make = generator_of(rule)
    for draw in range(draws):
        fault, twin = make(np.random.default_rng([seed, draw]))
        found += _raises(rule, fault)
        alarms += _raises(rule, twin)
    return Score(rule.id, draws, found, alarms)


def _raises(rule: Rule, log: Synthetic) -> bool:
    return any(isinstance(verdict, Finding) for verdict in examine(log.history(), [rule]).verdicts)


def scores(draws: int) -> list[Score]:
    """All rules."""
    return [score(rule, draws) for rule in all_rules()]
