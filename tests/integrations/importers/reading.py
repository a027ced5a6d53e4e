"""Logs written down in tests, and what was read of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ontogeny.integrations.importing import read_history
from ontogeny.store.history import TRAIN, History


def read(folder: Path, content: str | bytes, name: str = "log", mapping: Mapping[str, str] | None = None) -> History:
    """Write the content into a file whose name says nothing, and read it."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_history(path, mapping)


def points(history: History, name: str, scope: str = TRAIN, segment: int = 0) -> list[tuple[int, float]]:
    """Step and value of every point of a series; fails if there is none."""
    found = history.segments[segment].get(name, scope)
    assert found is not None, f"no {scope}/{name}: {[(one.scope, one.name) for one in history.segments[segment]]}"
    return list(zip(found.steps.tolist(), np.round(found.values, 12).tolist(), strict=True))


def names(history: History) -> set[str]:
    """`scope/name` of every series, over all segments."""
    return {f"{one.scope}/{one.name}" for segment in history.segments for one in segment}
