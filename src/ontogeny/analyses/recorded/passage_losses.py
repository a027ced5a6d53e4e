"""What a page reads of losses and tasks, read once per view of a run: by passage, and by document."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ontogeny.analyses.recorded.items import Items, losses_of, tasks_of
from ontogeny.analyses.recorded.loss_records import PassageLosses, of_tokens
from ontogeny.analyses.recorded.passages import original_document

if TYPE_CHECKING:
    from ontogeny.store.run_group import RunView

MEASURE = "token_nll"

_PASSAGES: "WeakKeyDictionary[RunView, PassageLosses | None]" = WeakKeyDictionary()
_LOSSES: "WeakKeyDictionary[RunView, Mapping[str, Items]]" = WeakKeyDictionary()
_TASKS: "WeakKeyDictionary[RunView, tuple[Items, ...]]" = WeakKeyDictionary()


def passage_losses(run: "RunView") -> PassageLosses | None:
    """Per-passage NLL from the record of single tokens; None if the run has none."""
    if run not in _PASSAGES:
        group = run.group_of(MEASURE)
        _PASSAGES[run] = of_tokens(run.measure(group)) if group in run.measures else None
    return _PASSAGES[run]


def document_losses(run: "RunView") -> Mapping[str, Items]:
    """The loss of each probe set that was evaluated twice, twins included, as analyses read it (`items.losses_of`)."""
    if run not in _LOSSES:
        _LOSSES[run] = {items.probe: items for items in losses_of(run, twins=True)}
    return _LOSSES[run]


def document_tasks(run: "RunView") -> tuple[Items, ...]:
    """Tasks made from the probe sets (`items.tasks_of`)."""
    if run not in _TASKS:
        _TASKS[run] = tuple(tasks_of(run))
    return _TASKS[run]


def documents_of(run: "RunView", probe: str, passages: Iterable[int]) -> list[str]:
    """The document of each passage, by its id in the set; the set's name where the run does not hold its texts."""
    if probe not in run.probes:
        return [probe for _ in passages]
    texts = run.probes[probe].passages
    return [original_document(texts[int(i)].source) for i in passages]
