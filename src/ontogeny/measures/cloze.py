"""Last-word prediction: a cloze task made from the passages themselves."""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ontogeny.core.measures import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.looking.axes import dataset, inside, numpy_of, probe_axis, probe_names, variable

_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Cloze(StreamMeasure):
    """Prediction of each passage's last complete word from all text before it, as in LAMBADA (Paperno et al. 2016).

    A word is a run of letters, digits and underscores, with apostrophes inside. It is complete if the passage goes on
    after it. It becomes an item if token boundaries coincide with its ends; its first token may include the white space
    before it. Passages without such a word are left out.

    Per probe set: `accuracy`, the share of items all of whose tokens are the model's first choice given the true tokens
    before them, so that greedy decoding writes the word; `perplexity` = exp(mean over items of the word's summed NLL);
    `accuracy_se` and `perplexity_se`, standard errors over items (the latter by the delta method); `n` items.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"nll", "rank"})
    cost: ClassVar[str] = "no forward pass beyond the shared one; 9 bytes per passage and checkpoint on disk"

    def look(self, context: Context) -> Look:
        """Find the words."""
        return _ClozeLook({name: find_words(context.probes[name]) for name in probe_names(context, self.probes)})


@dataclass(frozen=True, kw_only=True)
class Words:
    """The items of one probe set, at most one word per passage: int64 `[items]` each."""

    passage: np.ndarray
    """Row of the passage in the set."""
    first: np.ndarray
    """Position of the word's first token."""
    past: np.ndarray
    """Position after the word's last token."""


def find_words(probe: ProbeSet) -> Words:
    """The last complete word of each passage of a set."""
    items = [(row, *span) for row, passage in enumerate(probe.passages) if (span := _last_word(passage)) is not None]
    passage, first, past = np.array(items, dtype=np.int64).reshape(-1, 3).T
    return Words(passage=passage, first=first, past=past)


def _last_word(passage: Passage) -> tuple[int, int] | None:
    """Token positions of the last word between token boundaries, half-open; None if there is none."""
    offsets, text = passage.byte_offsets, passage.text
    raw = text.encode()
    for match in reversed(list(_WORD.finditer(text))):
        begin = len(text[: match.start()].encode())
        end = begin + len(match.group().encode())
        first = int(np.searchsorted(offsets, begin, side="right")) - 1
        past = int(np.searchsorted(offsets, end, side="left"))
        ends_at_token = end < len(raw) and past < len(offsets) and offsets[past] == end
        begins_at_token = offsets[first] == begin or raw[offsets[first] : begin].isspace()
        if first > passage.bos_tokens and ends_at_token and begins_at_token:
            return first, past
    return None


class _ClozeLook:
    def __init__(self, words: dict[str, Words]) -> None:
        self.words = words
        self.nll = {name: np.full(len(items.passage), np.nan) for name, items in words.items()}
        self.correct = {name: np.zeros(len(items.passage), dtype=np.uint8) for name, items in words.items()}

    def see(self, batch: ForwardBatch) -> None:
        words = self.words[batch.probe]
        _, rows, items = np.intersect1d(batch.rows, words.passage, assume_unique=True, return_indices=True)
        word = inside(batch, words.first[items], words.past[items])
        nll, first_choice = numpy_of(batch.nll)[rows].astype(np.float64), numpy_of(batch.rank)[rows] == 0
        self.nll[batch.probe][items] = np.where(word, nll, 0.0).sum(axis=1)
        self.correct[batch.probe][items] = (first_choice | ~word).all(axis=1)

    def result(self) -> Observation:
        scores = np.array([_scores(self.correct[name], self.nll[name]) for name in self.words]).reshape(-1, 5).T
        accuracy, accuracy_se, perplexity, perplexity_se, n = scores
        variables = {
            "accuracy": variable("probe", accuracy, "1", "share of words that greedy decoding would write"),
            "accuracy_se": variable("probe", accuracy_se, "1", "standard error of accuracy over items"),
            "perplexity": variable("probe", perplexity, "1", "exp of the mean NLL per word"),
            "perplexity_se": variable("probe", perplexity_se, "1", "standard error of perplexity over items"),
            "n": variable("probe", n.astype(np.int64), "items", "words asked for"),
            "correct": variable("item", _joined(self.correct, np.uint8), "1", "would greedy decoding write the word"),
            "nll_nats": variable("item", _joined(self.nll, np.float64), "nats", "NLL of the whole word"),
        }
        probes = probe_axis(list(self.words))
        counts = [len(items.passage) for items in self.words.values()]
        passages = {name: items.passage for name, items in self.words.items()}
        first = {name: items.first for name, items in self.words.items()}
        tokens = {name: items.past - items.first for name, items in self.words.items()}
        by_item = {
            "probe_of_item": ("item", np.repeat(np.array(list(self.words), dtype=np.str_), counts)),
            "passage_of_item": ("item", _joined(passages, np.int32)),
            "first_token": ("item", _joined(first, np.int32)),
            "tokens": ("item", _joined(tokens, np.int32)),
        }
        return Observation(arrays=dataset(variables, probes, by_item))


def _joined(arrays: dict[str, np.ndarray], dtype: type) -> np.ndarray:
    """The arrays of all probe sets in one, also if there is none."""
    return np.concatenate([np.zeros(0, dtype=dtype), *(array.astype(dtype) for array in arrays.values())])


def _scores(correct: np.ndarray, nll: np.ndarray) -> tuple[float, float, float, float, float]:
    """Accuracy, its standard error, perplexity, its standard error, n."""
    n = len(correct)
    if not n:
        return np.nan, np.nan, np.nan, np.nan, 0.0
    perplexity = float(np.exp(nll.mean()))
    accuracy_se, mean_nll_se = (
        values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan for values in (correct.astype(float), nll)
    )
    return float(correct.mean()), accuracy_se, perplexity, perplexity * mean_nll_se, float(n)
