"""What an analysis returns, and the base of all analyses."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import Field

from ontogeny.core.component import Component

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import xarray as xr

    from ontogeny.core.passages import ProbeSet

ROOM = "ontogeny.analyses"


class RecordedRun(Protocol):
    """What an analysis reads of a run: `store.run.Run`, or a `store.run_group.RunView` of it."""

    @property
    def path(self) -> "Path":
        """The run directory."""
        ...

    @property
    def name(self) -> str:
        """What the run is called."""
        ...

    @property
    def recipe(self) -> dict[str, Any]:
        """The complete recipe as plain values; empty for a run recorded in somebody else's loop."""
        ...

    @property
    def provenance(self) -> dict[str, Any]:
        """What ran, on what, with which versions."""
        ...

    @property
    def status(self) -> dict[str, Any]:
        """How far it got."""
        ...

    @property
    def probes(self) -> "Mapping[str, ProbeSet]":
        """Probe sets by name."""
        ...

    @property
    def measures(self) -> list[str]:
        """Groups of the measures that recorded something."""
        ...

    def measure(self, group: str) -> "xr.Dataset":
        """What a measure recorded, lazily; axis `checkpoint` sorted by step."""
        ...

    def series(self, name: str, scope: str | None = None) -> "pd.DataFrame":
        """One scalar over time: step, value, scope."""
        ...


@dataclass(frozen=True, kw_only=True)
class Result:
    """Numbers by name (plain values, lists and arrays), and what they say."""

    verdict: str
    """One sentence: what was found, or that nothing was."""
    sentences: tuple[str, ...]
    """Each finding with n, effect, interval and corrected p; nulls, too."""
    reading: str
    """How to read it, and what it cannot show."""
    numbers: Mapping[str, Any]


class Analysis(Component):
    """An analysis of one run: its fields are its settings. It draws from `seed` alone."""

    seed: int = Field(default=0)
    """Of resampling and permutations."""

    @abstractmethod
    def analyze(self, run: RecordedRun) -> Result:
        """Compute it. Raises StoreError naming what the run lacks."""


def plain(value: Any) -> Any:
    """As JSON knows it: arrays become lists, numbers that are not finite become None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
