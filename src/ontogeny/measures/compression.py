"""How tightly a layer draws together what the layer before held near: compression, token by token."""

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, inside, numpy_of, probe_names, variable

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1e-10
"""Added to the variance before its logarithm, so that identical states score -ln(1e-10) = 23.03."""
IN_MEMORY_BYTES = 1 << 29
"""States beyond that lie in a temporary file."""
_POOL = ("train", "novel")


class Compression(StreamMeasure):
    """Score of a token at the transition from block L to L + 1: -ln(V + 1e-10), in nats.

    V is the population variance, summed over dimensions, of the states at L + 1 of its k nearest neighbours at L
    (Euclidean, itself excluded, among all tokens of the pool: each distinct passage of the probe sets once). States are
    the model's hidden states after each block; n blocks give n - 1 transitions, numbered by L from 0 on the axis
    `block`. `scale_free` is ln(V at L / V at L + 1) for the same neighbours: norms drift in training, and V with them.
    Per token, and as means per passage. The neighbours are exact, ties by index. All is NaN if the pool has no more
    than k tokens.

    For most models the last state has passed the final norm (as `hidden_states` gives it, the default);
    `final_norm: false` takes what the last block gives.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The pool; by default `train` and `novel` where the run has both, else all probe sets."""
    k: int = Field(default=15, ge=2)
    """Neighbours per token."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """By which neighbours are found."""
    normalize: bool = False
    """Scale every state to length 1 first."""
    final_norm: bool = True
    """Take the last state as the model gives it, after its final norm."""

    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_states"})
    cost: ClassVar[str] = "2 N^2 D operations per transition for N tokens of width D; N x D x 4 bytes per layer on disk"

    def needed(self, context: Context) -> frozenset[Need]:
        """The last block's own output, too, where it is asked for."""
        return self.needs if self.final_norm else self.needs | {"last_block"}

    def look(self, context: Context) -> Look:
        """Lay out the pool."""
        both = set(_POOL) <= set(context.probes)
        names = self.probes or (_POOL if both else tuple(context.probes))
        return _Look(self, context, probe_names(context, names))


class _Look:
    def __init__(self, measure: Compression, context: Context, names: Sequence[str]) -> None:
        self.measure = measure
        self.axes = FlatAxes.of(context, names)
        self.first, pool_tokens = self._distinct()
        self.device = next(context.model.parameters()).device
        self.spool = _Spool(pool_tokens)

    def _distinct(self) -> tuple[dict[str, np.ndarray], int]:
        """Where each passage's tokens stand in the pool, by probe set: equal passages stand at the same place."""
        places: dict[str, int] = {}
        first: dict[str, np.ndarray] = {}
        tokens = 0
        for name, probe in self.axes.probes.items():
            first[name] = np.zeros(len(probe.passages), dtype=np.int64)
            for row, passage in enumerate(probe.passages):
                if passage.fingerprint not in places:
                    places[passage.fingerprint] = tokens
                    tokens += len(passage)
                first[name][row] = places[passage.fingerprint]
        return first, tokens

    def see(self, batch: ForwardBatch) -> None:
        if batch.probe not in self.axes.probes:
            return
        lengths = self.axes.lengths[batch.probe][batch.rows]
        real = inside(batch, np.zeros_like(lengths), lengths)
        places = (self.first[batch.probe][batch.rows][:, None] + np.arange(real.shape[1]))[real]
        states = list(batch.hidden_states[1:])
        if not self.measure.final_norm:
            states[-1] = batch.last_block
        for layer, state in enumerate(states):
            self.spool.put(layer, places, numpy_of(state.float())[real])

    def result(self) -> Observation:
        import xarray as xr

        try:
            scores, scale_free = self._scores()
        finally:
            self.spool.close()
        tokens = np.concatenate(
            [
                first + np.arange(length)
                for name in self.axes.probes
                for first, length in zip(self.first[name], self.axes.lengths[name], strict=True)
            ]
        )
        lengths = np.concatenate(list(self.axes.lengths.values()))
        starts = np.cumsum(lengths) - lengths
        arrays: dict[str, Any] = {}
        about = {
            "score": "-ln of the variance of the neighbours' next states",
            "scale_free": "ln of the neighbours' variance before over after",
        }
        for key, values in (("score", scores), ("scale_free", scale_free)):
            each = values[:, tokens]
            means = np.add.reduceat(each, starts, axis=1) / lengths
            arrays[key] = variable(("block", "token"), each.astype(np.float32), "nats", about[key])
            arrays[f"passage_{key}"] = variable(
                ("block", "passage"), means.astype(np.float32), "nats", f"mean over the passage: {about[key]}"
            )
        coordinates = {
            "block": np.arange(len(scores)),
            **self.axes.passage_coordinates(),
            **self.axes.token_coordinates(),
        }
        settings = {"k": self.measure.k, "distance": self.measure.distance, "pool_tokens": self.spool.tokens}
        return Observation(arrays=xr.Dataset(arrays, coordinates, settings))

    def _scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Both scores at every transition: float64 [transitions, pool tokens]."""
        from ontogeny.measures._neighbours import Spread, nearest, room_for

        layers = len(self.spool.layers)
        scores = np.zeros((layers - 1, self.spool.tokens))
        scale_free = np.zeros_like(scores)
        if self.spool.tokens <= self.measure.k:
            return scores + np.nan, scale_free + np.nan
        room = room_for(self.spool.tokens, self.device)
        at = Spread(self._state(0))
        for layer in range(layers - 1):
            searched = _unit(at.states) if self.measure.distance == "cosine" else at.states
            neighbours = nearest(searched, self.measure.k, room)
            before = numpy_of(at.of(neighbours))
            at = Spread(self._state(layer + 1))
            after = numpy_of(at.of(neighbours))
            scores[layer] = -np.log(after + LEAST)
            scale_free[layer] = np.log((before + LEAST) / (after + LEAST))
        return scores, scale_free

    def _state(self, layer: int) -> "Tensor":
        import torch

        state = torch.from_numpy(np.asarray(self.spool.layers[layer])).to(self.device)
        return _unit(state) if self.measure.normalize else state


def _unit(states: "Tensor") -> "Tensor":
    """Rows of length 1; a row of zeros stays one."""
    from torch.nn.functional import normalize

    return normalize(states, dim=1)


class _Spool:
    """The states of all layers, float32 [tokens, D] each: in memory, or in a temporary file where they are many."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.layers: list[np.ndarray] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, layer: int, places: np.ndarray, values: np.ndarray) -> None:
        """Keep the states [n, D] of these tokens."""
        while layer >= len(self.layers):
            self.layers.append(self._new(values.shape[1]))
        self.layers[layer][places] = values

    def _new(self, width: int) -> np.ndarray:
        held = sum(one.nbytes for one in self.layers) + 4 * self.tokens * width
        if self._folder is None and held <= IN_MEMORY_BYTES:
            return np.zeros((self.tokens, width), dtype=np.float32)
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ontogeny-states-")
        path = f"{self._folder.name}/{len(self.layers)}.npy"
        return np.lib.format.open_memmap(path, "w+", np.float32, (self.tokens, width))

    def close(self) -> None:
        """Drop the states."""
        self.layers.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
