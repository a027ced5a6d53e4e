"""Does the model know the last word? A task made from the passages themselves."""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ontogeny.core.contracts import Context, ForwardBatch, Look, Need, Observation, StreamMeasure
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.looking.axes import inside, numpy_of, probe_names, variable

_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Cloze(StreamMeasure):
    """The last complete word of each passage, given all before it, as in LAMBADA (Paperno et al. 2016).

    A word is a run of letters, digits and underscores (apostrophes inside); it is complete if the passage goes on
    after it, and it counts if tokens begin and end where it does (white space before it may belong to its first
    token). Passages without one are left out.

    Per probe set: `accuracy`, the share of items whose tokens are all the model's first choice given the true ones
    before (then greedy decoding writes the word); `perplexity` = exp(mean over items of the word's summed NLL);
    `accuracy_se` and `perplexity_se` (the latter by the delta method) over items; `n`.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"nll", "rank"})
    cost: ClassVar[str] = "no forward pass beyond the shared one; 9 bytes per passage and checkpoint on disk"

    def look(self, context: Context) -> Look:
        """Find the words."""
        return _Look({name: find_words(context.probes[name]) for name in probe_names(context, self.probes)})


@dataclass(frozen=True, kw_only=True)
class Words:
    """One word per passage that has one: int64 `[items]` each."""

    passage: np.ndarray
    first: np.ndarray
    """Its first token."""
    past: np.ndarray
    """The token after its last."""


def find_words(probe: ProbeSet) -> Words:
    """The last complete word of each passage of a set."""
    found = [(row, *span) for row, p in enumerate(probe.passages) if (span := _last_word(p)) is not None]
    passage, first, past = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return Words(passage=passage, first=first, past=past)


def _last_word(passage: Passage) -> tuple[int, int] | None:
    """Its tokens, half-open; None if there is none that tokens delimit."""
    offsets, text = passage.byte_offsets, passage.text
    raw = text.encode()
    for match in reversed(list(_WORD.finditer(text))):
        begin = len(text[: match.start()].encode())
        end = begin + len(match.group().encode())
        first = int(np.searchsorted(offsets, begin, side="right")) - 1
        past = int(np.searchsorted(offsets, end, side="left"))
        ends_there = end < len(raw) and past < len(offsets) and offsets[past] == end
        if first > 0 and ends_there and raw[offsets[first] : begin].isspace() | (offsets[first] == begin):
            return first, past
    return None


class _Look:
    def __init__(self, words: dict[str, Words]) -> None:
        self.words = words
        self.nll = {name: np.full(len(of.passage), np.nan) for name, of in words.items()}
        self.correct = {name: np.zeros(len(of.passage), dtype=np.uint8) for name, of in words.items()}

    def see(self, batch: ForwardBatch) -> None:
        words = self.words[batch.probe]
        _, rows, items = np.intersect1d(batch.rows, words.passage, assume_unique=True, return_indices=True)
        word = inside(batch, words.first[items], words.past[items])
        nll, hit = numpy_of(batch.nll)[rows].astype(np.float64), numpy_of(batch.rank)[rows] == 0
        self.nll[batch.probe][items] = np.where(word, nll, 0.0).sum(axis=1)
        self.correct[batch.probe][items] = (hit | ~word).all(axis=1)

    def result(self) -> Observation:
        import xarray as xr

        rows = np.array([_scores(self.correct[name], self.nll[name]) for name in self.words]).reshape(-1, 5).T
        counts = [len(of.passage) for of in self.words.values()]
        variables = {
            "accuracy": variable("probe", rows[0], "1", "share of words that greedy decoding would write"),
            "accuracy_se": variable("probe", rows[1], "1", "standard error of accuracy over items"),
            "perplexity": variable("probe", rows[2], "1", "exp of the mean NLL per word"),
            "perplexity_se": variable("probe", rows[3], "1", "standard error of perplexity over items"),
            "n": variable("probe", rows[4].astype(np.int64), "items", "words asked for"),
            "correct": variable("item", _joined(self.correct, np.uint8), "1", "would greedy decoding write the word"),
            "nll_nats": variable("item", _joined(self.nll, np.float64), "nats", "NLL of the whole word"),
        }
        coordinates = {
            "probe": np.array(list(self.words), dtype=np.str_),
            "probe_of_item": ("item", np.repeat(np.array(list(self.words), dtype=np.str_), counts)),
            "passage_of_item": ("item", _joined({n: of.passage for n, of in self.words.items()}, np.int32)),
            "first_token": ("item", _joined({n: of.first for n, of in self.words.items()}, np.int32)),
            "tokens": ("item", _joined({n: of.past - of.first for n, of in self.words.items()}, np.int32)),
        }
        return Observation(arrays=xr.Dataset(variables, coordinates))


def _joined(parts: dict[str, np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=dtype), *(part.astype(dtype) for part in parts.values())])


def _scores(correct: np.ndarray, nll: np.ndarray) -> tuple[float, float, float, float, float]:
    """Accuracy, its error, perplexity, its error, n."""
    n = len(correct)
    if not n:
        return np.nan, np.nan, np.nan, np.nan, 0.0
    perplexity = float(np.exp(nll.mean()))
    errors = [values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan for values in (correct.astype(float), nll)]
    return float(correct.mean()), errors[0], perplexity, perplexity * errors[1], float(n)
