"""Words that analyses over runs share: p-values, blocks of lines, and what too few seeds mean."""

from collections.abc import Sequence

from ontogeny.core.analyses import LEAST_SEEDS

BOTH_TEXTS = "losses of new and of general text"
ADD_THEM = "add probe sets of held-out text and of another corpus to data.probes, and evaluation to measures"
"""What to do where one of these was not evaluated."""
NO_CLAIM = f"fewer than {LEAST_SEEDS} seeds: no claim"


def p_value(p: float) -> str:
    """With four places."""
    return f"p = {p:.4f}" if p >= 5e-5 else "p < 0.0001"


def block(heading: str, lines: Sequence[str]) -> str:
    """A heading that ends in a colon, and indented lines below it: one sentence of a `Result`."""
    return "\n".join([f"{heading}:", *(f"  {line}" for line in lines)])
