"""Which passages and windows are trained on, and which passages are in probe sets."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_data import NewText, is_trained
from ontogeny.core.takes import Take
from ontogeny.core.windows import Windows, windows_of
from ontogeny.data.bos import FROM_SCRATCH, Bos
from ontogeny.data.joined_text import join_documents, passage_spans
from ontogeny.data.splits import choose

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Selection:
    """The passages that a recipe takes from its splits.

    A probe set of a split that is trained on holds only passages that are trained on: those taken as examples, or those
    that lie wholly in the text that windows roll over. If its `part` lies outside of the training text, it holds
    passages of that part.
    """

    def __init__(
        self,
        recipe: Recipe,
        documents: Callable[[str], list[Document]],
        passages: Mapping[str, Sequence[Passage]],
        tokenizer: "PreTrainedTokenizerFast",
        bos: Bos = FROM_SCRATCH,
    ) -> None:
        """`documents`: gives a split's documents; `passages`: all passages of each split, in order, after `bos`.

        Raises DataError if a split has fewer passages or windows than the recipe takes.
        """
        self._recipe, self._documents, self._passages, self._tokenizer = recipe, documents, passages, tokenizer
        self._bos = bos
        self.examples: list[Passage] = []
        """Training examples, new text first."""
        self.trained: dict[str, set[int]] = {}
        """By split that is trained on: indices of its passages that are."""
        self.windows: list[dict[str, str | int]] = []
        """By take with rolling windows: split, window and step in tokens, number of windows."""
        self._tiles: dict[str, list[Passage]] = {}
        self._spans: dict[str, NDArray[np.int64]] = {}
        for take in recipe.data.train:
            self._add_new_text(take)
        self.replay = {
            name: (self._add_passages(take.of, self._choose(take, f"data.replay.{name}")), take.share)
            for name, take in recipe.data.replay.items()
        }
        """By replay corpus: the range of its examples, and its share of a batch."""

    def probe(self, name: str, take: Take) -> ProbeSet:
        """The probe set that the recipe calls `name`. Raises DataError if too few passages lie in its part."""
        data = self._recipe.data
        trained = is_trained(take.model_dump(), [other.model_dump() for other in (*data.train, *data.replay.values())])
        among = self.trained[take.of] if trained else None
        indices = self._choose(take, f"data.probes.{name}", among)
        if not indices:
            raise DataError(f"data.probes.{name}: no passage of {take.of} lies in its part: take a larger one")
        about = f"{len(indices)} passages of {take.of}" + (", trained on" if trained else "")
        return ProbeSet(name=name, passages=[self._passages[take.of][i] for i in indices], about=about)

    def passages(self, take: Take, key: str) -> list[Passage]:
        """Passages for a purpose other than training; `key`: the key of the recipe that takes them."""
        return [self._passages[take.of][i] for i in self._choose(take, key)]

    def texts(self, split: str) -> list[Passage]:
        """The text of a split that is compared with other splits: its passages, and all that windows roll over."""
        return [*self._passages[split], *self._tiles.get(split, ())]

    def _add_new_text(self, take: NewText) -> None:
        windows = windows_of(take, self._recipe.train)
        if windows is None:
            self._add_passages(take.of, self._choose(take, "data.train"))
        else:
            self._add_windows(take, windows)

    def _add_passages(self, split: str, indices: Sequence[int]) -> range:
        """Add passages of a split to the examples; returns the range of these examples."""
        self.examples += [self._passages[split][i] for i in indices]
        self.trained.setdefault(split, set()).update(indices)
        return range(len(self.examples) - len(indices), len(self.examples))

    def _choose(self, take: Take, key: str, among: set[int] | None = None) -> list[int]:
        """Indices of the passages taken, in their order; only `among` those that are trained on, if given."""
        passages = self._passages[take.of]
        candidates = sorted(among) if among is not None else list(range(len(passages)))
        if take.part is not None:
            inside = self._lies_in_part(take, self._passage_spans(take.of)[:-1])
            candidates = [i for i in candidates if inside[i]]
        what = "passages" if among is None else "passages that are trained on"
        count = _count(take, len(candidates), key, f"{what} of {self._recipe.data.length} tokens")
        chosen = choose([passages[i] for i in candidates], count, self._recipe.data.split_seed)
        return [candidates[i] for i in chosen]

    def _add_windows(self, take: NewText, windows: Windows) -> None:
        split = take.of
        joined = join_documents(self._documents(split), self._tokenizer, split.partition("/")[0])
        text_tokens = windows.length - len(self._bos.token_ids)  # what stands before a window counts in its length
        if text_tokens < 1:
            raise DataError(f"data.train: a window of {windows.length} tokens has no room for text: write a longer one")
        passages, spans = joined.windows(Windows(text_tokens, min(windows.step, text_tokens)))
        passages = [self._bos.before(passage) for passage in passages]
        if split not in self._tiles:
            tiles = joined.windows(Windows(text_tokens, text_tokens))[0]
            self._tiles[split] = [self._bos.before(passage) for passage in tiles]
        indices = np.flatnonzero(self._lies_in_part(take, spans))
        what = f"windows of {windows.length} tokens"
        indices = indices[: _count(take, len(indices), "data.train", what)]
        if not len(indices):
            raise DataError(f"data.train: no window of {windows.length} tokens lies in that part of {split}")
        first_byte, end_byte = spans[indices[0], 0], spans[indices[-1], 1]
        starts, ends = self._passage_spans(split)[:-1].T
        covered = np.flatnonzero((starts >= first_byte) & (ends <= end_byte))
        self.trained.setdefault(split, set()).update(covered.tolist())
        self.examples += [passages[i] for i in indices]
        self.windows.append({"of": split, "window": windows.length, "step": windows.step, "windows": len(indices)})

    def _lies_in_part(self, take: Take, spans: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which byte ranges (int64 `[n, 2]`) lie wholly in the take's part of its split's text: bool `[n]`."""
        if take.part is None:
            return np.ones(len(spans), dtype=bool)
        size = self._passage_spans(take.of)[-1, 1]
        return (spans[:, 0] >= take.part[0] * size) & (spans[:, 1] <= take.part[1] * size)

    def _passage_spans(self, split: str) -> NDArray[np.int64]:
        """As `joined_text.passage_spans`."""
        if split not in self._spans:
            corpus = split.partition("/")[0]
            self._spans[split] = passage_spans(self._documents(split), self._passages[split], corpus)
        return self._spans[split]


def _count(take: Take, available: int, key: str, what: str) -> int | None:
    """How many to take of those available; None for all."""
    if take.count is not None and take.count > available:
        raise DataError(
            f"{key} takes {take.count} of {take.of}, which has {available} {what}: write count: {available} or less, "
            "or give more text"
        )
    return min(take.at_most, available) if take.at_most is not None else take.count
