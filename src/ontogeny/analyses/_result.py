"""What an analysis returns, and the base of all analyses."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ontogeny.core.component import Component

if TYPE_CHECKING:
    from ontogeny.store.run import Run

ROOM = "ontogeny.analyses"


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
    def analyze(self, run: "Run") -> Result:
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
