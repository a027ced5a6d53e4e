"""How fast an averaged copy of the weights follows, from two states of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit.seen import Follows

if TYPE_CHECKING:
    from torch import Tensor

_TENSORS = 4
_NUMBERS = 4096


class AverageRecorder:
    """Estimates the decay at each looked-at step that follows another one."""

    def __init__(self, kept: list[Follows]) -> None:
        self.kept = kept
        self._before: tuple[int, Tensor, Tensor] | None = None

    def see(self, model: Any, averaged: Any, step: int) -> None:
        """Look at both, just after an optimizer step, so that the average follows before the next look.

        With d = average' - average and r = weights - average: 1 - decay = <d, r> / <r, r>, over some numbers of some
        tensors.
        """
        import torch

        if averaged is None:
            return
        pairs = _pairs(model, averaged)
        if not pairs:
            return
        weights = torch.cat([_some(p) for p, _ in pairs])
        average = torch.cat([_some(a) for _, a in pairs])
        if self._before is not None and self._before[0] == step - 1:
            _, average_before, weights_before = self._before
            moved, reach = average - average_before, weights_before - average_before
            if (square := float(reach @ reach)) > 0:
                self.kept.append(Follows(step=step, decay=1 - float(moved @ reach) / square))
        self._before = step, average, weights


def _pairs(model: Any, averaged: Any) -> "list[tuple[Tensor, Tensor]]":
    """Trainable tensors and their averages, by name or, in a list, by order."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if isinstance(averaged, list | tuple):
        return [(p, a) for (_, p), a in zip(trained, averaged, strict=False)][:_TENSORS]
    by_name = averaged if isinstance(averaged, Mapping) else dict(averaged.named_parameters())
    bare = {name.removeprefix("module."): tensor for name, tensor in by_name.items()}
    found = [(p, bare[name]) for name, p in ((n.removeprefix("module."), p) for n, p in trained) if name in bare]
    return found[:_TENSORS]


def _some(tensor: "Tensor") -> "Tensor":
    return tensor.detach().reshape(-1)[:_NUMBERS].double().cpu()
