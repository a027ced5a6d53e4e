"""What measures saw of each passage at each checkpoint, laid side by side."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ontogeny.core.errors import StoreError
from ontogeny.core.passages import document_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

    from ontogeny.core.passages import ProbeSet


class Recorded(Protocol):
    """What is read of a run."""

    @property
    def path(self) -> "Path": ...
    @property
    def measures(self) -> list[str]: ...
    @property
    def probes(self) -> "Mapping[str, ProbeSet]": ...
    def measure(self, group: str) -> "xr.Dataset": ...


@dataclass(frozen=True, kw_only=True)
class Passages:
    """P passages at C checkpoints (the first is the one before training) and L transitions between blocks."""

    step: np.ndarray
    """int64 [C]"""
    epoch: np.ndarray
    """float64 [C]"""
    layer: np.ndarray
    """int64 [L]: number of the block that the transition begins at."""
    score: np.ndarray
    """float64 [C, L, P]: compression in nats."""
    memorized: np.ndarray
    """float64 [C, P]: 1, 0, or NaN for skipped passages."""
    accuracy: np.ndarray
    """float64 [C, P]: share of positions reproduced."""
    nll: np.ndarray
    """float64 [C, P]: mean NLL in nats."""
    length: np.ndarray
    """int64 [P]: tokens."""
    trained: np.ndarray
    """bool [P]"""
    document: np.ndarray
    """int64 [P]: which document a passage is of."""
    name: np.ndarray
    """text [P]: `probe set/number`."""
    source: np.ndarray
    """text [P]: corpus and document."""
    copies: np.ndarray
    """int64 [P]: how often the text stands in the training data, as far as the name of its document says; else 1."""

    @property
    def documents(self) -> int:
        """How many there are."""
        return int(self.document.max()) + 1 if len(self.document) else 0


def passages_of(run: Recorded, *, score: str = "score", trained: str = "train", novel: str = "novel") -> Passages:
    """Read a run's compression and reproduction of its trained and its novel probe set.

    `score`: `score` or `scale_free`. Raises StoreError naming what the run lacks.
    """
    for group in ("compression", "reproduction"):
        if group not in run.measures:
            raise StoreError(
                f"{run.path} has no measure '{group}': add it to the recipe, or  ontogeny measure {run.path} "
                f"--kind {group}"
            )
    for probe in (trained, novel):
        if probe not in run.probes:
            raise StoreError(f"{run.path} has no probe set '{probe}': the analysis compares '{trained}' with '{novel}'")
    states, written = run.measure("compression"), run.measure("reproduction")
    common, left, right = np.intersect1d(states.step.values, written.step.values, return_indices=True)
    if len(common) < 2 or common[0] != 0:
        raise StoreError(f"{run.path}: compression and reproduction need two common checkpoints, the first at step 0")
    keys = [(name, i) for name in (trained, novel) for i in range(len(run.probes[name].passages))]
    at_state, at_written = _places(states, keys), _places(written, keys)
    chosen = [run.probes[name].passages[i] for name, i in keys]
    source = np.array([document_of(one.source) for one in chosen], dtype=object)
    _, document = np.unique(np.array([f"{n}/{s}" for (n, _), s in zip(keys, source, strict=True)]), return_inverse=True)
    return Passages(
        step=common,
        epoch=states.epoch.values[left].astype(np.float64),
        layer=states.block.values,
        score=states[f"passage_{score}"].values[left][:, :, at_state].astype(np.float64),
        memorized=written["memorized"].values[right][:, at_written].astype(np.float64),
        accuracy=written["accuracy"].values[right][:, at_written].astype(np.float64),
        nll=written["nll"].values[right][:, at_written].astype(np.float64),
        length=np.array([len(one) for one in chosen], dtype=np.int64),
        trained=np.array([name == trained for name, _ in keys]),
        document=document,
        name=np.array([f"{name}/{i}" for name, i in keys], dtype=object),
        source=source,
        copies=np.array([_copies(str(one)) for one in source], dtype=np.int64),
    )


def _places(measured: Any, keys: list[tuple[str, int]]) -> np.ndarray:
    """Where the passages stand on a measure's axis."""
    names, ids = measured.probe_of_passage.values, measured.passage_id.values
    place = {(str(name), int(i)): at for at, (name, i) in enumerate(zip(names, ids, strict=True))}
    return np.array([place[key] for key in keys], dtype=np.int64)


def _copies(source: str) -> int:
    """The number behind `-x` in a document's name: `canary-3-x16/2` is one of 16."""
    import re

    match = re.search(r"-x(\d+)(?:/|$)", source)
    return int(match[1]) if match else 1
