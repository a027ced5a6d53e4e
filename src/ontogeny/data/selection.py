"""Which passages and windows are trained on, and which of them probe sets look at."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.core.contracts import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_data import NewText, is_trained
from ontogeny.core.takes import Take
from ontogeny.core.windows import Windows, windows_of
from ontogeny.data.joined_text import spans_of, stream_of
from ontogeny.data.splits import choose

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Selection:
    """What a recipe takes of its splits.

    `documents` gives a split's documents, `passages` its passages in order. A probe set of a split that is trained on
    holds passages that are: those taken, or those that lie wholly in the text that windows roll over. One with a `part`
    outside of what is trained on holds passages of that part. Raises DataError where there is too little.
    """

    def __init__(
        self,
        recipe: Recipe,
        documents: Callable[[str], list[Document]],
        passages: Mapping[str, Sequence[Passage]],
        tokenizer: "PreTrainedTokenizerFast",
    ) -> None:
        self._recipe, self._documents, self._passages, self._tokenizer = recipe, documents, passages, tokenizer
        self.examples: list[Passage] = []
        """What is trained on, new text first."""
        self.trained: dict[str, set[int]] = {}
        """Of each split that is trained on: which of its passages are."""
        self.windows: list[dict[str, Any]] = []
        """Of each rolling take: what was made of it, plain values."""
        self._tiles: dict[str, list[Passage]] = {}
        self._spans: dict[str, np.ndarray] = {}
        for take in recipe.data.train:
            self._train(take)
        self.replay = {
            name: (self._add(take.of, self._chosen(take, f"data.replay.{name}")), take.share)
            for name, take in recipe.data.replay.items()
        }
        """Of each replay corpus: its examples, and its share."""

    def probe(self, name: str, take: Take) -> ProbeSet:
        """The passages of a probe set."""
        data = self._recipe.data
        trained = is_trained(take.model_dump(), [one.model_dump() for one in (*data.train, *data.replay.values())])
        among = self.trained[take.of] if trained else None
        places = self._chosen(take, f"data.probes.{name}", among)
        if not places:
            raise DataError(f"data.probes.{name}: no passage of {take.of} lies in its part: take a larger one")
        about = f"{len(places)} passages of {take.of}" + (", trained on" if trained else "")
        return ProbeSet(name=name, passages=[self._passages[take.of][i] for i in places], about=about)

    def passages(self, take: Take, key: str) -> list[Passage]:
        """Passages taken for another purpose, which is not training; `key` is where the recipe says so."""
        return [self._passages[take.of][i] for i in self._chosen(take, key)]

    def texts(self, split: str) -> list[Passage]:
        """What of a split is searched for text that it shares: its passages, and all that windows roll over."""
        return [*self._passages[split], *self._tiles.get(split, ())]

    def _train(self, take: NewText) -> None:
        windows = windows_of(take, self._recipe.train)
        if windows is None:
            self._add(take.of, self._chosen(take, "data.train"))
        else:
            self._roll(take, windows)

    def _add(self, split: str, places: Sequence[int]) -> range:
        self.examples += [self._passages[split][i] for i in places]
        self.trained.setdefault(split, set()).update(places)
        return range(len(self.examples) - len(places), len(self.examples))

    def _chosen(self, take: Take, key: str, among: set[int] | None = None) -> list[int]:
        """Places of the passages taken, in their order; `among` those that are trained on."""
        passages = self._passages[take.of]
        places = sorted(among) if among is not None else list(range(len(passages)))
        if take.part is not None:
            inside = self._inside(take, self._spans_of(take.of)[:-1])
            places = [i for i in places if inside[i]]
        what = "passages" if among is None else "passages that are trained on"
        count = _count(take, len(places), key, f"{what} of {self._recipe.data.length} tokens")
        chosen = choose([passages[i] for i in places], count, self._recipe.data.split_seed)
        return [places[i] for i in chosen]

    def _roll(self, take: NewText, windows: Windows) -> None:
        split = take.of
        stream = stream_of(self._documents(split), self._tokenizer, split.partition("/")[0])
        found, covered = stream.windows(windows)
        if split not in self._tiles:
            self._tiles[split] = stream.windows(Windows(windows.length, windows.length))[0]
        places = np.flatnonzero(self._inside(take, covered))
        what = f"windows of {windows.length} tokens"
        places = places[: _count(take, len(places), "data.train", what)]
        if not len(places):
            raise DataError(f"data.train: no window of {windows.length} tokens lies in that part of {split}")
        first, last = covered[places[0], 0], covered[places[-1], 1]
        spans = self._spans_of(split)[:-1]
        whole = np.flatnonzero((spans[:, 0] >= first) & (spans[:, 1] <= last))
        self.trained.setdefault(split, set()).update(whole.tolist())
        self.examples += [found[i] for i in places]
        self.windows.append({"of": split, "window": windows.length, "step": windows.step, "windows": len(places)})

    def _inside(self, take: Take, spans: np.ndarray) -> np.ndarray:
        """Which of the spans lie wholly in the take's part: bool [n]."""
        if take.part is None:
            return np.ones(len(spans), dtype=bool)
        size = self._spans_of(take.of)[-1, 1]
        inside: np.ndarray = (spans[:, 0] >= take.part[0] * size) & (spans[:, 1] <= take.part[1] * size)
        return inside

    def _spans_of(self, split: str) -> np.ndarray:
        if split not in self._spans:
            corpus = split.partition("/")[0]
            self._spans[split] = spans_of(self._documents(split), self._passages[split], corpus)
        return self._spans[split]


def _count(take: Take, available: int, key: str, what: str) -> int | None:
    if take.count is not None and take.count > available:
        raise DataError(
            f"{key} takes {take.count} of {take.of}, which has {available} {what}: write count: {available} or less, "
            "or give more text"
        )
    return min(take.at_most, available) if take.at_most is not None else take.count
