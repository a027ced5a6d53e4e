"""Two tokenizations of a text meet where both have covered the same bytes."""

import numpy as np

from ontogeny.core.passages import Passage
from ontogeny.objectives.alignment import common_edges


def tokens(*widths: int) -> Passage:
    """Tokens of so many bytes each."""
    return Passage(
        text="x" * sum(widths),
        token_ids=np.arange(len(widths), dtype=np.int32),
        byte_offsets=np.cumsum([0, *widths], dtype=np.int32),
        source="by hand",
        supervised=np.ones(len(widths), dtype=bool),
    )


def test_by_hand() -> None:
    """ "ab cd" as [a, b, " cd"] and [ab, " c", d]: both are at byte 0, at 2 and at 5."""
    ours, theirs = common_edges(tokens(1, 1, 3), tokens(2, 2, 1))
    assert (ours.tolist(), theirs.tolist()) == ([0, 2, 3], [0, 1, 3])


def test_the_same_tokens_meet_everywhere_and_others_only_at_the_ends() -> None:
    ours, theirs = common_edges(tokens(2, 2, 2), tokens(2, 2, 2))
    assert ours.tolist() == theirs.tolist() == [0, 1, 2, 3]
    ours, theirs = common_edges(tokens(1, 2, 2, 1), tokens(2, 2, 2))
    assert (ours.tolist(), theirs.tolist()) == ([0, 4], [0, 3])


def test_a_token_of_no_bytes_belongs_to_no_chunk() -> None:
    """An end-of-text token behind the text: the last edge is before it, on both sides."""
    ours, theirs = common_edges(tokens(1, 2, 0), tokens(3, 0))
    assert (ours.tolist(), theirs.tolist()) == ([0, 2], [0, 1])
