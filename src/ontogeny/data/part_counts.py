"""How many examples and tokens of each part came before each step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.data.example_streams import Streams


@dataclass(frozen=True, kw_only=True)
class Part:
    """Where some of the tokens come from: the new text, or a replay corpus."""

    name: str
    share: float
    """Asked for."""
    examples: int
    tokens: int
    epochs: float
    """How often its examples were seen on average."""


class Tally:
    """Batches that take the next examples of each part's stream, so many of each as `counts` says for a step.

    Counted forward as far as is asked for, and kept: two numbers for each part and step.
    """

    def __init__(self, streams: Streams, lengths: np.ndarray, counts: Callable[[int], np.ndarray]) -> None:
        """`lengths`: tokens of every example; `counts(step)`: int64 [parts], may ask for what was before that step."""
        self.streams, self.lengths, self._counts = streams, lengths, counts
        self._taken = [np.zeros(len(streams.parts), dtype=np.int64)]
        self._tokens = [np.zeros(len(streams.parts), dtype=np.int64)]

    def taken(self, step: int) -> np.ndarray:
        """Examples of each part before a step: int64 [parts]."""
        self._extend(step)
        return self._taken[step]

    def tokens(self, step: int) -> np.ndarray:
        """Tokens of each part before a step: int64 [parts]."""
        self._extend(step)
        return self._tokens[step]

    def batch_at(self, step: int) -> np.ndarray:
        """Examples of the update that leaves state `step`: int64 indices, part after part."""
        return self._between(self.taken(step), self.taken(step + 1))

    def token_shares(self, step: int) -> dict[str, float]:
        """Of the batch at a step: the share of its tokens that each part has."""
        tokens = self.tokens(step + 1) - self.tokens(step)
        return {name: float(n / tokens.sum()) for name, n in zip(self.streams.names, tokens, strict=True)}

    def composition(self, step: int, shares: Sequence[float] | np.ndarray) -> list[Part]:
        """Where the tokens before state `step` come from; `shares`: what was asked for."""
        parts = zip(self.streams.names, shares, self.taken(step), self.tokens(step), self.streams.parts, strict=True)
        return [
            Part(name=name, share=float(share), examples=int(n), tokens=int(size), epochs=float(n / max(len(part), 1)))
            for name, share, n, size, part in parts
        ]

    def next_size(self, part: int, place: int) -> int:
        """Tokens of the example at a place of a part's stream."""
        return int(self.lengths[self.streams.examples(part, place, place + 1)[0]])

    def forget_after(self, step: int) -> None:
        """Count anew from there: `counts` will say something else."""
        del self._taken[step + 1 :], self._tokens[step + 1 :]

    def _between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        parts = range(len(self.streams.parts))
        return np.concatenate([self.streams.examples(p, int(before[p]), int(after[p])) for p in parts])

    def _extend(self, step: int) -> None:
        while len(self._taken) <= step:
            at = len(self._taken) - 1
            before, after = self._taken[at], self._taken[at] + self._counts(at)
            sizes = [
                int(self.lengths[self.streams.examples(p, int(before[p]), int(after[p]))].sum())
                for p in range(len(self.streams.parts))
            ]
            self._taken.append(after)
            self._tokens.append(self._tokens[at] + sizes)
