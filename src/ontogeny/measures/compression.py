"""Compression, token by token: how close together a layer maps states that were neighbours one layer before."""

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, Variable, dataset, inside, numpy_of, probe_names, variable

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 1e-10
"""Added to the variance before its logarithm, so that identical states score -ln(1e-10) = 23.03."""
IN_MEMORY_BYTES = 1 << 29
"""Larger tables of states are kept in temporary files."""
_POOL = ("train", "novel")


class Compression(StreamMeasure):
    """Score of a token at the transition from block L to L + 1: -ln(V + 1e-10), in nats.

    V is the variance of the token's k nearest neighbours at L, computed from their states at L + 1: population
    variance, summed over dimensions. Neighbours are Euclidean, exact, ties broken by index, without the token itself.
    They come from a pool of all tokens of the probe sets, each distinct passage once; BOS is none of them (its state is
    the same in every passage), and has NaN. States are the hidden states after each block; n blocks give n - 1
    transitions, numbered by L from 0 on the axis `block`. `scale_free` is ln(V at L / V at L + 1) for the same
    neighbours; it corrects for the drift of norms, and so of V, during training. Both are given per token and as means
    per passage, NaN if the pool has no more than k tokens.

    In most models the last of the `hidden_states` has passed the final norm, and it is used as it is;
    `final_norm: false` uses the last block's output instead.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Probe sets of the pool; by default `train` and `novel` if the run has both, else all."""
    k: int = Field(default=15, ge=2)
    """Neighbours per token."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """Distance by which the neighbours are nearest."""
    normalize: bool = False
    """Scale every state to length 1 first."""
    final_norm: bool = True
    """Use the last hidden state as the model gives it, after the final norm."""

    needs: ClassVar[frozenset[Need]] = frozenset({"hidden_states"})
    cost: ClassVar[str] = "2 N^2 D operations per transition for N tokens of width D; N x D x 4 bytes per layer on disk"

    def needed(self, context: Context) -> frozenset[Need]:
        """With `final_norm: false` also the last block's output."""
        return self.needs if self.final_norm else self.needs | {"last_block"}

    def look(self, context: Context) -> Look:
        """Lay out the pool."""
        both = set(_POOL) <= set(context.probes)
        names = self.probes or (_POOL if both else tuple(context.probes))
        return _CompressionLook(self, context, probe_names(context, names))


class _CompressionLook:
    def __init__(self, measure: Compression, context: Context, names: Sequence[str]) -> None:
        self.measure = measure
        self.axes = FlatAxes.of(context, names)
        self.first, pool_tokens = self._distinct()
        self.device = next(context.model.parameters()).device
        self.spool = _Spool(pool_tokens)

    def _distinct(self) -> tuple[dict[str, np.ndarray], int]:
        """By probe set, each passage's first index in the pool (equal passages share it); and the size of the pool."""
        places: dict[str, int] = {}
        first: dict[str, np.ndarray] = {}
        tokens = 0
        for name, probe in self.axes.probes.items():
            first[name] = np.zeros(len(probe.passages), dtype=np.int64)
            for row, passage in enumerate(probe.passages):
                if passage.fingerprint not in places:
                    places[passage.fingerprint] = tokens
                    tokens += len(passage) - passage.bos_tokens
                first[name][row] = places[passage.fingerprint]
        return first, tokens

    def see(self, batch: ForwardBatch) -> None:
        if batch.probe not in self.axes.probes:
            return
        lengths = self.axes.lengths[batch.probe][batch.rows]
        before = self.axes.bos_tokens[batch.probe][batch.rows]
        real = inside(batch, before, lengths)
        places = ((self.first[batch.probe][batch.rows] - before)[:, None] + np.arange(real.shape[1]))[real]
        states = list(batch.hidden_states[1:])
        if not self.measure.final_norm:
            states[-1] = batch.last_block
        for layer, state in enumerate(states):
            self.spool.put(layer, places, numpy_of(state.float())[real])

    def result(self) -> Observation:
        try:
            scores, scale_free = self._scores()
        finally:
            self.spool.close()
        variables = self._by_token_and_passage("score", scores, "-ln of the variance of the neighbours' next states")
        variables |= self._by_token_and_passage(
            "scale_free", scale_free, "ln of the neighbours' variance before over after"
        )
        arrays = dataset(
            variables,
            {"block": np.arange(len(scores))},
            self.axes.passage_coordinates(),
            self.axes.token_coordinates(),
            k=self.measure.k,
            distance=self.measure.distance,
            pool_tokens=self.spool.tokens,
        )
        return Observation(arrays=arrays)

    def _by_token_and_passage(self, key: str, values: np.ndarray, about: str) -> dict[str, Variable]:
        """From `values` [block, pool token] the variables per token and, as means, per passage."""
        before = np.concatenate(list(self.axes.bos_tokens.values()))
        lengths = np.concatenate(list(self.axes.lengths.values())) - before
        first = np.concatenate(list(self.first.values()))
        starts = np.cumsum(lengths) - lengths
        places = np.repeat(first - starts, lengths) + np.arange(lengths.sum())
        of_text = values[:, places]
        means = np.add.reduceat(of_text, starts, axis=1) / lengths
        by_token = np.full((len(values), self.axes.tokens), np.nan)
        by_token[:, np.arange(len(places)) + np.repeat(np.cumsum(before), lengths)] = of_text
        return {
            key: variable(("block", "token"), by_token.astype(np.float32), "nats", about),
            f"passage_{key}": variable(
                ("block", "passage"), means.astype(np.float32), "nats", f"mean over the passage: {about}"
            ),
        }

    def _scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Both scores at every transition: float64 [transitions, pool tokens]."""
        from ontogeny.looking.neighbours import Spread, distance_buffer, nearest

        layers = len(self.spool.layers)
        scores = np.zeros((layers - 1, self.spool.tokens))
        scale_free = np.zeros_like(scores)
        if self.spool.tokens <= self.measure.k:
            return scores + np.nan, scale_free + np.nan
        buffer = distance_buffer(self.spool.tokens, self.device)
        spread = Spread(self._state(0))
        for layer in range(layers - 1):
            searched = _unit(spread.states) if self.measure.distance == "cosine" else spread.states
            neighbours = nearest(searched, self.measure.k, buffer)
            before = numpy_of(spread.of(neighbours))
            spread = Spread(self._state(layer + 1))
            after = numpy_of(spread.of(neighbours))
            scores[layer] = -np.log(after + LEAST)
            scale_free[layer] = np.log((before + LEAST) / (after + LEAST))
        return scores, scale_free

    def _state(self, layer: int) -> "Tensor":
        import torch

        state = torch.from_numpy(np.asarray(self.spool.layers[layer])).to(self.device)
        return _unit(state) if self.measure.normalize else state


def _unit(states: "Tensor") -> "Tensor":
    """Rows scaled to length 1; a row of zeros stays zero."""
    from torch.nn.functional import normalize

    return normalize(states, dim=1)


class _Spool:
    """The states of all layers, float32 [tokens, D] each: in memory, and in temporary files beyond IN_MEMORY_BYTES."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.layers: list[np.ndarray] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, layer: int, places: np.ndarray, values: np.ndarray) -> None:
        """Keep the states [n, D] of n tokens, whose indices in the pool are `places` [n]."""
        while layer >= len(self.layers):
            self.layers.append(self._new(values.shape[1]))
        self.layers[layer][places] = values

    def _new(self, width: int) -> np.ndarray:
        held = sum(states.nbytes for states in self.layers) + 4 * self.tokens * width
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
