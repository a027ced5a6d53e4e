"""Several torch optimizers, each for parameters of its own, as one."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer


def combine(parts: "Sequence[Optimizer]") -> "Optimizer":
    """One optimizer over the groups of all parts, in their order; a step steps each part."""
    return _combined_class()(parts)


def parts_of(optimizer: "Optimizer") -> "Sequence[Optimizer]":
    """What `combine` was given; of another optimizer, itself."""
    parts: Sequence[Optimizer] = getattr(optimizer, "parts", (optimizer,))
    return parts


@cache
def _combined_class() -> "Callable[[Sequence[Optimizer]], Optimizer]":
    """The class, made here because its base is torch's and components are described without torch."""
    import torch

    class Combined(torch.optim.Optimizer):
        """Shares its groups and its state with the parts: they are the same objects."""

        def __init__(self, parts: "Sequence[Optimizer]") -> None:
            self.parts = tuple(parts)
            self._counts = [len(part.param_groups) for part in self.parts]
            super().__init__([group for part in self.parts for group in part.param_groups], {})
            self._share()

        def step(self, closure: Any = None) -> Any:
            """Step each part. Returns what the closure returns, if there is one."""
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            for part in self.parts:
                part.step()
            return loss

        def __setstate__(self, state: dict[str, Any]) -> None:
            super().__setstate__(state)
            self._share()  # `load_state_dict` puts new groups and a new state in place

        def _share(self) -> None:
            groups = iter(self.param_groups)
            for part, count in zip(self.parts, self._counts, strict=True):
                part.state = self.state
                part.param_groups = [next(groups) for _ in range(count)]

    return Combined
