"""How many examples and tokens of each part (new text, each replay corpus) come before each step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.errors import DataError
from ontogeny.data.example_streams import ExampleStreams

COUNTED_EXAMPLES = 20_000
"""Examples that are counted one by one where a plan is described; further ones are taken to be like them."""
MOST_COUNTED_EXAMPLES = 2_000_000
"""Examples that are counted one by one to find the length of a training; that of a longer one is extrapolated."""


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

    @property
    def counted_steps(self) -> int:
        """Steps that are counted so far."""
        return len(self._examples) - 1

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
        """Where the tokens before state `step` come from; `shares`: what the recipe asks for, by part.

        Beyond `COUNTED_EXAMPLES`, in proportion to those before: a plan of any length is described at once.
        """
        counted = 0
        while counted < step and self.examples_before(counted).sum() < COUNTED_EXAMPLES:
            counted += 1
        times = step / counted if counted else 1.0
        return [
            PartTotals(
                name=name,
                share=float(share),
                examples=round(int(examples) * times),
                tokens=round(int(tokens) * times),
                epochs=float(examples / max(len(part), 1)) * times,
            )
            for name, share, examples, tokens, part in zip(
                self.streams.names,
                shares,
                self.examples_before(counted),
                self.tokens_before(counted),
                self.streams.parts,
                strict=True,
            )
        ]

    def first_step(self, amount_before: Callable[[int], float], asked: float) -> int:
        """The first step, from 1, before which an amount that grows with the steps is at least `asked`.

        Counted step by step. If that would take more than `MOST_COUNTED_EXAMPLES`, extrapolated from the first
        `COUNTED_EXAMPLES`. Raises DataError if nothing comes in these.
        """
        step, counted = 1, False
        while (amount := amount_before(step)) < asked:
            examples = int(self.examples_before(step).sum())
            if not counted and examples >= COUNTED_EXAMPLES:
                counted = True
                if amount <= 0:
                    raise DataError(
                        f"train: of what its length is counted in, nothing comes in the first {step:,} steps: "
                        "give the length in steps"
                    )
                if examples * (asked / amount) > MOST_COUNTED_EXAMPLES:
                    return int(-(-step * asked // amount))
            step += 1
        return step

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
