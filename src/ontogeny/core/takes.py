"""Passages taken from one split of one corpus."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from ontogeny.core.component import Settings, refusal
from ontogeny.core.names import CORPUS_SPLIT

TextPlace = Annotated[float, Field(ge=0, le=1)]
"""A place in a text: 0 its beginning, 1 its end."""


class Take(Settings):
    """Passages taken from one split of one corpus."""

    added_later: ClassVar[frozenset[str]] = frozenset({"spread"})

    of: str = Field(pattern=CORPUS_SPLIT)
    """corpus/split, for instance prose/train."""
    count: int | None = Field(default=None, ge=1)
    """How many passages, chosen at random; by default all. Too few are an error."""
    at_most: int | None = Field(default=None, ge=1)
    """Instead of count: as many as there are, up to this many."""
    part: tuple[TextPlace, TextPlace] | None = None
    """Only what lies wholly in this part of the split's text, documents in the corpus's order: [0, 0.5] is its first
    half. A probe set's part lies inside what is trained on, or outside of it."""

    spread: bool = False
    """Over as many documents as there are: one passage of each before a second of any. Documents are what intervals
    count, so spread sets know more from the same number of passages. By default all passages are drawn alike."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.count is not None and self.at_most is not None:
            raise ValueError("say either count or at_most")
        if self.spread and self.count is None and self.at_most is None:
            raise refusal("all passages are taken, which cannot be spread: write count or at_most, too", "spread")
        if self.part is not None and self.part[0] >= self.part[1]:
            raise refusal(f"a part begins before it ends, found [{self.part[0]:g}, {self.part[1]:g}]", "part")
        return self
