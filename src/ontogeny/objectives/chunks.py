"""Two models that read the same texts in tokens of their own: where they meet, and what they say there."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage
from ontogeny.core.terms import CompanionPass, Spelling
from ontogeny.objectives.alignment import common_edges
from ontogeny.objectives.layers import predicting
from ontogeny.objectives.tiled_divergence import TILE, log_of_mass

WHITE_SPACE = b" \t\n\r\x0b\x0c"


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Places after which both have covered the same bytes, of all passages of a batch in order; each begins with 0."""

    row: np.ndarray
    """int64 [E]: the passage."""
    ours: np.ndarray
    """int64 [E]: so many of the student's tokens are before it."""
    theirs: np.ndarray
    """int64 [E]: so many of the teacher's tokens are before it."""
    supervised: np.ndarray
    """bool [E]: do all tokens, of both, between the edge before it and it count as targets?"""
    goes_on: np.ndarray
    """bool [E]: do both have a token behind it that counts as a target?"""


def edges_of(ours: Sequence[Passage], theirs: Sequence[Passage]) -> Edges:
    """The common edges of a batch that both read. A passage's first token is never a target."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("row", "ours", "theirs", "supervised", "goes_on")}
    for row, (our_passage, their_passage) in enumerate(zip(ours, theirs, strict=True)):
        ours_at, theirs_at = common_edges(our_passage, their_passage)
        our_targets, their_targets = _targets(our_passage), _targets(their_passage)
        others = _others_between(ours_at, our_targets) + _others_between(theirs_at, their_targets)
        parts = {
            "row": np.full(len(ours_at), row),
            "ours": ours_at,
            "theirs": theirs_at,
            "supervised": np.append([False], others == 0),
            "goes_on": np.append(our_targets, False)[ours_at] & np.append(their_targets, False)[theirs_at],
        }
        for name, part in parts.items():
            columns[name].append(part)
    return Edges(**{name: np.concatenate(parts) for name, parts in columns.items()})


def _others_between(edges: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """int64 [E - 1]: tokens between an edge and the next that are no targets."""
    before = np.concatenate([[0], np.cumsum(~targets)])
    return before[edges[1:]] - before[edges[:-1]]


def _targets(passage: Passage) -> np.ndarray:
    """bool [n]: does the token count as a target? The first of a passage does not."""
    targets = passage.supervised.copy()
    targets[:1] = False
    return targets


def flat_positions(rows: np.ndarray, columns: np.ndarray, ids: Tensor) -> Tensor:
    """Flat positions, int64 [n], of rows and columns in a batch of ids [B, T]."""
    return torch.from_numpy(rows * ids.shape[1] + columns).to(ids.device)


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """The same bytes on both sides: indices of `Edges` where each chunk begins and ends, int64 [n]."""

    begin: np.ndarray
    end: np.ndarray


def chunks_between(edges: Edges, ends: np.ndarray) -> Chunks:
    """Chunks from edge to edge that end where `ends` (bool [E]) says; what is between is joined.

    A chunk has supervised tokens only; text behind the last end of a passage belongs to none.
    """
    begins: list[int] = []
    stops: list[int] = []
    begin = -1
    for at, (is_end, supervised) in enumerate(zip(ends.tolist(), edges.supervised.tolist(), strict=True)):
        if not supervised:
            begin = at
        elif is_end:
            begins.append(begin)
            stops.append(at)
            begin = at
    return Chunks(begin=np.array(begins, dtype=np.int64), end=np.array(stops, dtype=np.int64))


def sums_between(values: Tensor, rows: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Tensor:
    """[n]: sums of values [B, T] over columns begin to end (without it) of a row."""
    length = int((end - begin).max(initial=0))
    columns = torch.from_numpy(begin)[:, None] + torch.arange(length)
    inside = (columns < torch.from_numpy(end)[:, None]).to(values.device)
    columns = columns.clamp(max=values.shape[1] - 1).to(values.device)
    row = torch.from_numpy(rows)[:, None].to(values.device)
    return values[row, columns].where(inside, values.new_zeros(())).sum(1)


Reduce = Callable[[Tensor, Tensor], Tensor]
"""From logits [n, V] and the places of these rows among all that are asked for, int64 [n]: [n]."""


def at_positions(companion: CompanionPass, positions: Tensor, reduce: Reduce) -> Tensor:
    """A number for each flat position from a companion's logits there, a tile of positions at a time: [n]."""
    places = torch.arange(len(positions), device=positions.device)
    tile = max(TILE // companion.vocabulary, 1)
    parts = [reduce(wide(companion.logits_at(positions[part])), part) for part in places.split(tile)]
    return torch.cat(parts) if parts else torch.zeros(0, device=positions.device)


def wide(logits: Tensor) -> Tensor:
    """In float32, or float64 where they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def nll_of(companion: CompanionPass) -> Tensor:
    """[B, T], nats: of each supervised token of a companion given those before it; 0 elsewhere."""
    positions = predicting(companion.supervised)
    targets = companion.input_ids.flatten()[positions + 1]

    def nll(logits: Tensor, part: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits, targets[part], reduction="none")

    values = at_positions(companion, positions, nll)
    flat = values.new_zeros(companion.input_ids.numel())
    return flat.index_copy_(0, positions + 1, values).view(companion.input_ids.shape)


@lru_cache(maxsize=8)
def white_space_ids(spelling: Spelling, label: str, whose: str) -> Tensor:
    """Ids whose bytes begin with white space, int64 [n]. Raises OntogenyError if none is known to."""
    ids = [i for i, spelled in enumerate(spelling) if spelled and spelled[0] in WHITE_SPACE]
    if not ids:
        raise OntogenyError(
            f"'{label}' ends chunks where white space may follow, and no token of {whose} is known to begin with it: "
            "write boundary: null"
        )
    return torch.tensor(ids)


def log_mass(logits: Tensor, ids: Tensor) -> Tensor:
    """[n]: log probability that the next token is one of the ids, from logits [n, V]."""
    known = ids[ids < logits.shape[1]].to(logits.device)
    return log_of_mass(logits.softmax(-1).index_select(1, known).sum(-1))


@lru_cache(maxsize=8)
def extensions_of(spelling: Spelling) -> "Extensions":
    """`Extensions`, kept, since sorting a vocabulary takes longer than a step."""
    return Extensions(spelling)


class Extensions:
    """Which tokens begin with the bytes of a token and go on: what a canonical chain that ends there leaves out."""

    def __init__(self, spelling: Spelling) -> None:
        spelled = sorted((token, i) for i, token in enumerate(spelling) if token)
        self._tokens = [token for token, _ in spelled]
        self.order = torch.tensor([i for _, i in spelled])
        """int64: ids in the order of their bytes, in which the tokens that begin alike are neighbours."""
        self._place = {i: place for place, (_, i) in enumerate(spelled)}

    def of(self, token_id: int) -> tuple[int, int]:
        """First and last (without it) place in `order` of the tokens that begin with this one's bytes, itself too."""
        if token_id not in self._place:
            return (0, 0)
        token = self._tokens[self._place[token_id]]
        after = len(self._tokens)
        bound = token.rstrip(b"\xff")
        if bound:
            after = bisect_left(self._tokens, bound[:-1] + bytes([bound[-1] + 1]))
        return bisect_left(self._tokens, token), after


def tokenization_bias(companion: CompanionPass, positions: Tensor, extensions: Extensions) -> Tensor:
    """[n], nats: how much likelier the bytes of the token behind each position are than the token itself.

    log sum_u p(u) - log p(t), over the tokens u that begin with the bytes of t: the text may go on inside a longer
    token, which the canonical chain of tokens does not count (Phan et al. 2024, "Understanding and mitigating
    tokenization bias in language models"). Covers that begin before t are left out, so it is a lower bound.
    """
    targets = companion.input_ids.flatten()[positions + 1]
    ranges = torch.tensor([extensions.of(i) for i in targets.tolist()], device=positions.device).view(-1, 2)
    order = extensions.order.to(positions.device)

    def bias(logits: Tensor, part: Tensor) -> Tensor:
        known = order.clamp(max=logits.shape[1] - 1)
        probabilities = logits.double().softmax(-1)
        own = probabilities.gather(1, targets[part, None])[:, 0]
        summed = torch.nn.functional.pad(probabilities.index_select(1, known).cumsum(1), (1, 0))
        first, last = ranges[part].unbind(1)
        mass = (summed.gather(1, last[:, None]) - summed.gather(1, first[:, None]))[:, 0]
        return (log_of_mass(torch.maximum(mass, own)) - log_of_mass(own)).to(logits.dtype)

    return at_positions(companion, positions, bias)
