"""Tensors outside the model that a loss has a gradient for: a projector or a temperature that stands beside it."""

import weakref
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MOST_LOOKS = 3
"""Losses whose graph is walked."""
MOST_NODES = 200_000
"""Of a graph that are visited."""


class LeafRecorder:
    """Walks the graphs of the first losses down to the tensors that gradients are accumulated in."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.looks = 0
        self._met: dict[int, tuple[Any, int, float]] = {}
        """By id: a weak reference, looks that met it, the sum of its numbers at the first."""

    def see(self, losses: Iterable[Any]) -> None:
        """Look at what these values are computed from; afterwards nothing is kept alive."""
        if self.looks >= MOST_LOOKS:
            return
        self.looks += 1
        own = {id(p) for p in self.model.parameters()}
        for leaf in _leaves(losses):
            if id(leaf) not in own:
                reference, times, start = self._met.get(id(leaf), (None, 0, 0.0))
                if reference is None or reference() is not leaf:
                    reference, times, start = weakref.ref(leaf), 0, _fingerprint(leaf)
                self._met[id(leaf)] = (reference, times + 1, start)

    def outside(self, optimized: Collection[int], known: Iterable[Any]) -> tuple[str, ...]:
        """Tensors met at every look, two at least, that have not moved and that no optimizer has, by their shapes.

        `known`: modules whose tensors are meant to stay, as a teacher.
        """
        if self.looks < 2:
            return ()
        stay = {id(p) for module in known for p in module.parameters()}
        found = []
        for reference, times, start in self._met.values():
            leaf = reference()
            if leaf is None or times < self.looks or id(leaf) in optimized or id(leaf) in stay:
                continue
            if _fingerprint(leaf) == start:
                found.append(f"{type(leaf).__name__.lower()} {list(leaf.shape)} outside the model")
        return tuple(found)


def _leaves(losses: Iterable[Any]) -> "list[Tensor]":
    nodes = [one.grad_fn for one in losses if getattr(one, "grad_fn", None) is not None]
    seen, found = set(nodes), []
    while nodes and len(seen) < MOST_NODES:
        node = nodes.pop()
        if (leaf := getattr(node, "variable", None)) is not None:
            found.append(leaf)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return found


def _fingerprint(tensor: "Tensor") -> float:
    return float(tensor.detach().double().sum()) + float(tensor.detach().double().square().sum())
