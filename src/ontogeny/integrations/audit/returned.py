"""What people call the numbers that an evaluation returns."""

from collections.abc import Mapping

LOSS = frozenset({"loss", "objective", "total", "total_loss"})
PERPLEXITY = frozenset({"perplexity", "ppl"})
PLAIN = frozenset({"nll", "nll_loss", "lm", "lm_loss", "ce", "ce_loss", "cross_entropy", "next_token"})


def named(numbers: Mapping[str, float], names: frozenset[str]) -> float | None:
    """A number by one of its names, with `eval_`, `val/` or the like in front or not; None if it is not there."""
    return next((value for name, value in numbers.items() if bare(name) in names), None)


def bare(name: str) -> str:
    """A name without what says that it is of an evaluation."""
    word = name.lower()
    for prefix in ("validation", "valid", "eval", "val", "test"):
        if word.startswith(prefix) and word[len(prefix) : len(prefix) + 1] in ("_", "/", "-"):
            return word[len(prefix) + 1 :]
    return word
