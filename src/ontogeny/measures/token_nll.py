"""NLL, rank and entropy of every token's prediction."""

from typing import ClassVar

import numpy as np

from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.looking.axes import FlatAxes, dataset, numpy_of, variable


class TokenNll(StreamMeasure):
    """NLL, rank of the true token, and entropy of the prediction, for every token of the probe sets.

    On the axis `token`: `nll_nats` = -log p(token | tokens before); `rank`, the number of tokens that the model prefers
    to the true one (0 is its first choice; ties are broken by the lower id); `entropy_nats` = -sum p log p over the
    vocabulary. A passage's first token is not predicted: NaN, rank -1. Where BOS stands before the text, that is BOS,
    and the text's own first token is predicted.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"nll", "rank", "entropy"})
    cost: ClassVar[str] = "one forward pass over the probe sets, shared; 12 bytes per token and checkpoint on disk"

    def look(self, context: Context) -> Look:
        """Lay out the tokens."""
        return _TokenNllLook(FlatAxes.of(context, self.probes))


class _TokenNllLook:
    def __init__(self, axes: FlatAxes) -> None:
        self.axes = axes
        self.nll = np.full(axes.tokens, np.nan, dtype=np.float32)
        self.rank = np.full(axes.tokens, -1, dtype=np.int32)
        self.entropy = np.full(axes.tokens, np.nan, dtype=np.float32)

    def see(self, batch: ForwardBatch) -> None:
        self.axes.put_tokens(batch, numpy_of(batch.nll), self.nll)
        self.axes.put_tokens(batch, numpy_of(batch.rank), self.rank)
        self.axes.put_tokens(batch, numpy_of(batch.entropy), self.entropy)

    def result(self) -> Observation:
        variables = {
            "nll_nats": variable("token", self.nll, "nats", "negative log-likelihood of the token"),
            "rank": variable("token", self.rank, "1", "number of tokens that the model prefers to the true one"),
            "entropy_nats": variable("token", self.entropy, "nats", "entropy of the model's prediction"),
        }
        return Observation(arrays=dataset(variables, self.axes.token_coordinates()))
