"""What people call the numbers that an evaluation returns."""

import math
from collections.abc import Iterable, Mapping

from ontogeny.integrations.audit.seen import Evaluated

LOSS = frozenset({"loss", "objective", "total", "total_loss"})
PERPLEXITY = frozenset({"perplexity", "ppl"})
PLAIN = frozenset({"nll", "nll_loss", "lm", "lm_loss", "ce", "ce_loss", "cross_entropy", "next_token"})
EVALUATED = ("validation", "valid", "eval", "val", "test")
OTHER_SPLITS = ("training", "train", "dev", "heldout", "held_out")


def named(numbers: Mapping[str, float], names: frozenset[str]) -> float | None:
    """A number by one of its names, with `eval_`, `val/` or the like in front or not; None if it is not there.

    None, too, where it stands there for several splits (`train_loss`, `val_loss`): which rows belong to which is not
    seen.
    """
    found = next((name for name in numbers if bare(name) in names), None)
    if found is None:
        return None
    same = {value for name, value in numbers.items() if _of_any_split(name) == _of_any_split(found)}
    return numbers[found] if len(same) == 1 else None


def bare(name: str) -> str:
    """A name without what says that it is of an evaluation."""
    return _without(name.lower(), EVALUATED)


def _of_any_split(name: str) -> str:
    return _without(name.lower(), (*EVALUATED, *OTHER_SPLITS))


def _without(word: str, splits: Iterable[str]) -> str:
    for prefix in splits:
        if word.startswith(prefix) and word[len(prefix) : len(prefix) + 1] in ("_", "/", "-"):
            return word[len(prefix) + 1 :]
    return word


def two_values(done: Evaluated) -> tuple[float, float] | None:
    """The same number at both batch sizes: of an NLL, a loss or a perplexity, the first that it returned."""
    for names in (PLAIN, LOSS, PERPLEXITY):
        for name, value in done.numbers.items():
            if bare(name) in names and name in done.at_other_size:
                return value, done.at_other_size[name]
    return None


def plain_value(done: Evaluated) -> float | None:
    """The NLL that it returned, or else the loss."""
    plain = named(done.numbers, PLAIN)
    return named(done.numbers, LOSS) if plain is None else plain


def is_cut_off(logarithm: float) -> bool:
    """Is it a round number, or the logarithm of a power of ten, of at least 5?"""
    tens = logarithm / math.log(10)
    return logarithm >= 5 and min(abs(logarithm - round(logarithm)), abs(tens - round(tens))) < 1e-6
