"""What a story is: the same small training twice, as it was and mended, each with its log and its audit."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.integrations.audit.report import Report

PREFIX = "postmortem/"
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Telling:
    """One training: the log that its author saw, and what the audit said of it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The log as it was printed."""
    series: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]
    """What to draw: (name, steps, values)."""
    report: Report


@dataclass(frozen=True, kw_only=True)
class Table:
    """What several trainings are compared by."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Story:
    """A post-mortem."""

    name: str
    title: str
    about: str
    """What was trained, in two sentences."""
    concluded: tuple[str, ...]
    """What its author made of the log."""
    was_so: str
    """What was so, in two or three sentences."""
    as_it_was: Telling
    mended: Telling
    table: Table | None = None
    """Which fault explains which symptom, where the story tries its faults one by one."""


def stories() -> dict[str, str]:
    """The stories by name, with a line about each."""
    package = importlib.import_module(__package__ or "")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        if hasattr(module, "story"):
            found[PREFIX + info.name] = (module.__doc__ or "").strip().splitlines()[0]
    return found


def tell_story(name: str, tell: Tell) -> Story:
    """Carry out both trainings of a story; `tell` hears of its progress. Raises OntogenyError for another name."""
    known = stories()
    if name not in known:
        raise OntogenyError(f"no story '{name}': {closest(name, known)}")
    module = importlib.import_module(f"{__package__}.{name.removeprefix(PREFIX)}")
    told: Story = module.story(tell)
    return told
