"""Check a run's files, all of them: which are lost or damaged, and how each could be put right. Nothing is changed."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.store import checkpoints, durable, metrics, samples, schema, slots
from ontogeny.store.manifest import Listed, require_manifest
from ontogeny.store.probes import read_probes
from ontogeny.store.run import Run, check_format, read_verdicts


class Problem(NamedTuple):
    """A file of a run that is lost or damaged."""

    file: str
    """Relative to the run."""
    what: str
    repair: str
    """What would put it right."""


_BEGINS_WITH_FILE = re.compile(r"(.+?) (?:is missing|is damaged|holds|cannot be read)\b")
_BRING_BACK = "bring the file back from a copy; nothing in the run can replace it"
_AGAIN = {
    schema.FINDINGS: "ontogeny diagnose RUN  writes it again",
    schema.AUDIT: "remove it; another audit of the training writes it again",
    schema.ANALYSES_FOLDER: "remove it; ontogeny analyze RUN  writes it again",
    schema.TRAJECTORY_FOLDER: "move the measure's folder out of the run; ontogeny measure RUN --kind …  looks again at "
    "the saved checkpoints",
    schema.CHECKPOINTS_FOLDER: "move the checkpoint's folder out of the run; ontogeny resume RUN  goes on from the one "
    "before it",
    schema.STATUS: "bring the file back from a copy, or write {} into it: ontogeny resume RUN  then goes on from the "
    "last checkpoint",
    schema.MANIFEST: 'bring the file back from a copy, or write {"files": {}} into it: then nobody notices what '
    "else is lost of what was written before",
    schema.LOCK: "remove it; the next writer makes a new one",
}


def problems_of(run: Run) -> list[Problem]:
    """Everything that is wrong with the files of a run, in the order of the run directory's parts; empty if nothing is.

    Every file is read once and compared with its checksum, where it has one: runs of earlier versions have fewer. A run
    that is being written may show a file in between. Raises nothing for damage.
    """
    problems: dict[str, Problem] = {}
    for path, check in _checks(run):
        try:
            check()
        except OntogenyError as error:
            file = _file_named(str(error), path, run.path)
            name = file.relative_to(run.path).as_posix()
            if not any(other.startswith(f"{name}/") for other in problems):  # a folder's files were told before
                problems.setdefault(name, Problem(name, _without_path(str(error), file), _repair(name)))
    return list(problems.values())


def _repair(name: str) -> str:
    return next((text for begin, text in _AGAIN.items() if name == begin or name.startswith(f"{begin}/")), _BRING_BACK)


def _file_named(message: str, path: Path, run: Path) -> Path:
    """The file that an error begins with, if it is the run's; else what was checked."""
    begins = _BEGINS_WITH_FILE.match(message)
    return Path(begins[1]) if begins and begins[1].startswith(f"{run}/") else path


def _without_path(message: str, file: Path) -> str:
    """The message without the file's name, which the table shows in a column of its own."""
    return message.removeprefix(f"{file}").removeprefix(":").lstrip()


Check = tuple[Path, Callable[[], object]]


def _checks(run: Run) -> Iterator[Check]:
    path = run.path
    yield path / schema.PROVENANCE, partial(check_format, run)
    if durable.is_there(path / schema.STATUS) or durable.is_there(path / schema.MANIFEST):
        yield path / schema.STATUS, lambda: run.status
    yield path / schema.LOCK, partial(_lockable, path / schema.LOCK)
    yield from _listed(run)
    yield path / schema.RECIPE_JSON, partial(_recipe, run)
    for name in (schema.FINDINGS, schema.AUDIT):
        if durable.is_there(path / name):
            yield path / name, partial(read_verdicts, path / name)
    for file in sorted((path / schema.ANALYSES_FOLDER).glob("*.json")):
        yield file, partial(durable.read_object, file)
    yield from _tables(run)
    for group in sorted((path / schema.TRAJECTORY_FOLDER).glob("[!.]*/")):
        yield from _group(group)
    for folder in sorted((path / schema.CHECKPOINTS_FOLDER).glob("step-*/")):
        yield from _checkpoint(folder)


def _recipe(run: Run) -> None:
    """The recipe has the hash that the provenance names; a run recorded in another loop has none."""
    from ontogeny.core.recipe_file import validate

    tree = run.recipe
    try:
        expected = run.provenance.get("recipe_hash")
    except StoreError:  # told by itself
        return
    if expected is not None and validate(tree, schema.RECIPE_JSON).recipe_hash != expected:
        raise StoreError(f"{run.path / schema.RECIPE_JSON} is damaged: its hash is not that of the provenance")


def _lockable(lock: Path) -> None:
    if lock.is_symlink():
        raise StoreError(f"{lock} is a symbolic link, and no writer follows it")
    if lock.exists() and not lock.is_file():
        raise StoreError(f"{lock} is no file, and no writer can lock it")


def _listed(run: Run) -> Iterator[Check]:
    """The manifest, and what it lists."""
    manifest = run.path / schema.MANIFEST
    yield manifest, partial(require_manifest, run.path)
    yield manifest, partial(Listed, run.path)
    try:
        listed = Listed(run.path)
    except StoreError:
        return
    for name in listed.entries:
        yield run.path / name, partial(listed.check, name)


def _tables(run: Run) -> Iterator[Check]:
    """Parquet files, also those that no manifest lists."""
    yield run.path / schema.METRICS_FOLDER, partial(metrics.read_rows, run.path / schema.METRICS_FOLDER)
    yield run.path / schema.SAMPLES_FOLDER, partial(samples.read_samples, run.path / schema.SAMPLES_FOLDER)
    for path in sorted((run.path / schema.PROBES_FOLDER).glob("[!.]*.parquet")):
        yield path, partial(read_probes, path)


def _group(group: Path) -> Iterator[Check]:
    """Slots, metadata and every chunk of a measure."""
    from ontogeny.store.arrays import open_group
    from ontogeny.store.group_store import check_chunk_file

    file = group / schema.SLOTS
    yield file, partial(slots.refuse_lost_slots, group)
    if not file.exists():
        return
    yield file, partial(slots.read_slots, group)
    try:
        names = list(slots.expected_metadata(group))
    except StoreError:
        return
    for name in names:
        yield group / name / slots.METADATA, partial(slots.check_metadata, group, name)
    for chunk in sorted(slots.chunks_of(group)):
        yield chunk, partial(check_chunk_file, chunk)
    yield group, partial(open_group, group)


def _checkpoint(folder: Path) -> Iterator[Check]:
    manifest = folder / schema.MANIFEST
    yield manifest, partial(checkpoints.read_checkpoint, folder)
    try:
        checkpoint = checkpoints.read_checkpoint(folder)
    except StoreError:
        return
    if checkpoint is not None:
        for name in checkpoint.manifest["files"]:
            yield folder / name, partial(checkpoint.verify_file, name)
