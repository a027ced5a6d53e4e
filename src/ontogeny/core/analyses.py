"""Analyses of one run and over several runs: what they read, and what they return."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NotRequired, Protocol, TypedDict

import numpy as np
from pydantic import Field

from ontogeny.core.component import Component

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import xarray as xr

    from ontogeny.core.passages import ProbeSet

ROOM = "ontogeny.analyses"
ROOM_ACROSS = "ontogeny.analyses.across"
LEAST_SEEDS = 5
"""Seeds of each configuration below which nothing is claimed about training."""


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


class ComparedRun(RecordedRun, Protocol):
    """A run of a group that is compared (`store.run_group.RunView`)."""

    @property
    def metrics(self) -> "Mapping[str, pd.DataFrame]":
        """Rows of the metrics by name: step, name, scope, value."""
        ...

    @property
    def analyses(self) -> "Mapping[str, PlainResult]":
        """Results of the analyses of this run alone, as plain values by kind."""
        ...

    def name_of(self, metric: str) -> str:
        """The metric <kind>/<variable> under the name that it has in this run."""
        ...


class Configuration(Protocol):
    """Runs that differ in nothing but the seed (`store.run_group.Band`)."""

    @property
    def label(self) -> str:
        """Short and unique in the group."""
        ...

    @property
    def levels(self) -> Mapping[str, str]:
        """The value of each setting that differs within the group."""
        ...

    @property
    def seeds(self) -> Sequence[int | str]:
        """One per run, different within a configuration: runs of equal seeds are paired across configurations."""
        ...

    @property
    def runs(self) -> Sequence[ComparedRun]:
        """The runs, one per seed."""
        ...


class ComparedRuns(Protocol):
    """What an analysis over runs reads (`store.run_group.RunGroup`)."""

    @property
    def runs(self) -> Sequence[ComparedRun]:
        """All runs, in the order in which they were given."""
        ...

    @property
    def bands(self) -> Sequence[Configuration]:
        """The runs by configuration, in order of first appearance: the first is what others are compared with."""
        ...

    @property
    def inseparable(self) -> Mapping[str, Sequence[str]]:
        """By setting of `Configuration.levels`: the others that change only when it does, so that either may act."""
        ...


@dataclass(frozen=True, kw_only=True)
class Result:
    """Numbers by name (plain values, lists and arrays), and what they say."""

    verdict: str
    """One sentence: what was found, or that nothing was."""
    sentences: tuple[str, ...]
    """Each finding with n, effect, interval and corrected p; nulls, too. One may be a heading that ends in a colon,
    followed by indented lines."""
    reading: str
    """How to read it, and what it cannot show."""
    numbers: Mapping[str, Any]


class Analysis(Component):
    """An analysis of one run: its fields are its settings. It draws from `seed` alone."""

    order: ClassVar[float] = 1000
    """Place among the analyses of a page, in the order in which questions arise: low comes first."""
    section: ClassVar[str] = "dynamics"
    """Id of the page's section in which the verdict stands: the name of a module under report/sections."""
    seed: int = Field(default=0)
    """Of resampling and permutations."""

    @abstractmethod
    def analyze(self, run: RecordedRun) -> Result:
        """Compute it. Raises StoreError naming what the run lacks."""


class PlainResult(TypedDict):
    """A `Result` as JSON knows it."""

    verdict: str
    sentences: list[str]
    reading: str
    numbers: dict[str, Any]
    settings: NotRequired[dict[str, Any]]
    """Of the analysis, with its kind; missing where none was carried out."""
    runs: NotRequired[list[dict[str, str]]]
    """Over several runs: name and weights_sha256 of each, in order."""


class ShownResult(PlainResult):
    """A result with its origin, as the page shows it."""

    kind: str
    run: str
    """Name of the run, or how many there are."""


class AnalysisAcross(Component):
    """An analysis over several runs: its fields are its settings."""

    section: ClassVar[str] = "dynamics"
    """Id of the page's section in which the verdict stands: the name of a module under report/sections."""

    @abstractmethod
    def analyze(self, runs: ComparedRuns) -> Result:
        """Compute it. Raises StoreError, "lacks ...", where the group lacks what it needs."""


def not_assessable(lack: Exception) -> Result:
    """In place of the result of an analysis that a run or a group lacks something for."""
    return Result(verdict=f"not assessable: {lack}", sentences=(), reading="", numbers={})


def failed(kind: str, runs: str, error: Exception) -> Result:
    """In place of the result of an analysis that raised an error it should not; `runs`: directories, as typed."""
    return Result(
        verdict=f"failed, which is a defect of ontogeny ({type(error).__name__}: {error})",
        sentences=(),
        reading=f"ontogeny --debug analyze {runs} --kind {kind}  shows where.",
        numbers={},
    )


def one_line(sentence: str) -> str:
    """A sentence of `Result` without line breaks and full stop: the heading, and its lines separated by semicolons."""
    heading, *lines = [line.strip() for line in sentence.splitlines()]
    return f"{heading} {'; '.join(lines)}".rstrip(" .")


def plain_result(result: Result) -> PlainResult:
    """The result as JSON knows it, without settings."""
    return PlainResult(
        verdict=result.verdict, sentences=list(result.sentences), reading=result.reading, numbers=plain(result.numbers)
    )


def plain(value: Any) -> Any:
    """As JSON knows it: arrays become lists, numbers that are not finite become None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
