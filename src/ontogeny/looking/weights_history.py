"""Effective weights of earlier states, for measures that compare."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ontogeny.models.checkpoints import load_verified
from ontogeny.models.weights import effective_weights
from ontogeny.store.run import Run

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]


class WeightsHistory:
    """The first and the last saved state's weights stay in memory; others are read when they are asked for.

    `steps` lists the states there are, `read` reads one; without them, only what was kept is there.
    """

    def __init__(
        self, steps: Callable[[], Sequence[int]] | None = None, read: Callable[[int], Weights] | None = None
    ) -> None:
        self._kept: dict[int, Weights] = {}
        self._steps = steps or (lambda: sorted(self._kept))
        self._read = read

    def keep(self, step: int, weights: Weights) -> None:
        """Keep a copy of the weights of that state, and forget all but the first and this one."""
        first = min(self._steps(), default=step)
        self._kept = {s: w for s, w in self._kept.items() if s == first}
        self._kept[step] = {name: tensor.clone() for name, tensor in weights.items()}

    def first(self, step: int) -> Callable[[], Weights] | None:
        """The first state's weights, as seen from a later state; None at the first state itself.

        So a look afterwards sees what it would have seen live, when the first state was not saved yet.
        """
        earlier = [s for s in self._steps() if s < step]
        return self._reader(min(earlier)) if earlier else None

    def before(self, step: int) -> Callable[[], Weights] | None:
        """The weights of the last state before that step; None if there is none."""
        earlier = [s for s in self._steps() if s < step]
        return self._reader(max(earlier)) if earlier else None

    def _reader(self, step: int) -> Callable[[], Weights]:
        def read() -> Weights:
            if step not in self._kept:
                assert self._read is not None
                self.keep(step, self._read(step))
            return self._kept[step]

        return read


def saved_weights(run: Run) -> WeightsHistory:
    """The saved checkpoints of a run, without those that a control may drop: afterwards they would be missing."""

    def read(step: int) -> Weights:
        checkpoint = next(c for c in run.checkpoints if c.step == step)
        return effective_weights(load_verified(run, checkpoint))

    return WeightsHistory(lambda: [c.step for c in run.checkpoints if c.kept_by is None], read)
