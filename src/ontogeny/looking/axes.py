"""Flat axes: where each token and each passage of the probe sets that a measure looks at stands in its arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.core.contracts import Context, ForwardBatch
from ontogeny.core.passages import ProbeSet

if TYPE_CHECKING:
    from torch import Tensor

Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Any]]


def variable(dims: str | tuple[str, ...], values: Any, units: str, long_name: str, **attributes: Any) -> Variable:
    """A variable of a dataset with what `store.schema` asks of it."""
    dims = (dims,) if isinstance(dims, str) else dims
    return dims, np.asarray(values), {"units": units, "long_name": long_name, **attributes}


def probe_names(context: Context, probes: Sequence[str] | None) -> list[str]:
    """The probe sets that a measure looks at, in the run's order; all of them if it names none."""
    return [name for name in context.probes if probes is None or name in probes]


def numpy_of(tensor: "Tensor") -> np.ndarray:
    """The tensor's values on the CPU."""
    values: np.ndarray = tensor.detach().cpu().numpy()
    return values


def inside(batch: ForwardBatch, first: np.ndarray, past: np.ndarray) -> np.ndarray:
    """bool `[B, T]`: positions from `first` to before `past`, int64 `[B]` each."""
    positions = np.arange(batch.input_ids.shape[1])
    return (positions >= first[:, None]) & (positions < past[:, None])


@dataclass(frozen=True, kw_only=True)
class FlatAxes:
    """The axes `token` and `passage` over some probe sets, one after the other in the run's order."""

    probes: dict[str, ProbeSet]
    lengths: dict[str, np.ndarray]
    """int64 tokens of each passage, by probe set."""
    first_passage: dict[str, int]
    """Place on the axis `passage` of a set's first one."""
    first_token: dict[str, np.ndarray]
    """Place on the axis `token` of each passage's first one, by probe set."""

    @classmethod
    def of(cls, context: Context, probes: Sequence[str] | None) -> "FlatAxes":
        """Lay out the probe sets that a measure looks at."""
        chosen = {name: context.probes[name] for name in probe_names(context, probes)}
        lengths = {n: np.array([len(p) for p in s.passages], dtype=np.int64) for n, s in chosen.items()}
        first_passage, first_token = {}, {}
        passages = tokens = 0
        for name, of_set in lengths.items():
            first_passage[name] = passages
            first_token[name] = tokens + np.cumsum(of_set) - of_set
            passages += len(of_set)
            tokens += int(of_set.sum())
        return cls(probes=chosen, lengths=lengths, first_passage=first_passage, first_token=first_token)

    @property
    def tokens(self) -> int:
        """Length of the axis `token`."""
        return sum(int(of_set.sum()) for of_set in self.lengths.values())

    @property
    def passages(self) -> int:
        """Length of the axis `passage`."""
        return sum(len(of_set) for of_set in self.lengths.values())

    def put_tokens(self, batch: ForwardBatch, values: np.ndarray, out: np.ndarray) -> None:
        """Put `values` [B, T] of a batch where they belong in `out` [tokens]; padding falls away."""
        lengths = self.lengths[batch.probe][batch.rows]
        real = inside(batch, np.zeros_like(lengths), lengths)
        places = self.first_token[batch.probe][batch.rows][:, None] + np.arange(values.shape[1])
        out[places[real]] = values[real]

    def put_passages(self, batch: ForwardBatch, values: np.ndarray, out: np.ndarray) -> None:
        """Put `values` [B] of a batch where they belong in `out` [passages]."""
        out[self.first_passage[batch.probe] + batch.rows] = values

    def of_probe(self, name: str) -> slice:
        """A set's part of the axis `passage`."""
        return slice(self.first_passage[name], self.first_passage[name] + len(self.lengths[name]))

    def token_coordinates(self) -> dict[str, Any]:
        """`probe_of_token`, `passage` (its id in the set) and `position`."""
        lengths = np.concatenate([np.zeros(0, dtype=np.int64), *self.lengths.values()])
        per_probe = [int(of_set.sum()) for of_set in self.lengths.values()]
        starts = np.cumsum(lengths) - lengths
        return {
            "probe_of_token": ("token", np.repeat(np.array(list(self.probes), dtype=np.str_), per_probe)),
            "passage": ("token", np.repeat(self._ids(), lengths).astype(np.int32)),
            "position": ("token", (np.arange(self.tokens) - np.repeat(starts, lengths)).astype(np.int32)),
        }

    def passage_coordinates(self) -> dict[str, Any]:
        """`probe_of_passage` and `passage_id` (its id in the set)."""
        counts = [len(of_set) for of_set in self.lengths.values()]
        return {
            "probe_of_passage": ("passage", np.repeat(np.array(list(self.probes), dtype=np.str_), counts)),
            "passage_id": ("passage", self._ids().astype(np.int32)),
        }

    def probe_coordinates(self) -> dict[str, Any]:
        """`probe`: names."""
        return {"probe": np.array(list(self.probes), dtype=np.str_)}

    def _ids(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(len(s)) for s in self.lengths.values())])
