"""Read any training log: recognise its format by the content, and turn it into a `History`.

An importer is a module of `ontogeny.integrations.importers` with a docstring, `FORM`, `claim` and `read`; there is no
list to edit. Reading never executes anything in the file and never imports torch.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from ontogeny.core.errors import DataError, closest
from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import KNOWN_NAMES, PREFERENCE_NAMES, Meaning, understand
from ontogeny.integrations.importers._nearest import nearest
from ontogeny.integrations.importers._packed import STANDARD_INPUT, plain_files
from ontogeny.integrations.importers._source import NotReadableError, Source
from ontogeny.store.history import History
from ontogeny.store.schema import PROVENANCE

MOST_FILES = 2000
"""Most files of a directory that are read."""


class Importer(Protocol):
    """A module that reads one format."""

    FORM: str
    """The format, in words."""

    def claim(self, source: Source) -> float:
        """Confidence that the file has this format: 0 no, 1 certain. Reads only a part of the file; never raises."""
        ...

    def read(self, source: Source, builder: Builder) -> None:
        """Add every entry, in the order of the file. Notes what cannot be read (`builder.note`)."""
        ...


@cache
def importers() -> tuple[Importer, ...]:
    """All importers, sorted by the names of their modules."""
    package = importlib.import_module("ontogeny.integrations.importers")
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.name[0] != "_")
    return tuple(cast(Importer, importlib.import_module(f"{package.__name__}.{name}")) for name in names)


def read_history(path: Path, mapping: Mapping[str, str] | None = None) -> History:
    """Read one log: a file (also packed, or `-` for standard input), or the directory of one of our runs.

    `mapping` names columns or keys of the log by our names: ``{"loss": "obj_2", "eval/loss": "held out"}``; ``step``
    names the axis. Raises DataError if the file is missing or unreadable, or if `mapping` names a quantity that we
    do not know or a label that the log does not have; NotReadableError if it has no known format.
    """
    if (path / PROVENANCE).is_file():
        from ontogeny.integrations.own_runs import history_of_run

        return history_of_run(path)
    if path.is_dir():
        raise DataError(f"{path} is a directory: name a file in it")
    with plain_files(path) as files:
        history = _read_best(path, [Source(file, name) for name, file in files], mapping)
    return history


def _read_best(path: Path, sources: Sequence[Source], mapping: Mapping[str, str] | None) -> History:
    """Read the file that is most surely a log; of two that are equally, the larger."""
    filled = [source for source in sources if source.size]
    if not filled:
        return History(path=str(path), form="empty file", segments=(), nothing="the file is empty")
    claims = [(importer.claim(source), source.size, importer, source) for source in filled for importer in importers()]
    surest, _, importer, source = max(claims, key=lambda claim: claim[:2])
    if surest <= 0:
        raise NotReadableError(f"{path}: {nearest(source)}")
    builder = Builder(str(path), importer.FORM, meaning=_mapped(mapping) if mapping else understand)
    builder.step_label = (mapping or {}).get("step")
    importer.read(source, builder)
    if len(sources) > 1:
        builder.note(f"of {len(sources)} files in the archive, {source.name} was read")
    for note in source.notes:
        builder.note(note)
    builder.partial = builder.partial or source.partial
    if mapping:
        _refuse_unknown(path, mapping, builder)
    return builder.build()


def _refuse_unknown(path: Path, mapping: Mapping[str, str], builder: Builder) -> None:
    """Raise DataError if a label that the user names is not in the log."""
    known = builder.labels
    for ours, label in mapping.items():
        is_axis = ours == "step" and label == builder.step_label and builder.has_steps
        if label not in known and not is_axis and len(builder):
            raise DataError(f"--map {ours}={label}: {path} has no '{label}': {closest(label, known)}")


def logs_under(path: Path) -> Iterator[Path]:
    """A file itself, or `-`; the runs and files in a directory, sorted; a directory that is itself a run.

    Raises DataError if the path does not exist or has more than 2,000 files.
    """
    if path == STANDARD_INPUT:
        yield path
        return
    if not path.exists():
        raise DataError(f"{path}: no such file or directory")
    if not path.is_dir() or (path / PROVENANCE).is_file():
        yield path
        return
    runs = sorted(provenance.parent for provenance in path.rglob(PROVENANCE))
    yield from runs
    count = 0
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if not file.is_file() or hidden or any(file.is_relative_to(run) for run in runs):
            continue
        count += 1
        if count > MOST_FILES:
            raise DataError(f"{path} has more than {MOST_FILES} files: name a directory that has only logs")
        yield file


def _mapped(mapping: Mapping[str, str]) -> Callable[[str], Meaning | None]:
    """Meanings of labels as the user gives them; other labels are understood as usual."""
    given = {}
    for ours, label in mapping.items():
        scope, _, name = ours.rpartition("/")
        if name not in KNOWN_NAMES | {"step"} and ours not in PREFERENCE_NAMES and scope != "term":
            raise DataError(f"--map {ours}={label}: no quantity '{name}': {closest(name, KNOWN_NAMES | {'step'})}")
        given[label] = Meaning(scope or "train", name)

    def meaning(label: str) -> Meaning | None:
        if label in given:
            return None if given[label].name == "step" else given[label]
        understood = understand(label)
        return None if understood in given.values() else understood

    return meaning
