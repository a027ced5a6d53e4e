"""The arrays of a measure: variables, coordinates, and the flat axes `token` and `passage` over the probe sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ontogeny.core.measures import Context, ForwardBatch
from ontogeny.core.passages import ProbeSet

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

Attribute = str | int | float
Variable = tuple[tuple[str, ...], np.ndarray, dict[str, Attribute]]
"""Axes, values and attributes."""
Coordinate = np.ndarray | tuple[str, np.ndarray]
"""Labels of the axis of that name; or, with an axis in front, a further coordinate along it."""


def variable(
    dims: str | tuple[str, ...], values: npt.ArrayLike, units: str, long_name: str, **attributes: Attribute
) -> Variable:
    """A variable with the attributes that `store.schema` requires. `dims`: its axes; () for a scalar."""
    dims = (dims,) if isinstance(dims, str) else dims
    return dims, np.asarray(values), {"units": units, "long_name": long_name, **attributes}


def dataset(
    variables: Mapping[str, Variable], *coordinates: Mapping[str, Coordinate], **settings: Attribute
) -> "xr.Dataset":
    """Variables with their coordinates; `settings` become attributes of the whole."""
    import xarray as xr

    merged = {name: values for group in coordinates for name, values in group.items()}
    return xr.Dataset(variables, merged, settings)


def probe_names(context: Context, probes: Sequence[str] | None) -> list[str]:
    """The probe sets that a measure evaluates, in the run's order; all of them if it names none."""
    return [name for name in context.probes if probes is None or name in probes]


def probe_axis(names: Sequence[str]) -> dict[str, Coordinate]:
    """The axis `probe`: names of probe sets."""
    return {"probe": np.array(names, dtype=np.str_)}


def numpy_of(tensor: "Tensor") -> np.ndarray:
    """The tensor's values on the CPU."""
    values: np.ndarray = tensor.detach().cpu().numpy()
    return values


def inside(batch: ForwardBatch, first: np.ndarray, past: np.ndarray) -> np.ndarray:
    """bool `[B, T]`: positions p with `first` <= p < `past`, int64 `[B]` each."""
    positions = np.arange(batch.input_ids.shape[1])
    return (positions >= first[:, None]) & (positions < past[:, None])


@dataclass(frozen=True, kw_only=True)
class FlatAxes:
    """The axes `token` and `passage`: all tokens, and all passages, of some probe sets in the run's order."""

    probes: dict[str, ProbeSet]
    lengths: dict[str, np.ndarray]
    """By probe set, int64: tokens of each passage."""
    bos_tokens: dict[str, np.ndarray]
    """By probe set, int64: how many tokens of each passage stand before its text."""
    first_passage: dict[str, int]
    """By probe set: index of its first passage on the axis `passage`."""
    first_token: dict[str, np.ndarray]
    """By probe set, int64: index of each passage's first token on the axis `token`."""

    @classmethod
    def of(cls, context: Context, probes: Sequence[str] | None) -> "FlatAxes":
        """Lay out the probe sets that a measure evaluates; all of them for None."""
        chosen = {name: context.probes[name] for name in probe_names(context, probes)}
        lengths = {
            name: np.array([len(passage) for passage in probe.passages], dtype=np.int64)
            for name, probe in chosen.items()
        }
        bos_tokens = {
            name: np.array([passage.bos_tokens for passage in probe.passages], dtype=np.int64)
            for name, probe in chosen.items()
        }
        first_passage, first_token = {}, {}
        passages = tokens = 0
        for name, probe_lengths in lengths.items():
            first_passage[name] = passages
            first_token[name] = tokens + np.cumsum(probe_lengths) - probe_lengths
            passages += len(probe_lengths)
            tokens += int(probe_lengths.sum())
        return cls(
            probes=chosen, lengths=lengths, bos_tokens=bos_tokens, first_passage=first_passage, first_token=first_token
        )

    def predicted(self, name: str) -> np.ndarray:
        """int64: of each passage of a probe set, the tokens that are predicted: all but the first, and but BOS."""
        return np.maximum(self.lengths[name] - np.maximum(self.bos_tokens[name], 1), 0)

    def text_rows(self, batch: ForwardBatch, values: np.ndarray) -> np.ndarray:
        """A batch's `values` [B, T] moved to the left by what stands before each text, so that texts begin at 0."""
        before = self.bos_tokens[batch.probe][batch.rows]
        if not before.any():
            return values
        places = np.minimum(np.arange(values.shape[1]) + before[:, None], values.shape[1] - 1)
        return np.take_along_axis(values, places, axis=1)

    @property
    def tokens(self) -> int:
        """Length of the axis `token`."""
        return sum(int(probe_lengths.sum()) for probe_lengths in self.lengths.values())

    @property
    def passages(self) -> int:
        """Length of the axis `passage`."""
        return sum(len(probe_lengths) for probe_lengths in self.lengths.values())

    def put_tokens(self, batch: ForwardBatch, values: np.ndarray, out: np.ndarray) -> None:
        """Write a batch's `values` [B, T] to their places in `out` [tokens]; padding is dropped."""
        lengths = self.lengths[batch.probe][batch.rows]
        real = inside(batch, np.zeros_like(lengths), lengths)
        places = self.first_token[batch.probe][batch.rows][:, None] + np.arange(values.shape[1])
        out[places[real]] = values[real]

    def put_text_tokens(self, batch: ForwardBatch, values: np.ndarray, out: np.ndarray) -> None:
        """The same for `values` [B, T] whose rows begin with the text's first token (`text_rows`)."""
        before = self.bos_tokens[batch.probe][batch.rows]
        lengths = self.lengths[batch.probe][batch.rows] - before
        real = inside(batch, np.zeros_like(lengths), lengths)
        places = (self.first_token[batch.probe][batch.rows] + before)[:, None] + np.arange(values.shape[1])
        out[places[real]] = values[real]

    def put_passages(self, batch: ForwardBatch, values: np.ndarray, out: np.ndarray) -> None:
        """Write a batch's `values` [B] to their places in `out` [passages]."""
        out[self.first_passage[batch.probe] + batch.rows] = values

    def of_probe(self, name: str) -> slice:
        """The part of the axis `passage` that belongs to a probe set."""
        return slice(self.first_passage[name], self.first_passage[name] + len(self.lengths[name]))

    def probe_slices(self) -> list[slice]:
        """The same for every probe set, in order."""
        return [self.of_probe(name) for name in self.probes]

    def token_coordinates(self) -> dict[str, Coordinate]:
        """Along `token`: `probe_of_token`, `passage` (its id in the probe set) and `position` in the passage."""
        lengths = np.concatenate([np.zeros(0, dtype=np.int64), *self.lengths.values()])
        tokens_by_probe = [int(probe_lengths.sum()) for probe_lengths in self.lengths.values()]
        starts = np.cumsum(lengths) - lengths
        return {
            "probe_of_token": ("token", np.repeat(np.array(list(self.probes), dtype=np.str_), tokens_by_probe)),
            "passage": ("token", np.repeat(self._ids(), lengths).astype(np.int32)),
            "position": ("token", (np.arange(self.tokens) - np.repeat(starts, lengths)).astype(np.int32)),
        }

    def passage_coordinates(self) -> dict[str, Coordinate]:
        """Along `passage`: `probe_of_passage` and `passage_id` (its id in the probe set)."""
        counts = [len(probe_lengths) for probe_lengths in self.lengths.values()]
        return {
            "probe_of_passage": ("passage", np.repeat(np.array(list(self.probes), dtype=np.str_), counts)),
            "passage_id": ("passage", self._ids().astype(np.int32)),
        }

    def probe_coordinates(self) -> dict[str, Coordinate]:
        """The axis `probe`."""
        return probe_axis(list(self.probes))

    def _ids(self) -> np.ndarray:
        ids = [np.arange(len(probe_lengths)) for probe_lengths in self.lengths.values()]
        return np.concatenate([np.zeros(0, dtype=np.int64), *ids])
