"""A teacher's next-token targets kept on disk: what a recipe says of them, and what is kept of a distribution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from ontogeny.core.component import Settings, refusal
from ontogeny.core.errors import OntogenyError

if TYPE_CHECKING:
    from torch import Tensor

Temperature = Annotated[float, Field(gt=0)]


class CachedTargets(Settings):
    """What steps know of a companion's next-token distributions, computed once before training and kept on disk.

    Say `top_k` or `samples`. `top_k`: the greatest logits, and at each temperature the mass of all other ids; kd then
    compares the same buckets as with `compared: top_k`. `samples`: ids drawn from the distribution at one temperature,
    by which the mean of kd over draws, and of its gradient, is that with `compared: full` (Anshumann et al. 2025,
    "Sparse logit sampling", arXiv 2503.16870). Probe sets, and measures, read the companion itself.
    """

    top_k: int | None = Field(default=None, ge=1)
    """Number of ids whose logits are kept."""
    samples: int | None = Field(default=None, ge=1)
    """Number of ids that are drawn, with replacement."""
    temperatures: tuple[Temperature, ...] | None = Field(default=None, min_length=1)
    """Those that are kept; by default those that the loss terms read. Runs that keep the same ones share a cache."""
    seed: int | None = None
    """samples only: another seed, another draw; by default 0. That of training does not count, so that seeds share."""
    at_most_bytes: int = Field(default=300, ge=1)
    """Bytes that a target token may take on disk; top_k 64 at 11 temperatures takes 300."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.top_k is None) == (self.samples is None):
            raise ValueError("say exactly one of top_k and samples, for instance {top_k: 64}")
        if self.seed is not None and self.samples is None:
            raise refusal("'seed' means nothing to top_k, only to samples", "seed")
        if self.temperatures is not None:
            if len(set(self.temperatures)) < len(self.temperatures):
                raise refusal("a temperature is named twice", "temperatures")
            if self.samples is not None and len(self.temperatures) > 1:
                raise refusal("samples are drawn at one temperature: name one", "temperatures")
        return self


@dataclass(frozen=True, kw_only=True)
class TargetForm:
    """What is kept of a distribution over token ids."""

    top_k: int | None = None
    samples: int | None = None
    seed: int = 0
    temperatures: tuple[float, ...]
    vocabulary: int
    """Ids from here on have probability 0."""

    @property
    def row(self) -> np.dtype[np.void]:
        """What is kept of a target token.

        `ids`: uint16, or uint32 where the vocabulary has more than 65,536. With `top_k` k: `logits` float16 [k], less
        the greatest; and at each temperature T `rests` float32, the log of the sum of exp(logit / T) over all other
        ids, of logits less the greatest. With `samples`: `negative_entropy` float32, sum of p log p in nats.
        """
        ids = ("ids", "<u2" if self.vocabulary <= 2**16 else "<u4", (self.top_k or self.samples,))
        if self.top_k is None:
            return np.dtype([ids, ("negative_entropy", "<f4")])
        return np.dtype([ids, ("logits", "<f2", (self.top_k,)), ("rests", "<f4", (len(self.temperatures),))])

    def place(self, temperature: float) -> int:
        """Where a temperature stands. Raises OntogenyError if it is not kept."""
        return place_of(temperature, self.temperatures)

    def require(self, targets: CachedTargets) -> None:
        """Raise ValueError if it takes more bytes a token than the recipe allows."""
        if (taken := self.row.itemsize) > targets.at_most_bytes:
            fewer = "top_k or fewer temperatures" if self.top_k else "number of samples"
            raise ValueError(
                f"{self.what} takes {taken:,} bytes a target token, and at_most_bytes is {targets.at_most_bytes}: "
                f"write a smaller {fewer}, or at_most_bytes: {taken}"
            )

    @property
    def what(self) -> str:
        """In words."""
        if self.top_k is None:
            return f"samples {self.samples}"
        count = len(self.temperatures)
        return f"top_k {self.top_k} at {count} temperature{'s' * (count > 1)}"


def form_of(targets: CachedTargets, needed: Sequence[float], vocabulary: int = 1) -> TargetForm:
    """What is kept, for loss terms that need some temperatures.

    Raises ValueError for a temperature that `targets` leaves out, several with samples, and too many bytes.
    """
    kept = tuple(sorted(targets.temperatures or dict.fromkeys(needed)))
    for temperature in needed:
        try:
            place_of(temperature, kept)
        except OntogenyError as error:
            remedy = "write that one" if targets.samples is not None else "add it to temperatures"
            raise ValueError(f"{error}: {remedy}, or leave temperatures out") from None
    if targets.samples is not None and len(kept) > 1:
        raise ValueError(
            f"samples are drawn at one temperature, and the loss terms read {len(kept)}: write a constant one, or top_k"
        )
    form = TargetForm(
        top_k=targets.top_k, samples=targets.samples, seed=targets.seed or 0, temperatures=kept, vocabulary=vocabulary
    )
    form.require(targets)
    return form


def place_of(temperature: float, kept: Sequence[float]) -> int:
    """Index of a temperature, up to rounding. Raises OntogenyError if it is not there."""
    for i, other in enumerate(kept):
        if math.isclose(temperature, other, rel_tol=1e-9):
            return i
    known = ", ".join(f"{other:g}" for other in kept)
    raise OntogenyError(f"the cached targets hold temperature {known}, and {temperature:g} is asked for")


@dataclass(frozen=True, kw_only=True)
class TargetRows:
    """A teacher's cached targets at n positions of a batch: what `TargetForm.row` says, on the model's device."""

    form: TargetForm
    positions: "Tensor"
    """int64 [n]: flat positions (row x T + column) that predict the targets, rising."""
    ids: "Tensor"
    """int64 [n, k]."""
    logits: "Tensor | None" = None
    """float32 [n, k]."""
    rests: "Tensor | None" = None
    """float32 [n, temperatures]."""
    negative_entropy: "Tensor | None" = None
    """float32 [n]."""
