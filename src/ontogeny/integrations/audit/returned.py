"""What people call the numbers that an evaluation returns."""

from collections.abc import Iterable, Mapping

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
