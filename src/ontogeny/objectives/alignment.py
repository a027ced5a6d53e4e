"""Positions of two tokenizations of the same text that mean the same place."""

import numpy as np

from ontogeny.core.passages import Passage


def common_edges(ours: Passage, theirs: Passage) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of tokens, int64 [E] each, after which both tokenizations have covered the same bytes.

    So `ours` tokens `a[i]:a[i+1]` and `theirs` tokens `b[i]:b[i+1]` are the same text, the shortest such chunks. The
    first edge is 0; tokens that cover no bytes (an end-of-text token) belong to no chunk.

    Example: "ab cd" as [a, b, " cd"] and as [ab, " c", d] has common edges at bytes 0, 2 and 5: (0, 2, 3), (0, 1, 3).
    """
    ends_ours, ends_theirs = _tokens_before(ours.byte_offsets), _tokens_before(theirs.byte_offsets)
    common = sorted(set(ends_ours) & set(ends_theirs))
    return (
        np.array([ends_ours[byte] for byte in common], dtype=np.int64),
        np.array([ends_theirs[byte] for byte in common], dtype=np.int64),
    )


def _tokens_before(byte_offsets: np.ndarray) -> dict[int, int]:
    """By byte: the smallest number of tokens that covers all before it. Bytes inside a token have none."""
    counts: dict[int, int] = {}
    for count, byte in enumerate(byte_offsets.tolist()):
        counts.setdefault(byte, count)
    return counts
