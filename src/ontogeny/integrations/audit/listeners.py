"""What listens beside the recorder: each notes one kind of thing; when one fails, others and the loop go on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ontogeny.integrations.audit.recorder import Recorder


@dataclass(kw_only=True)
class Listeners:
    """Functions to call, by occasion. All of them only look."""

    note: Callable[[str], None]
    """Takes what went wrong."""
    at_start: list[Callable[[], None]] = field(default_factory=list)
    on_forward: list[Callable[..., None]] = field(default_factory=list)
    """A looked-at forward pass in training: its `Forward`, the arguments by name, and the logits [B, T, V]."""
    on_evaluation: list[Callable[..., None]] = field(default_factory=list)
    """A forward pass of the model inside `watch(evaluate=…)`: the arguments by name, and the logits [B, T, V]."""
    on_backward: list[Callable[[], None]] = field(default_factory=list)
    """A gradient has arrived at the output of a forward pass."""
    on_step: list[Callable[[], None]] = field(default_factory=list)
    """Just after an optimizer step, when its `Step` is noted; the gradients are still there."""
    at_end: list[Callable[[], None]] = field(default_factory=list)
    """Once, when the hooks are gone: here the model may be run, inside `train.guard.looking`."""
    on_watch: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Name of something watched -> what is kept of a value."""
    modules: list[Any] = field(default_factory=list)
    """Modules beside the model that are not meant to learn, as a teacher."""
    handles: list[Any] = field(default_factory=list)
    """Of the hooks that listeners have set; removed at the end."""

    def tell(self, listening: Iterable[Callable[..., None]], *args: Any) -> None:
        """Call each; errors are noted."""
        for one in tuple(listening):
            try:
                one(*args)
            except Exception as error:  # noqa: BLE001 - the audited run goes on whatever happens in here
                self.note(f"{_name(one)}: {type(error).__name__}: {error}")

    def kept(self, name: str, value: Any) -> Any:
        """What is kept of a value that the user named."""
        keep = self.on_watch.get(name)
        return value if keep is None else keep(value)


def attach_all(recorder: "Recorder") -> None:
    """Let everything listen that looks at more than logits and steps."""
    from ontogeny.integrations.audit import adapting, distilling, freezing, rereading, rerunning

    for one in (rerunning, rereading, distilling, adapting, freezing):
        one.attach(recorder)


def _name(function: Callable[..., None]) -> str:
    owner = getattr(function, "__self__", None)
    return f"{type(owner).__name__.lstrip('_')}.{function.__name__}" if owner is not None else function.__name__
