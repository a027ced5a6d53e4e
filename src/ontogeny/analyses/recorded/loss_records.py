"""The loss of every passage at every checkpoint, as `token_nll` and `evaluation` recorded it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The passages on a measure's flat token axis, in order; arrays [P]."""

    probe: np.ndarray
    """str: the probe set's name."""
    passage: np.ndarray
    """int64: the passage's id in its set."""
    starts: np.ndarray
    """int64: its first place on the token axis."""
    lengths: np.ndarray
    """int64: its tokens."""

    @classmethod
    def of(cls, data: "xr.Dataset") -> "Segments":
        """A segment begins where the passage's id or the probe set changes."""
        probe = data["probe_of_token"].to_numpy().astype(str)
        passage = data["passage"].to_numpy().astype(np.int64)
        new = np.ones(len(passage), dtype=bool)
        new[1:] = (passage[1:] != passage[:-1]) | (probe[1:] != probe[:-1])
        starts = np.flatnonzero(new)
        return cls(
            probe=probe[starts], passage=passage[starts], starts=starts, lengths=np.diff([*starts, len(passage)])
        )


@dataclass(frozen=True, kw_only=True)
class PassageLosses:
    """C checkpoints, P passages of all probe sets that were measured, in the order of the measure's axis."""

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

    @property
    def mean(self) -> np.ndarray:
        """float64 [C, P]: nats per token; NaN for a passage of a single token."""
        return self.nats / np.where(self.tokens > 0, self.tokens, np.nan)

    def of(self, probe: str) -> np.ndarray:
        """bool [P]: passages of that probe set with more than one token."""
        return (self.probe == probe) & (self.tokens > 0)


def of_tokens(data: "xr.Dataset") -> PassageLosses | None:
    """From the arrays of `token_nll`, one checkpoint at a time; None where they are empty."""
    if not data.sizes.get("checkpoint", 0) or not data.sizes.get("token", 0):
        return None
    segments, counted = Segments.of(data), data["position"].to_numpy() > 0  # a passage's first token is not predicted
    nats = np.empty((data.sizes["checkpoint"], len(segments.starts)))
    for i in range(len(nats)):
        row = data["nll_nats"].isel(checkpoint=i).to_numpy().astype(np.float64)
        nats[i] = np.add.reduceat(np.where(counted, row, 0.0), segments.starts)
    return PassageLosses(
        steps=data["step"].to_numpy().astype(np.int64),
        nats=nats,
        tokens=np.add.reduceat(counted.astype(np.int64), segments.starts),
        probe=segments.probe,
        passage=segments.passage,
    )


def of_evaluation(data: "xr.Dataset") -> PassageLosses | None:
    """From the arrays of `evaluation`; None where an earlier version recorded the means of probe sets alone."""
    if "passage_nll_nats" not in data or not data.sizes.get("checkpoint", 0):
        return None
    return PassageLosses(
        steps=data["step"].to_numpy().astype(np.int64),
        nats=data["passage_nll_nats"].to_numpy().astype(np.float64),
        tokens=data["scored_tokens"].to_numpy().astype(np.int64),
        probe=data["probe_of_passage"].to_numpy().astype(str),
        passage=data["passage_id"].to_numpy().astype(np.int64),
    )
