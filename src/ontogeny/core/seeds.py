"""Randomness as a function of its purpose, so that a run continues exactly without any saved random state."""

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Derive an independent 63-bit seed from a seed and the purpose of the draw.

    >>> derive_seed(0, "dropout", 12) == derive_seed(0, "dropout", 12)
    True
    >>> derive_seed(0, "dropout", 12) == derive_seed(0, "dropout", 13)
    False
    """
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
