"""Read any training log: find its format by what the file holds, and understand it as a `History`.

An importer is a module of `ontogeny.integrations.importers` with a docstring, `FORM`, `claim` and `read`; there is no
list to edit. Reading executes nothing of the file and never imports torch.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

from ontogeny.core.errors import DataError
from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import Meaning, understand
from ontogeny.integrations.importers._source import NotReadableError, Source
from ontogeny.store.history import History
from ontogeny.store.schema import PROVENANCE

MOST_FILES = 2000
"""Files of a directory that are read."""


class Importer(Protocol):
    """A module that reads one format."""

    FORM: str
    """The format, in words."""

    def claim(self, source: Source) -> float:
        """How sure it is that the file has its format: 0 no, 1 certain. Looks at little, never raises."""
        ...

    def read(self, source: Source, builder: Builder) -> None:
        """Add every entry of the file, in its order. What cannot be read is said in `builder.note`, never swallowed."""
        ...


@cache
def importers() -> tuple[Importer, ...]:
    """All importers, by name of their modules."""
    package = importlib.import_module("ontogeny.integrations.importers")
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.name[0] != "_")
    return tuple(cast(Importer, importlib.import_module(f"{package.__name__}.{name}")) for name in names)


def read_history(path: Path, mapping: Mapping[str, str] | None = None) -> History:
    """Understand one log: a file, or the directory of a run.

    `mapping` gives columns or keys their meaning, ours to the log's: ``{"loss": "obj_2", "eval/loss": "held out"}``;
    ``step`` names the axis. Raises DataError if the file is missing, unreadable, or no format claims it.
    """
    if (path / PROVENANCE).is_file():
        from ontogeny.integrations.own_runs import history_of_run

        return history_of_run(path)
    if path.is_dir():
        raise DataError(f"{path} is a directory: name a file in it, or use a verb that reads them all")
    source = Source(path)
    if not source.size:
        return History(path=str(path), form="empty file", segments=(), nothing="the file is empty")
    claims = [(one.claim(source), one) for one in importers()]
    surest, importer = max(claims, key=lambda pair: pair[0])
    if surest <= 0:
        kinds = "; ".join(one.FORM for one in importers())
        raise NotReadableError(
            f"{path}: no training log is recognised in it. Known: {kinds}. For a table of your own, name its columns: "
            "--map step=COLUMN --map loss=COLUMN"
        )
    builder = Builder(str(path), importer.FORM, meaning=_mapped(mapping) if mapping else understand)
    builder.step_label = (mapping or {}).get("step")
    importer.read(source, builder)
    for note in source.notes:
        builder.note(note)
    builder.partial = builder.partial or source.partial
    return builder.build()


def logs_under(path: Path) -> Iterator[Path]:
    """A file itself; of a directory, the runs and logs in it, sorted. A directory that is a run is one log."""
    if not path.exists():
        raise DataError(f"{path}: no such file or directory")
    if not path.is_dir() or (path / PROVENANCE).is_file():
        yield path
        return
    runs = sorted(found.parent for found in path.rglob(PROVENANCE))
    yield from runs
    count = 0
    for found in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
        if not found.is_file() or hidden or any(found.is_relative_to(run) for run in runs):
            continue
        count += 1
        if count > MOST_FILES:
            raise DataError(f"{path} holds more than {MOST_FILES} files: name a directory with logs alone")
        yield found


def _mapped(mapping: Mapping[str, str]) -> Any:
    """Meanings as the user gave them; everything else as always."""
    given = {}
    for ours, theirs in mapping.items():
        scope, _, name = ours.rpartition("/")
        given[theirs] = Meaning(scope or "train", name)

    def meaning(label: str) -> Meaning | None:
        if label in given:
            return None if given[label].name == "step" else given[label]
        found = understand(label)
        return None if found in given.values() else found

    return meaning
