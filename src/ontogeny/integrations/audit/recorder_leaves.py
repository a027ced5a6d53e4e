"""Tensors outside the model that a loss has a gradient for: a projector or a temperature that stands beside it."""

import weakref
from collections.abc import Collection, Iterable, Iterator
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
    found = (getattr(node, "variable", None) for node in _nodes(losses))
    return [leaf for leaf in found if leaf is not None]


def written_by_hand(losses: Iterable[Any]) -> str:
    """Name of a `torch.autograd.Function` in the graph of these values; "" where there is none.

    Its backward pass is anybody's code: it may use up what it has kept, or scale it in place, as fused cross entropies
    do, so that a second pass through it fails, or gives other gradients. torch's own checkpointing is one, too.
    """
    import torch

    by_hand = (type(node).__name__ for node in _nodes(losses) if isinstance(node, torch._C._FunctionBase))
    return next(by_hand, "").removesuffix("Backward")


def _nodes(losses: Iterable[Any]) -> Iterator[Any]:
    nodes = [one.grad_fn for one in losses if getattr(one, "grad_fn", None) is not None]
    seen = set(nodes)
    while nodes and len(seen) < MOST_NODES:
        node = nodes.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)


def _fingerprint(tensor: "Tensor") -> float:
    return float(tensor.detach().double().sum()) + float(tensor.detach().double().square().sum())
