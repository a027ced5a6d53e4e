"""A corpus whose documents carry a vector: what a speech encoder, say, made of them."""

from collections.abc import Iterable

import numpy as np

from ontogeny.core.corpora import Corpus, Document

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "an", "old", "red", "bird", "fly", "over", "water"]


class Spoken(Corpus):
    """Random words; the side input `voice` [1, 3] of each document follows from its number."""

    count: int = 24
    """Documents."""

    def documents(self) -> Iterable[Document]:
        """The documents in order."""
        generator = np.random.default_rng(0)
        for i in range(self.count):
            voice = np.array([[np.cos(i), np.sin(i), 1.0]], dtype=np.float32)
            yield Document(text=" ".join(generator.choice(WORDS, 60)) + ".", source=f"{i:03}", sides={"voice": voice})
