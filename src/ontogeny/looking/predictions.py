"""NLL, rank, entropy and first choice of each prediction, in tiles: all logits never exist at once."""

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from ontogeny.looking.side_by_side import side_by_side

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.models.body_and_head import BodyAndHead

PREDICTIONS = frozenset({"nll", "rank", "entropy", "top1"})
_CPU_TILE = (128, 2048)
_CUDA_TILE = (1024, 8192)
_FAR_BELOW = -1e30


class Predictor:
    """Projects hidden states and reduces the logits, a tile of rows by a tile of vocabulary at a time.

    A tile is reduced while it lies in the cache; the softmax runs online over tiles (Milakov and Gimelshein, "Online
    normalizer calculation for softmax", 2018). All is reduced in float32, whatever the dtype of the weights. What is
    asked for never changes the bits of the rest. On a CPU each thread takes rows of its own, and none waits for
    another: a tile takes ten functions, and threads that meet at the end of each stand still beside a busy process.
    So the bits do not depend on the number of threads, either.

    Memory: for each thread 128 rows of logits and two tiles (on CUDA 1024 rows, once).
    """

    def __init__(self, model: "BodyAndHead", needs: Set[str]) -> None:
        self.needs = PREDICTIONS & needs
        self.model = model
        self.rows, self.columns = _CUDA_TILE if model.device.type == "cuda" else _CPU_TILE
        self._spare: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, hidden: "Tensor", targets: "Tensor") -> "dict[str, Tensor]":
        """Describe the prediction of each target.

        `hidden` [N, D] of the positions before; `targets` int64 [N]. Returns, of what is needed, [N] each: `nll` and
        `entropy` float32 in nats, `rank` and `top1` int64. A rank counts the ids with a higher logit, and those with
        the same logit and a lower id; it is -1 where the target's logit is not a number.
        """
        import torch

        predictions = {
            name: torch.empty(
                len(hidden), dtype=torch.int64 if name in ("rank", "top1") else torch.float32, device=hidden.device
            )
            for name in self.needs
        }

        def describe(start: int) -> None:
            part = slice(start, start + self.rows)
            buffers = self._spare.pop() if self._spare else self._new_buffers(hidden)
            for name, values in self._reduce(hidden[part], targets[part], buffers).items():
                predictions[name][part] = values
            self._spare.append(buffers)

        starts = range(0, len(hidden) if self.needs else 0, self.rows)
        if hidden.device.type == "cpu" and self.model.projection:
            side_by_side(describe, starts)
        else:
            for start in starts:
                describe(start)
        return predictions

    def _reduce(
        self, hidden: "Tensor", targets: "Tensor", buffers: "tuple[Tensor, Tensor, Tensor]"
    ) -> "dict[str, Tensor]":
        logits, first, second = (buffer[: len(hidden)] for buffer in buffers)
        project = self._tiles(hidden, logits)
        softmax = _Softmax(len(hidden), hidden.device, entropy="entropy" in self.needs)
        for columns in self._columns(logits):
            tile = project(columns)
            if self.needs & {"nll", "entropy"}:
                width = tile.shape[1]
                softmax.add(tile, first[: len(tile), :width], second[: len(tile), :width])
        of_target = logits.gather(1, targets[:, None])
        predictions = {}
        if "nll" in self.needs:
            predictions["nll"] = softmax.log_normalizer() - of_target[:, 0]
        if "entropy" in self.needs:
            predictions["entropy"] = softmax.entropy()
        if "rank" in self.needs:
            predictions["rank"] = self._rank(logits, targets, of_target, first)
        if "top1" in self.needs:
            predictions["top1"] = logits.argmax(-1)
        return predictions

    def _new_buffers(self, hidden: "Tensor") -> "tuple[Tensor, Tensor, Tensor]":
        """For a tile of rows: logits [rows, V], and two tiles [rows, columns]."""
        import torch

        projection = self.model.projection
        size = len(projection[0]) if projection else self.model.head(hidden[:1]).shape[-1]
        shapes = ((self.rows, size), (self.rows, self.columns), (self.rows, self.columns))
        logits, first, second = (torch.empty(s, dtype=torch.float32, device=hidden.device) for s in shapes)
        return logits, first, second

    def _columns(self, logits: "Tensor") -> list[slice]:
        size = logits.shape[1]
        return [slice(start, min(start + self.columns, size)) for start in range(0, size, self.columns)]

    def _tiles(self, hidden: "Tensor", logits: "Tensor") -> "Callable[[slice], Tensor]":
        """A function that fills one tile of `logits` and returns it."""
        import torch

        projection = self.model.projection
        if projection is None:
            logits.copy_(self.model.head(hidden))
            return lambda columns: logits[:, columns]
        weight, bias = projection

        def fill(columns: slice) -> "Tensor":
            tile = logits[:, columns]
            if weight.dtype == logits.dtype:
                torch.mm(hidden, weight[columns].t(), out=tile)
            else:
                tile.copy_(torch.mm(hidden, weight[columns].t()))
            return tile if bias is None else tile.add_(bias[columns])

        return fill

    def _rank(self, logits: "Tensor", targets: "Tensor", of_target: "Tensor", work: "Tensor") -> "Tensor":
        """Count what precedes the target: x > t, and x == t at a lower id.

        In a tile below the target's, `x >= t` is `x > (the float before t)`; in one above, `x > t`; equal logits
        inside the target's own tile are counted apart. So every tile takes one comparison.
        """
        import torch

        before = torch.nextafter(of_target, torch.full_like(of_target, -torch.inf))
        own = targets // self.columns
        rank = torch.zeros(len(targets), dtype=torch.int64, device=logits.device)
        for index, columns in enumerate(self._columns(logits)):
            tile = logits[:, columns]
            higher = work[:, : tile.shape[1]]
            torch.gt(tile, torch.where(own[:, None] > index, before, of_target), out=higher)
            rank += higher.sum(-1).long()
        ids = own[:, None] * self.columns + torch.arange(self.columns, device=logits.device)
        equal = logits.gather(1, ids.clamp_(max=logits.shape[1] - 1)) == of_target
        rank += (equal & (ids < targets[:, None])).sum(-1)
        return rank.masked_fill_(of_target[:, 0].isnan(), -1)


class _Softmax:
    """Running maximum m, sum of exp(x - m), and sum of exp(x - m) (x - m), per row."""

    def __init__(self, rows: int, device: "object", *, entropy: bool) -> None:
        import torch

        self.peak = torch.full((rows, 1), _FAR_BELOW, device=device)  # type: ignore[call-overload]
        self.total = torch.zeros_like(self.peak)
        self.moment = torch.zeros_like(self.peak) if entropy else None

    def add(self, tile: "Tensor", shifted: "Tensor", exponential: "Tensor") -> None:
        """Take in a tile [n, w] of logits; the other two are buffers of its shape."""
        import torch

        peak = torch.maximum(self.peak, tile.amax(-1, keepdim=True))
        fall = self.peak - peak
        scale = fall.exp()
        torch.sub(tile, peak, out=shifted)
        torch.exp(shifted, out=exponential)
        if self.moment is not None:
            self.moment = scale * (self.moment + fall * self.total)
        self.total = scale * self.total + exponential.sum(-1, keepdim=True)
        if self.moment is not None:
            self.moment += exponential.mul_(shifted).sum(-1, keepdim=True)
        self.peak = peak

    def log_normalizer(self) -> "Tensor":
        """log sum exp of each row, [n]."""
        return (self.peak + self.total.log())[:, 0]

    def entropy(self) -> "Tensor":
        """Entropy of each row in nats, [n]: log(sum) - moment / sum."""
        assert self.moment is not None
        return (self.total.log() - self.moment / self.total)[:, 0]
