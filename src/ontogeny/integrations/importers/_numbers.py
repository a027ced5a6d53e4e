"""Numbers as logs write them."""

import math
import re
from typing import Any

NUMBER = (
    r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?!\d|,\d)|\d+(?!\d|,\d))(?:\.\d*)?(?:[eE][-+]?\d+)?"
    r"|\.\d+(?:[eE][-+]?\d+)?|nan|NaN|NAN|inf(?:inity)?|Inf(?:inity)?)"
)
"""A number in running text: commas between thousands, exponents, nan and infinities. `3,5` is none: it may be two."""
COUNT = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
"""A whole number in running text, with or without commas between thousands."""
_ALL = re.compile(NUMBER)


def number_of(raw: Any) -> float | None:
    """A number, also one that was written as text (`"1.703"`, `"24,099"`, `"nan"`); None for anything else."""
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
