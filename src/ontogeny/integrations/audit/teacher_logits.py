"""Logits of student and teacher, compared by position and by token."""

from typing import Any

import numpy as np

from ontogeny.integrations.audit.observed import LogitPair
from ontogeny.integrations.audit.recording import Recording


def follows_tokens(pair: LogitPair, moved: list[tuple[int, int]]) -> bool:
    """Do the compared logits of tokens, at the student's ids, go with the teacher's at its own?"""
    assert pair.target is not None
    assert pair.teacher is not None
    inside = [(s, t) for s, t in moved if s < pair.target.shape[1] and t < pair.teacher.shape[1]]
    if len(inside) < 8:
        return False
    mine, theirs = (list(side) for side in zip(*inside, strict=True))
    return correlation_of(pair.target[:, mine], pair.teacher[:, theirs]) > 0.99


def vocabularies(seen: Recording) -> tuple[dict[str, int], dict[str, int]] | None:
    """Token -> id of student and teacher; None where one is not known."""
    teacher = seen.latest("teacher_tokenizer")
    tables = [_table(seen.tokenizer), _table(teacher)]
    return (tables[0], tables[1]) if tables[0] and tables[1] else None


def _table(tokenizer: Any) -> dict[str, int]:
    return dict(tokenizer.get_vocab()) if hasattr(tokenizer, "get_vocab") else {}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [n, V] in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def correlation_of(first: np.ndarray, second: np.ndarray) -> float:
    """Of two sets of logits [n, V], each position centred, over entries that are finite in both."""
    a, b = (
        np.where(np.isfinite(first) & np.isfinite(second), one, np.nan).astype(np.float64) for one in (first, second)
    )
    a, b = a - np.nanmean(a, axis=1, keepdims=True), b - np.nanmean(b, axis=1, keepdims=True)
    size = float(np.sqrt(np.nansum(a * a) * np.nansum(b * b)))
    return float(np.nansum(a * b)) / size if size else 0.0
