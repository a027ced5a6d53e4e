"""What says which results a measure's group holds: `slots.json`, and the metadata of its arrays. Needs no Zarr."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ontogeny.core.errors import StoreError
from ontogeny.core.progress import Place
from ontogeny.store import durable, schema

Slots = dict[int, Place]
"""Which model state each slot holds, in order of arrival."""

BEGUN: Final = "begun"
"""Lies in a group until its first state is complete."""
METADATA: Final = "zarr.json"
METADATA_SUMS: Final = "metadata_sha256"
CHUNK_SUMS: Final = "chunks_crc32c"
"""Keys of `slots.json`."""
CHUNK_KEY: Final = re.compile(r"[^/]+/c(?:\.\d+)*")


def read_slots(group: Path) -> Slots:
    """Which slots of a group are in use; empty if it has no `slots.json`. Raises StoreError if that is damaged."""
    path = group / schema.SLOTS
    if not path.exists():
        return {}
    try:
        return {int(entry.pop("slot")): schema.place_from(entry) for entry in durable.read_json(path)["slots"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{path} is damaged: {error}") from None


def refuse_lost_slots(group: Path) -> None:
    """Raise StoreError if a group without `slots.json` holds results, which must not be removed."""
    slots = group / schema.SLOTS
    if next(chunks_of(group), None) is None or (group / BEGUN).exists() or slots.exists():
        return  # in this order: a writer may complete its first state meanwhile
    raise StoreError(
        f"{slots} is missing: without it nobody knows which state each of the group's results belongs to; bring it "
        f"back, or move {group} out of the run and measure again"
    )


def chunks_of(group: Path) -> Iterator[Path]:
    """All chunk files of a group."""
    return (path for path in group.glob("*/c*") if CHUNK_KEY.fullmatch(path.relative_to(group).as_posix()))


def metadata_sums(group: Path) -> dict[str, str]:
    """SHA-256 of the metadata of a group (name '') and of its arrays, whatever the length of axis `checkpoint`."""
    folders = [group, *sorted(path.parent for path in group.glob(f"*/{METADATA}"))]
    return {"" if folder == group else folder.name: _metadata_sum(folder / METADATA) for folder in folders}


def _metadata_sum(path: Path) -> str:
    metadata = durable.read_json(path)
    if isinstance(metadata, dict) and (metadata.get("dimension_names") or [])[:1] == ["checkpoint"]:
        metadata["shape"][0] = 0
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def check_metadata(group: Path, name: str | None = None) -> None:
    """Raise StoreError naming the first file of a group's metadata that is missing or not what was written.

    `name`: only that array's; '' is the group itself.
    """
    for array, expected in expected_metadata(group).items():
        if name not in (None, array):
            continue
        path = group / array / METADATA
        try:
            now = _metadata_sum(path)
        except (TypeError, IndexError, AttributeError, KeyError) as error:
            raise StoreError(f"{path} is damaged: {error}") from None
        if now != expected:
            raise StoreError(f"{path} is damaged: its content is not what was written")


def expected_metadata(group: Path) -> dict[str, str]:
    """The sums that `slots.json` names, by array; empty in groups of earlier versions. Raises StoreError if damaged."""
    return _sums(group, METADATA_SUMS)


def expected_chunks(group: Path) -> dict[str, str]:
    """The CRC-32C, 8 hex digits, of chunks by key such as `nll/c.3.0`; those of earlier versions are not among them.

    A chunk ends with that number, too; this one tells whether it is the chunk that was written there. Raises StoreError
    if `slots.json` is damaged.
    """
    return _sums(group, CHUNK_SUMS)


def _sums(group: Path, kind: str) -> dict[str, str]:
    path = group / schema.SLOTS
    content = durable.read_json(path) if path.exists() else {}
    sums = content.get(kind, {}) if isinstance(content, dict) else None
    if not isinstance(sums, dict):
        raise StoreError(f"{path} is damaged: it holds no {kind}")
    return sums
