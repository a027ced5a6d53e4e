"""Exact nearest neighbours among many states, and how far these lie apart: blocked, in bounded memory."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_BYTES = 1 << 23
"""Of distances looked at at once."""
WHOLE_BYTES = 1 << 30
"""As long as all distances fit in so much, each is computed once and stands in both rows."""
STRIP_BYTES = 1 << 28
"""Of distances computed at once where all do not fit: few rows make slow products."""
_TILE = 512
_GROUP = 16
_MORE = 17
"""Candidates beyond k."""
_OUTLIERS = 8
_OUTLIER_ENERGY = 20.0
_CERTAIN = 8.0
_UNIT = 2.0**-24
"""Unit roundoff of float32."""


def nearest(states: "Tensor", k: int, room: "Tensor | None" = None) -> "Tensor":
    """The k nearest other rows of each row, by Euclidean distance in float64, ties by index: int64 [N, k], unordered.

    `states` float32 [N, D], N > k. Candidates come from blocked float32 products of the centred states; dimensions
    that dominate the rest (outliers) are subtracted one by one. A row's set is taken as it is where its k-th and
    (k + 1)-th distances differ by more than rounding can have moved them (8 sqrt(D) u |x| |y|; Higham and Mary, "A new
    approach to probabilistic rounding error analysis", 2019); elsewhere the candidates are ranked by float64
    differences, and where more than the candidates may matter, all rows.

    Cost: N^2 D floating-point operations, and all distances in memory, as long as these fit in 1 GiB (16,384 states);
    beyond, 2 N^2 D, and 256 MiB of distances at a time. Besides, a copy of the states. `room` is from `room_for`: who
    searches many layers gives it, because memory that is new each time costs more than the distances.
    """
    import torch

    count = len(states)
    if k >= count:
        raise ValueError(f"{k} neighbours of {count} states")
    table = _Table(states)
    room = room_for(count, states.device) if room is None else room
    found = torch.empty((count, k), dtype=torch.int64, device=states.device)
    more = min(k + _MORE, count - 1)
    for start, keys in table.rows(room):
        stop = start + len(keys)
        values, columns = _smallest(keys, more)
        order = values.argsort(dim=1, stable=True)
        values, columns = values.gather(1, order), columns.gather(1, order)
        found[start:stop] = columns[:, :k]
        error = table.error(start, stop, values[:, k - 1])
        gap = values[:, k] - values[:, k - 1] if more > k else torch.full_like(error, math.inf)
        unsure = (~(gap > 2 * error)).nonzero().flatten()
        if len(unsure):
            own = unsure + start
            chosen, reach = _ranked(states, own, columns[unsure], k)
            beyond = values[unsure, -1].double()
            safe = (reach < beyond - 2 * error[unsure].double()) | torch.tensor(more == count - 1)
            found[own] = chosen
            for row in own[~safe].tolist():
                found[row] = _of_all(states, row, k)
    return found


def room_for(count: int, device: Any) -> "Tensor":
    """Room for all distances among so many states if these fit in 1 GiB, else for some rows of them."""
    import torch

    padded = -(-count // _GROUP) * _GROUP
    rows = count if 4 * count * padded <= WHOLE_BYTES else max(min(STRIP_BYTES // (4 * padded), count), 1)
    room = torch.empty((rows, padded), device=device)
    room[:, count:] = math.inf
    return room


def _rows_at_once(count: int) -> int:
    return max(min(BLOCK_BYTES // (4 * count), count), 1)


class _Table:
    """The states in float32, about their mean and apart from their outlier dimensions, and their squared norms."""

    def __init__(self, states: "Tensor") -> None:
        import torch

        count, width = states.shape
        mean = states.mean(dim=0)  # any point will do: it only makes numbers small
        centred = torch.empty((count, width + 2), device=states.device)  # then the squared norm, and 1
        torch.sub(states, mean, out=centred[:, :-2])
        energy, norms = _squares(centred[:, :-2])
        high = (energy > _OUTLIER_ENERGY * energy.median()).nonzero().flatten()
        high = high[energy[high].argsort(descending=True)][:_OUTLIERS]
        self.high = states[:, high].T.contiguous()
        if len(high):
            centred[:, high] = 0
            norms = _squares(centred[:, :-2])[1]
        self.rest = centred
        self.norms = norms.sqrt()
        self.rest[:, -2] = norms
        self.rest[:, -1] = 1
        self.rounding = _CERTAIN * math.sqrt(width) * _UNIT

    def rows(self, room: "Tensor") -> "Iterator[tuple[int, Tensor]]":
        """First row, and squared distances from there on, float32 [rows, padded]; infinite to itself and in padding."""
        import torch

        count = len(self.rest)
        if len(room) == count:
            self._fill(room)
            for start, keys in zip(range(0, count, rows := _rows_at_once(count)), room.split(rows), strict=True):
                yield start, keys
            return
        for start in range(0, count, len(room)):
            stop = min(start + len(room), count)
            for first in range(0, count, _TILE):
                last = min(first + _TILE, count)
                self._tile(start, stop, first, last, room[: stop - start, first:last])
            index = torch.arange(stop - start, device=room.device)
            room[index, index + start] = math.inf
            yield start, room[: stop - start]

    def _fill(self, keys: "Tensor") -> None:
        """All distances, each computed once."""
        count = len(self.rest)
        for start in range(0, count, _TILE):
            stop = min(start + _TILE, count)
            for first in range(start, count, _TILE):
                last = min(first + _TILE, count)
                self._tile(start, stop, first, last, keys[start:stop, first:last])
                if first > start:
                    keys[first:last, start:stop] = keys[start:stop, first:last].T
        keys.diagonal().fill_(math.inf)

    def _tile(self, start: int, stop: int, first: int, last: int, out: "Tensor") -> None:
        """Squared distances of some rows to some others."""
        import torch

        own = self.rest[start:stop] * -2
        own[:, -2] = 1
        own[:, -1] = self.rest[start:stop, -2]
        torch.mm(own, self.rest[first:last].T, out=out)
        for value in self.high:
            apart = value[start:stop, None] - value[None, first:last]
            out.addcmul_(apart, apart)

    def error(self, start: int, stop: int, kth: "Tensor") -> "Tensor":
        """How far rounding can have moved a distance that matters: up to the k-th. float32 [rows]."""
        own = self.norms[start:stop]
        distance = kth.double().clamp(min=0)
        reach = own + distance.sqrt()
        bound = self.rounding * (own + reach).square() + 4 * _UNIT * distance
        return bound.float()


def _squares(states: "Tensor") -> "tuple[Tensor, Tensor]":
    """Sums of squares in float64, of each dimension [D] and of each row [N]; no float64 copy of all of them."""
    import torch

    rows = torch.empty(len(states), dtype=torch.float64, device=states.device)
    energy = torch.zeros(states.shape[1], dtype=torch.float64, device=states.device)
    for start in range(0, len(states), _TILE):
        squares = states[start : start + _TILE].double().square_()
        rows[start : start + len(squares)] = squares.sum(dim=1)
        energy += squares.sum(dim=0)
    return energy, rows


def _smallest(keys: "Tensor", count: int) -> "tuple[Tensor, Tensor]":
    """The `count` smallest of each row and their columns [rows, count], in no order.

    The `count` smallest lie in the `count` groups with the smallest minima: were one in another group, `count` others
    would be smaller. So the minima of 16 strided groups are taken first, which is one pass over the row.
    """
    groups = keys.shape[1] // _GROUP
    if groups <= 4 * count:
        found = keys.topk(count, dim=1, largest=False, sorted=False)
        return found.values, found.indices
    import torch

    slabs = keys.view(len(keys), _GROUP, groups)
    best = slabs.amin(dim=1).topk(count, dim=1, largest=False, sorted=False).indices
    columns = (best[:, None] + torch.arange(_GROUP, device=keys.device)[None, :, None] * groups).flatten(1)
    values, places = keys.gather(1, columns).topk(count, dim=1, largest=False, sorted=False)
    return values, columns.gather(1, places)


def _ranked(states: "Tensor", rows: "Tensor", columns: "Tensor", k: int) -> "tuple[Tensor, Tensor]":
    """The k nearest among given columns by float64 differences, ties by index; and the distance of the last."""
    import torch

    columns = columns.sort(dim=1).values
    chosen = torch.empty((len(rows), k), dtype=torch.int64, device=states.device)
    reach = torch.empty(len(rows), dtype=torch.float64, device=states.device)
    block = max((1 << 25) // (8 * columns.shape[1] * states.shape[1]), 1)
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        apart = states[columns[part]].double() - states[rows[part]].double()[:, None]
        distances, order = apart.square_().sum(dim=2).sort(dim=1, stable=True)
        chosen[part] = columns[part].gather(1, order[:, :k])
        reach[part] = distances[:, k - 1]
    return chosen, reach


def _of_all(states: "Tensor", row: int, k: int) -> "Tensor":
    """The k nearest of one row, by float64 differences to every other."""
    import torch

    own = states[row].double()
    distances = torch.cat([(part.double() - own).square_().sum(dim=1) for part in states.split(8192)])
    distances[row] = math.inf
    return distances.argsort(stable=True)[:k]


class Spread:
    """Population variance of neighbours' states, summed over dimensions; asked about several sets of neighbours.

    mean |y|^2 - |mean y|^2 in float64, a block of dimensions at a time; where that loses more than six of its sixteen
    digits (neighbours that are nearly equal, beside their length), by differences from their mean.
    """

    def __init__(self, states: "Tensor") -> None:

        self.states = states
        self.squares = _squares(states)[1]
        self._parts = states.split(max((1 << 25) // (8 * len(states)), 64), dim=1)

    def of(self, neighbours: "Tensor") -> "Tensor":
        """`neighbours` int64 [N, k]; float64 [N]."""
        from torch.nn.functional import embedding_bag

        scale = self.squares[neighbours].mean(dim=1)
        total = scale.clone()
        for part in self._parts:
            total -= embedding_bag(neighbours, part.double(), mode="mean").square_().sum(dim=1)
        close = (total < 1e-6 * scale).nonzero().flatten()
        for rows in close.split(max((1 << 25) // (8 * neighbours.shape[1] * self.states.shape[1]), 1)):
            own = self.states[neighbours[rows]].double()
            total[rows] = (own - own.mean(dim=1, keepdim=True)).square().mean(dim=1).sum(dim=1)
        return total.clamp_(min=0)
