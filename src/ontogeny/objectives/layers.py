"""Which positions and which layers of a student and a teacher are compared."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError
from ontogeny.core.terms import TermContext

if TYPE_CHECKING:
    from torch import Tensor

Pairs = tuple[tuple[int, int], ...]
"""(student's, teacher's) layers, or heads."""


def predicting(supervised: "Tensor") -> "Tensor":
    """Flat positions that predict a supervised token, int64 [n]: those one before it. `supervised`: bool [B, T]."""
    rows, columns = supervised[:, 1:].nonzero(as_tuple=True)
    return rows * supervised.shape[1] + columns


def blocks_of(given: Sequence[tuple[int, int]] | None, ours: int, theirs: int, label: str) -> Pairs:
    """The layer map: blocks, counted from 1, that are compared, the last with the last.

    By default block i of S is compared with block round(i T / S) of T. Raises OntogenyError for a map that names a
    block which is not there, or one twice, or that does not end at the last blocks.
    """
    if given is None:
        return tuple((i, max(round(i * theirs / ours), 1)) for i in range(1, ours + 1))
    for pair in given:
        if not (1 <= pair[0] <= ours and 1 <= pair[1] <= theirs):
            raise OntogenyError(
                f"'{label}' compares block {pair[0]} with the teacher's block {pair[1]}; the model has blocks 1 to "
                f"{ours}, the teacher 1 to {theirs}: write other layers"
            )
        if given.count(pair) > 1:
            raise OntogenyError(f"'{label}' compares layers {list(pair)} twice: name each pair once")
    if given[-1] != (ours, theirs):
        raise OntogenyError(
            f"the layers of '{label}' end at {list(given[-1])}, and the last blocks are {[ours, theirs]}: end the map "
            f"with {[ours, theirs]}"
        )
    return tuple(given)


def require_same_tokens(context: TermContext, teacher: str, label: str, what: str) -> None:
    """Raise OntogenyError if the teacher has a tokenizer of its own."""
    if teacher in context.own_tokens:
        raise OntogenyError(
            f"the loss term '{label}' compares {what} of the same tokens, and the companion '{teacher}' has a "
            "tokenizer of its own: choose a teacher with the student's tokenizer, or the terms kd_chunks and uld"
        )
