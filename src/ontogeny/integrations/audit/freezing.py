"""Listens to frozen tensors: which were trained for a while, which does an optimizer still move, which are averages?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit import listening
from ontogeny.integrations.audit.reading import NUMBERS, fingerprint

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.integrations.audit.recorder import Recorder

FIT = 0.1
"""Share of a step of an average that may be something else than a step towards the trained tensor, beside rounding."""
ALIKE = 0.3
"""Least cosine of both, where rounding leaves little of the step."""


def attach(recorder: "Recorder") -> None:
    """Listen from the start, before and after each optimizer step."""
    if "frozen_changes" not in recorder.skip:
        listener = FreezeListener(recorder)
        recorder.listeners.at_start.append(listener.begin)
        recorder.listeners.on_step.append(listener.follow)


class FreezeListener:
    """Keeps names; of frozen tensors, and of trained ones of their shapes, some numbers from look to look."""

    def __init__(self, recorder: "Recorder") -> None:
        self.recorder = recorder
        self.named: list[tuple[str, Any]] = []
        self.bits: dict[str, int] = {}
        self.before: tuple[int, dict[str, Tensor]] | None = None
        self.otherwise: set[str] = set()
        """Frozen tensors that have moved in another way than an average."""

    def begin(self) -> None:
        """Which tensors are trained; hooks around the steps."""
        self.named = list(self.recorder.model.named_parameters())
        self._mark()
        self.before = 0, self._numbers()
        for one in self.recorder.optimizers:
            stepping = listening.stepping(one)
            if stepping is not None:
                for register, listen in (
                    (stepping.register_step_pre_hook, self._before_step),
                    (stepping.register_step_post_hook, self._after_step),
                ):
                    self.recorder.listeners.handles.append(register(self._harmless(listen)))

    def follow(self) -> None:
        """Just after a step: does what is frozen follow a trained tensor, as the average of a momentum encoder does?

        With d = average' - average and r = trained - average, d = (1 - decay) x r, but for rounding.
        """
        if not self.recorder.looking:
            return
        step, found = len(self.recorder.seen.steps), self.recorder.seen.adapters  # with the one just taken
        last, self.before = self.before, (step, self._numbers())
        if last is None or last[0] != step - 1:
            return
        shapes = {name: p.shape for name, p in self.named}
        for name in self._frozen():
            if name not in last[1] or bool((self.before[1][name] == last[1][name]).all()):
                continue
            sources = [last[1][one] for one in found.unfrozen if one in last[1] and shapes[one] == shapes[name]]
            fits = any(_follows(last[1][name], self.before[1][name], one) for one in sources)
            (found.averages if fits else self.otherwise).add(name)
        found.averages -= self.otherwise

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        self._mark()
        self.bits = {}
        if self.recorder.looking:
            names = {id(p): name for name, p in self.named}
            for p in (p for group in optimizer.param_groups for p in group["params"]):
                name = names.get(id(p))
                if name in self.recorder.seen.adapters.unfrozen and not p.requires_grad and p.grad is not None:
                    self.bits[name] = fingerprint(p)

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        held = dict(self.named)
        moved = [name for name, bits in self.bits.items() if fingerprint(held[name]) != bits]
        self.bits = {}
        self.recorder.seen.adapters.moved_frozen.update(moved)

    def _mark(self) -> None:
        self.recorder.seen.adapters.unfrozen.update(name for name, p in self.named if p.requires_grad)

    def _frozen(self) -> Iterator[str]:
        unfrozen = self.recorder.seen.adapters.unfrozen
        return (name for name, p in self.named if name not in unfrozen and p.is_floating_point() and p.numel())

    def _numbers(self) -> "dict[str, Tensor]":
        """Some numbers of each frozen tensor, and of each trained one that has the shape of a frozen one."""
        held = dict(self.named)
        frozen = set(self._frozen())
        shapes = {held[name].shape for name in frozen}
        return {name: _some(p) for name, p in self.named if name in frozen or (p.requires_grad and p.shape in shapes)}

    def _harmless(self, listen: Any) -> Any:
        def harmless(*args: Any) -> None:
            self.recorder.listeners.tell([listen], *args)

        return harmless


def _some(p: "Tensor") -> "Tensor":
    flat = p.detach().reshape(-1)
    return flat[:: max(flat.numel() // NUMBERS, 1) | 1][:NUMBERS].cpu().clone()


def _follows(average: "Tensor", now: "Tensor", trained: "Tensor") -> bool:
    import torch

    rounding = torch.finfo(average.dtype).eps * float(average.double().norm())
    moved, reach = now.double() - average.double(), trained.double() - average.double()
    along, square = float(moved @ reach), float(reach @ reach)
    if not square or along < ALIKE * float(moved.norm()) * square**0.5:
        return False
    rest = float((moved - along / square * reach).norm())
    return along <= 1.001 * square and rest <= FIT * float(moved.norm()) + rounding
