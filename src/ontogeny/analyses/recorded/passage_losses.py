"""The loss of every passage at every checkpoint, read from per-token records one checkpoint at a time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from ontogeny.analyses.recorded.items import Segments
from ontogeny.core.passages import document_of
from ontogeny.statistics.estimates import Estimate, clustered_mean

if TYPE_CHECKING:
    from ontogeny.store.run_group import RunView

MEASURE = "token_nll"


@dataclass(frozen=True, kw_only=True)
class PassageLosses:
    """C checkpoints, P passages of all probe sets that were measured, in the order of the token axis."""

    steps: np.ndarray
    """int64 [C]"""
    nats: np.ndarray
    """float64 [C, P]: NLL summed over all tokens of a passage but its first; NaN if one of them is not a number."""
    tokens: np.ndarray
    """int64 [P]: how many tokens that sum is over."""
    probe: np.ndarray
    """str [P]"""
    passage: np.ndarray
    """int64 [P]: the passage's id in its set."""
    source: np.ndarray
    """str [P]: corpus:document#byte_offset."""

    @property
    def mean(self) -> np.ndarray:
        """float64 [C, P]: nats per token; NaN for a passage of a single token."""
        return self.nats / np.where(self.tokens > 0, self.tokens, np.nan)

    def of(self, probe: str) -> np.ndarray:
        """bool [P]: passages of that probe set with more than one token."""
        return (self.probe == probe) & (self.tokens > 0)

    def change(self, probe: str, first: int, last: int) -> Estimate:
        """Mean change in nats per token between two checkpoints (indices), paired by passage."""
        inside = self.of(probe)
        difference = self.nats[last, inside] - self.nats[first, inside]
        documents = [document_of(str(source)) for source in self.source[inside]]
        return clustered_mean(difference, self.tokens[inside].astype(float), documents, "passages")

    def level(self, probe: str) -> np.ndarray:
        """float64 [C]: nats per token of a whole probe set."""
        inside = self.of(probe)
        return self.nats[:, inside].sum(axis=1) / max(int(self.tokens[inside].sum()), 1)


_READ: "WeakKeyDictionary[RunView, PassageLosses | None]" = WeakKeyDictionary()


def passage_losses(run: "RunView") -> PassageLosses | None:
    """Per-passage NLL of a run; None if it has no per-token record of its present probe sets. Read once per view."""
    if run not in _READ:
        _READ[run] = _read(run)
    return _READ[run]


def _read(run: "RunView") -> PassageLosses | None:
    group = run.group_of(MEASURE)
    if group not in run.measures:
        return None
    data = run.measure(group)
    if not data.sizes.get("checkpoint", 0) or not data.sizes.get("token", 0):
        return None
    segments = Segments.of(data)
    counted = data["position"].to_numpy() > 0
    nats = np.empty((data.sizes["checkpoint"], len(segments.starts)))
    for i in range(len(nats)):
        row = data["nll_nats"].isel(checkpoint=i).to_numpy().astype(np.float64)
        nats[i] = np.add.reduceat(np.where(counted, row, 0.0), segments.starts)
    source = [
        run.probes[name].passages[i].source if name in run.probes else ""
        for name, i in zip(segments.probe, segments.passage, strict=True)
    ]
    return PassageLosses(
        steps=data["step"].to_numpy().astype(np.int64),
        nats=nats,
        tokens=np.add.reduceat(counted.astype(np.int64), segments.starts),
        probe=segments.probe,
        passage=segments.passage,
        source=np.asarray(source, dtype=object),
    )
