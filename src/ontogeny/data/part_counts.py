"""How many examples and tokens of each part (new text, each replay corpus) come before each step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ontogeny.data.example_streams import ExampleStreams


@dataclass(frozen=True, kw_only=True)
class PartTotals:
    """What one part, the new text or a replay corpus, contributes to training."""

    name: str
    share: float
    """The share of each batch that the recipe asks for."""
    examples: int
    tokens: int
    epochs: float
    """How often its examples were seen on average."""


class PartCounts:
    """Batches that take the next examples of each part's stream: `counts(step)` of them for each step.

    Counted forward up to the latest step asked for. Memory: two numbers per part and step.
    """

    def __init__(
        self, streams: ExampleStreams, lengths: NDArray[np.int64], counts: Callable[[int], NDArray[np.int64]]
    ) -> None:
        """`lengths`: tokens of every example; `counts(step)`: int64 `[parts]`, may ask for totals before that step."""
        self.streams, self.lengths, self._counts = streams, lengths, counts
        self._examples = [np.zeros(len(streams.parts), dtype=np.int64)]
        self._tokens = [np.zeros(len(streams.parts), dtype=np.int64)]

    def examples_before(self, step: int) -> NDArray[np.int64]:
        """Examples of each part before a step: int64 `[parts]`."""
        self._extend(step)
        return self._examples[step]

    def tokens_before(self, step: int) -> NDArray[np.int64]:
        """Tokens of each part before a step: int64 `[parts]`."""
        self._extend(step)
        return self._tokens[step]

    def batch_at(self, step: int) -> NDArray[np.int64]:
        """Examples of the batch of step `step`: int64 indices, part after part."""
        before, after = self.examples_before(step), self.examples_before(step + 1)
        return np.concatenate(
            [self.streams.examples(part, int(before[part]), int(after[part])) for part in range(len(before))]
        )

    def token_shares(self, step: int) -> dict[str, float]:
        """Each part's share of the tokens of a step's batch."""
        tokens = self.tokens_before(step + 1) - self.tokens_before(step)
        return {name: float(count / tokens.sum()) for name, count in zip(self.streams.names, tokens, strict=True)}

    def composition(self, step: int, shares: Sequence[float] | NDArray[np.float64]) -> list[PartTotals]:
        """Where the tokens before state `step` come from; `shares`: what the recipe asks for, by part."""
        return [
            PartTotals(
                name=name,
                share=float(share),
                examples=int(examples),
                tokens=int(tokens),
                epochs=float(examples / max(len(part), 1)),
            )
            for name, share, examples, tokens, part in zip(
                self.streams.names,
                shares,
                self.examples_before(step),
                self.tokens_before(step),
                self.streams.parts,
                strict=True,
            )
        ]

    def next_size(self, part: int, position: int) -> int:
        """Tokens of the example at a position of a part's stream."""
        return int(self.lengths[self.streams.examples(part, position, position + 1)[0]])

    def drop_after(self, step: int) -> None:
        """Count anew after that step, because `counts` has changed."""
        del self._examples[step + 1 :], self._tokens[step + 1 :]

    def _extend(self, step: int) -> None:
        while len(self._examples) <= step:
            last = len(self._examples) - 1
            before, after = self._examples[last], self._examples[last] + self._counts(last)
            sizes = [
                int(self.lengths[self.streams.examples(part, int(before[part]), int(after[part]))].sum())
                for part in range(len(before))
            ]
            self._examples.append(after)
            self._tokens.append(self._tokens[last] + sizes)
