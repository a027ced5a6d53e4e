"""Numbers as logs write them."""

import math
import re

NUMBER = (
    r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d+(?!\d|,\d))(?:\.\d*)?(?:[eE][-+]?\d+)?"
    r"|\.\d+(?:[eE][-+]?\d+)?|nan|NaN|NAN|inf(?:inity)?|Inf(?:inity)?)"
)
"""Pattern of a number in text: commas between thousands, exponents, nan, infinities. Not `3,5`, which may be two."""
COUNT = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
"""Pattern of a whole number in text, with or without commas between thousands."""
_ALL = re.compile(NUMBER)
MOST = 2**53
"""Whole numbers from here on are no counts, steps or settings; a comparison with it is also false for NaN."""


def number_of(raw: object) -> float | None:
    """A number, or the number that a text is (`"1.703"`, `"24,099"`, `"nan"`); None for anything else."""
    if isinstance(raw, bool) or raw is None:
        return None
    if isinstance(raw, int | float):
        try:
            return float(raw)
        except OverflowError:
            return math.inf if raw > 0 else -math.inf
    if isinstance(raw, str) and len(raw) < 64 and _ALL.fullmatch(raw.strip()):
        try:
            return float(raw.strip().replace(",", ""))
        except ValueError:
            return None
    return None


def count_of(text: str) -> int | None:
    """The whole number that a match of `COUNT` is; None if there is none, or it is too large to count anything."""
    digits = text.replace(",", "")
    return int(digits) if 0 < len(digits) < 16 else None
