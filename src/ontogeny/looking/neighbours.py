"""Exact nearest neighbours among many states, and the variance of a set of neighbours: blocked, in bounded memory."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK_BYTES = 1 << 23
"""Distances that are searched at once."""
WHOLE_BYTES = 1 << 30
"""If all distances fit into this, each is computed once and written to both of its rows."""
STRIP_BYTES = 1 << 28
"""Distances that are computed at once where not all fit: products of few rows are slow."""
_TILE = 512
_GROUP = 16
_EXTRA = 17
"""Candidates beyond k."""
_OUTLIERS = 8
"""Most outlier dimensions that are treated apart."""
_OUTLIER_ENERGY = 20.0
"""A dimension is an outlier if its sum of squares exceeds the median dimension's by this factor."""
_CERTAIN = 8.0
"""Factor of the probabilistic error bound below: the chance to exceed it is negligible."""
_UNIT = 2.0**-24
"""Unit roundoff of float32."""


def nearest(states: "Tensor", k: int, buffer: "Tensor | None" = None) -> "Tensor":
    """The k nearest other rows of each row, by Euclidean distance in float64, ties by index: int64 [N, k], unordered.

    `states` float32 [N, D], N > k. Candidates come from blocked float32 products of the centred states; the differences
    in outlier dimensions, which would dominate the products, are computed directly. A row's set is accepted if its k-th
    and (k + 1)-th distances differ by more than rounding can have moved them (8 sqrt(D) u |x| |y|; Higham and Mary, "A
    new approach to probabilistic rounding error analysis", 2019). Otherwise its candidates are ranked by float64
    differences; and if rows beyond the candidates may matter, all rows are.

    Cost: N^2 D floating-point operations while all distances fit into 1 GiB (16,384 states); beyond, 2 N^2 D, and
    256 MiB of distances at a time. In addition a copy of the states. `buffer` is from `distance_buffer`: pass it to
    search several layers, because allocating the memory anew costs more than the distances.
    """
    import torch

    count = len(states)
    if k >= count:
        raise ValueError(f"{k} neighbours of {count} states")
    table = DistanceTable(states)
    buffer = distance_buffer(count, states.device) if buffer is None else buffer
    neighbours = torch.empty((count, k), dtype=torch.int64, device=states.device)
    candidates = min(k + _EXTRA, count - 1)
    for start, distances in table.rows(buffer):
        stop = start + len(distances)
        values, columns = smallest(distances, candidates)
        order = values.argsort(dim=1, stable=True)
        values, columns = values.gather(1, order), columns.gather(1, order)
        neighbours[start:stop] = columns[:, :k]
        error = table.error(start, stop, values[:, k - 1])
        gap = values[:, k] - values[:, k - 1] if candidates > k else torch.full_like(error, math.inf)
        unsure = (~(gap > 2 * error)).nonzero().flatten()
        if len(unsure):
            rows = unsure + start
            neighbours[rows], kth = _ranked(states, rows, columns[unsure], k)
            first_excluded = values[unsure, -1].double()
            # No row outside the candidates can be nearer than the k-th; or there is no such row.
            safe = (kth < first_excluded - 2 * error[unsure].double()) | torch.tensor(candidates == count - 1)
            for row in rows[~safe].tolist():
                neighbours[row] = _nearest_of_all(states, row, k)
    return neighbours


def distance_buffer(count: int, device: "torch.device | str") -> "Tensor":
    """Memory for the distances among `count` states: for all if they fit into WHOLE_BYTES, else for some rows."""
    import torch

    padded = -(-count // _GROUP) * _GROUP
    rows = count if 4 * count * padded <= WHOLE_BYTES else max(min(STRIP_BYTES // (4 * padded), count), 1)
    buffer = torch.empty((rows, padded), device=device)
    buffer[:, count:] = math.inf
    return buffer


def _rows_at_once(count: int) -> int:
    return max(min(BLOCK_BYTES // (4 * count), count), 1)


class DistanceTable:
    """Squared distances among states, computed in float32 from centred states, with outlier dimensions apart."""

    def __init__(self, states: "Tensor") -> None:
        import torch

        count, width = states.shape
        mean = states.mean(dim=0)  # need not be exact: it only makes the numbers small
        # |x - y|^2 = -2 x.y + |x|^2 + |y|^2 is one product: each row carries its squared norm and a 1.
        centred = torch.empty((count, width + 2), device=states.device)
        torch.sub(states, mean, out=centred[:, :-2])
        energy, norms = _squares(centred[:, :-2])
        outliers = (energy > _OUTLIER_ENERGY * energy.median()).nonzero().flatten()
        outliers = outliers[energy[outliers].argsort(descending=True)][:_OUTLIERS]
        self.outliers = states[:, outliers].T.contiguous()
        if len(outliers):
            centred[:, outliers] = 0
            norms = _squares(centred[:, :-2])[1]
        self.centred = centred
        self.norms = norms.sqrt()
        self.centred[:, -2] = norms
        self.centred[:, -1] = 1
        self.rounding = _CERTAIN * math.sqrt(width) * _UNIT

    def rows(self, buffer: "Tensor") -> "Iterator[tuple[int, Tensor]]":
        """Blocks of rows: index of the first, and their squared distances, float32 [rows, padded count].

        Infinite from a state to itself, and in the padding. A block is valid until the next one is asked for.
        """
        import torch

        count = len(self.centred)
        if len(buffer) == count:
            self._fill(buffer)
            block = _rows_at_once(count)
            yield from zip(range(0, count, block), buffer.split(block), strict=True)
            return
        for start in range(0, count, len(buffer)):
            stop = min(start + len(buffer), count)
            for first in range(0, count, _TILE):
                last = min(first + _TILE, count)
                self._tile(start, stop, first, last, buffer[: stop - start, first:last])
            index = torch.arange(stop - start, device=buffer.device)
            buffer[index, index + start] = math.inf
            yield start, buffer[: stop - start]

    def _fill(self, distances: "Tensor") -> None:
        """All distances, each computed once."""
        count = len(self.centred)
        for start in range(0, count, _TILE):
            stop = min(start + _TILE, count)
            for first in range(start, count, _TILE):
                last = min(first + _TILE, count)
                self._tile(start, stop, first, last, distances[start:stop, first:last])
                if first > start:
                    distances[first:last, start:stop] = distances[start:stop, first:last].T
        distances.diagonal().fill_(math.inf)

    def _tile(self, start: int, stop: int, first: int, last: int, out: "Tensor") -> None:
        """Squared distances of rows start:stop to rows first:last."""
        import torch

        factors = self.centred[start:stop] * -2
        factors[:, -2] = 1
        factors[:, -1] = self.centred[start:stop, -2]
        torch.mm(factors, self.centred[first:last].T, out=out)
        for values in self.outliers:
            difference = values[start:stop, None] - values[None, first:last]
            out.addcmul_(difference, difference)

    def error(self, start: int, stop: int, kth: "Tensor") -> "Tensor":
        """Bound on the rounding error of distances up to the k-th of these rows: float32 [rows]. `kth`: [rows]."""
        norms = self.norms[start:stop]
        distance = kth.double().clamp(min=0)
        neighbour_norms = norms + distance.sqrt()  # triangle inequality
        bound = self.rounding * (norms + neighbour_norms).square() + 4 * _UNIT * distance
        return bound.float()


def _squares(states: "Tensor") -> "tuple[Tensor, Tensor]":
    """Sums of squares in float64 of each dimension [D] and of each row [N], without a float64 copy of the states."""
    import torch

    rows = torch.empty(len(states), dtype=torch.float64, device=states.device)
    energy = torch.zeros(states.shape[1], dtype=torch.float64, device=states.device)
    for start in range(0, len(states), _TILE):
        squares = states[start : start + _TILE].double().square_()
        rows[start : start + len(squares)] = squares.sum(dim=1)
        energy += squares.sum(dim=0)
    return energy, rows


def smallest(distances: "Tensor", count: int) -> "tuple[Tensor, Tensor]":
    """The `count` smallest values of each row and their columns [rows, count], in no order.

    They lie in the `count` groups with the smallest minima: if one lay in another group, `count` other values would be
    smaller. So the minima of 16 strided groups are searched first, which takes one pass over the row.
    """
    groups = distances.shape[1] // _GROUP
    if groups <= 4 * count:
        direct = distances.topk(count, dim=1, largest=False, sorted=False)
        return direct.values, direct.indices
    import torch

    slabs = distances.view(len(distances), _GROUP, groups)
    best = slabs.amin(dim=1).topk(count, dim=1, largest=False, sorted=False).indices
    columns = (best[:, None] + torch.arange(_GROUP, device=distances.device)[None, :, None] * groups).flatten(1)
    values, places = distances.gather(1, columns).topk(count, dim=1, largest=False, sorted=False)
    return values, columns.gather(1, places)


def _ranked(states: "Tensor", rows: "Tensor", columns: "Tensor", k: int) -> "tuple[Tensor, Tensor]":
    """The k nearest among given columns by float64 differences, ties by index; and the squared k-th distance."""
    import torch

    columns = columns.sort(dim=1).values
    neighbours = torch.empty((len(rows), k), dtype=torch.int64, device=states.device)
    kth = torch.empty(len(rows), dtype=torch.float64, device=states.device)
    block = max((1 << 25) // (8 * columns.shape[1] * states.shape[1]), 1)
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        differences = states[columns[part]].double() - states[rows[part]].double()[:, None]
        distances, order = differences.square_().sum(dim=2).sort(dim=1, stable=True)
        neighbours[part] = columns[part].gather(1, order[:, :k])
        kth[part] = distances[:, k - 1]
    return neighbours, kth


def _nearest_of_all(states: "Tensor", row: int, k: int) -> "Tensor":
    """The k nearest of one row, by float64 differences to every other row."""
    import torch

    state = states[row].double()
    distances = torch.cat([(part.double() - state).square_().sum(dim=1) for part in states.split(8192)])
    distances[row] = math.inf
    return distances.argsort(stable=True)[:k]


class Spread:
    """Population variance of neighbours' states, summed over dimensions, for several sets of neighbours.

    mean |y|^2 - |mean y|^2 in float64, a block of dimensions at a time. Where this loses more than six of its sixteen
    digits (neighbours that are nearly equal relative to their length), from differences to their mean.
    """

    def __init__(self, states: "Tensor") -> None:
        self.states = states
        self.squares = _squares(states)[1]
        self._blocks = states.split(max((1 << 25) // (8 * len(states)), 64), dim=1)

    def of(self, neighbours: "Tensor") -> "Tensor":
        """The variance of each set of neighbours: float64 [N]. `neighbours` int64 [N, k]."""
        from torch.nn.functional import embedding_bag

        mean_square = self.squares[neighbours].mean(dim=1)
        variance = mean_square.clone()
        for block in self._blocks:
            variance -= embedding_bag(neighbours, block.double(), mode="mean").square_().sum(dim=1)
        cancelled = (variance < 1e-6 * mean_square).nonzero().flatten()
        for rows in cancelled.split(max((1 << 25) // (8 * neighbours.shape[1] * self.states.shape[1]), 1)):
            states = self.states[neighbours[rows]].double()
            variance[rows] = (states - states.mean(dim=1, keepdim=True)).square().mean(dim=1).sum(dim=1)
        return variance.clamp_(min=0)
