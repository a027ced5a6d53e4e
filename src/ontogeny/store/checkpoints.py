"""Model states on disk. The manifest, with every file's hash, is written last, and the whole is then renamed.

So a directory with a checkpoint's name and no valid manifest is never an unfinished one. It is damaged, and refused by
name wherever checkpoints are read: whatever it holds is not passed over, and not overwritten.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ontogeny.core.errors import StoreError
from ontogeny.core.json_types import Json, JsonObject
from ontogeny.core.progress import Place
from ontogeny.store import durable
from ontogeny.store.schema import FORMAT_VERSION, MANIFEST, place_from

KEPT_BY = "kept_by"
"""In a manifest's `extra`: the kind of the control that asked for this checkpoint, and may drop it for another."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The model after `step` updates, with what is needed to continue training from there."""

    path: Path
    place: Place
    manifest: JsonObject = field(repr=False)
    """`format_version`, `place`, `extra`, and `files`: bytes and SHA-256 of each."""

    @property
    def step(self) -> int:
        """Number of updates that the model has had."""
        return self.place.step

    @property
    def model_path(self) -> Path:
        """The model, as written by `save_pretrained`."""
        return self.path / "model"

    @property
    def trainer_path(self) -> Path:
        """State of optimizer, counters and random generators."""
        return self.path / "trainer"

    @property
    def kept_by(self) -> str | None:
        """The kind of the control that asked for it; None for those that the recipe's cadence asks for."""
        extra = self.manifest.get("extra")
        kept = extra.get(KEPT_BY) if isinstance(extra, dict) else None
        return kept if isinstance(kept, str) else None

    def verify(self) -> None:
        """Hash every file again. Raises StoreError naming the first that differs, and the last earlier checkpoint."""
        for name in self.manifest["files"]:
            self.verify_file(name)

    def verify_file(self, name: str) -> None:
        """Hash one of the manifest's files again. Raises StoreError as `verify` does."""
        path, expected = self.path / name, self.manifest["files"][name]
        if not path.is_file():
            raise self._refusal(f"{path} is missing")
        try:
            same = path.stat().st_size == expected["bytes"] and durable.hash_file(path) == expected["sha256"]
        except OSError as error:
            raise self._refusal(f"{path} cannot be read: {error.strerror}") from error
        if not same:
            raise self._refusal(f"{path} is damaged: its bytes are not those that were saved")

    def _refusal(self, what: str) -> StoreError:
        earlier = [other for other in list_checkpoints(self.path.parent) if other.step < self.step]
        if not earlier:
            return StoreError(f"{what}; there is no checkpoint before step {self.step}")
        return StoreError(
            f"{what}; the checkpoint before it is step {earlier[-1].step}: remove {self.path} to go on from there"
        )


_NAME = re.compile(r"step-\d{8,}")


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """All checkpoints by step. Raises StoreError naming the manifest of a damaged one."""
    checkpoints = [read_checkpoint(path) for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted((checkpoint for checkpoint in checkpoints if checkpoint), key=lambda checkpoint: checkpoint.step)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint in a directory; None if there is no such directory. Raises StoreError if it is damaged."""
    try:
        manifest = durable.read_object(path / MANIFEST)
        place = place_from(manifest["place"])
        complete = manifest["format_version"] == FORMAT_VERSION and isinstance(manifest["files"], dict)
    except (KeyError, TypeError, AttributeError) as error:
        raise _without_manifest(f"{path / MANIFEST} is damaged: {error}", path) from None
    except StoreError as error:
        if not path.is_dir():  # removed or replaced while it was read
            return None
        raise _without_manifest(str(error), path) from None
    if not complete or path.name != _name(place.step):
        raise _without_manifest(f"{path / MANIFEST} is not that of this checkpoint", path)
    return Checkpoint(path=path, place=place, manifest=manifest)


def _without_manifest(what: str, path: Path) -> StoreError:
    return StoreError(f"{what}; bring it back, or move {path} out of the run to go on from the checkpoint before it")


def _name(step: int) -> str:
    return f"step-{step:08d}"


@contextlib.contextmanager
def writing(folder: Path, place: Place, extra: Mapping[str, Json]) -> Iterator[Path]:
    """Yield a directory to fill, and make it the checkpoint of that state when the block ends without an exception.

    An undamaged checkpoint of that step with the same weights is kept instead. Raises TypeError if `extra` is not JSON
    with finite numbers, RunFailedError if the disk is full.
    """
    try:
        json.dumps(dict(extra), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"what a checkpoint keeps beside its files must be JSON with finite numbers: {error}") from None
    durable.make_folder(folder)
    temporary = folder / f".{_name(place.step)}.tmp"
    final = folder / _name(place.step)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for part in ("model", "trainer"):
            durable.make_folder(temporary / part)
        yield temporary
        if not _holds(final, place):
            _seal(temporary, place, extra)
            _install(temporary, final)
    except Exception as error:
        if durable.is_disk_full(error):
            raise durable.failure(final, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _holds(path: Path, place: Place) -> bool:
    checkpoint = read_checkpoint(path)
    if checkpoint is None or checkpoint.place.weights_sha256 != place.weights_sha256:
        return False
    try:
        checkpoint.verify()
    except StoreError:
        return False
    return True


def _seal(folder: Path, place: Place, extra: Mapping[str, Json]) -> None:
    """Make all files durable, then write the manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {"sha256": durable.hash_file(path), "bytes": path.stat().st_size}
        for path in paths
    }
    durable.sync_tree(folder)
    durable.write_json(
        folder / MANIFEST,
        {"format_version": FORMAT_VERSION, "place": asdict(place), "extra": dict(extra), "files": files},
    )


def _install(temporary: Path, final: Path) -> None:
    """Move into place. An earlier checkpoint is kept under a hidden name until then; `recover` restores it."""
    old = _hidden(final)
    try:
        if final.exists():
            durable.rename(final, old)
        durable.rename(temporary, final)
        durable.sync_path(final.parent)
    except OSError as error:
        recover(final.parent)
        raise durable.failure(final, error) from error
    shutil.rmtree(old, ignore_errors=True)


def _hidden(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def recover(folder: Path) -> None:
    """Undo what a killed writer, or a failed move, left unfinished."""
    for old in folder.glob(".step-*.old"):
        final = folder / old.name[1 : -len(".old")]
        if final.exists():
            read_checkpoint(final)  # raises rather than remove the last good one
            shutil.rmtree(old)
        else:
            os.rename(old, final)
    durable.remove_leftovers(folder)


def drop(folder: Path, steps: Collection[int]) -> None:
    """Drop the checkpoints of these states."""
    for checkpoint in list_checkpoints(folder):
        if checkpoint.step in steps:
            durable.remove_tree(checkpoint.path)


def rewind(folder: Path, step: int) -> None:
    """Drop the checkpoints of states later than `step`, the last first."""
    for checkpoint in reversed(list_checkpoints(folder)):
        if checkpoint.step > step:
            durable.remove_tree(checkpoint.path)
