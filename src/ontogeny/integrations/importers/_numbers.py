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
