"""Twins of passages: the same in another form, to tell what was learned word for word from what was understood."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.contracts import Corpus, Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage, ProbeSet, document_of
from ontogeny.core.recipe_data import Data, Twins
from ontogeny.core.seeds import derive_seed
from ontogeny.data.documents import DescribedCorpus
from ontogeny.data.passages import cut

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_WORD = re.compile(r"\S+")


def make_twins(
    name: str, twins: Twins, originals: ProbeSet, tokenizer: "PreTrainedTokenizerFast", data: Data
) -> ProbeSet:
    """A probe set of the twins of another's passages, in its order; each has the `source` of its original.

    A twin of more than `data.length` tokens is cut there. Raises DataError where a passage has no twin.
    """
    given = _read(Path(twins.path)) if twins.path is not None else {}
    passages = []
    for passage in originals.passages:
        where = f"data.twins.{name}: the passage {passage.source}"
        if not passage.supervised.all():
            raise DataError(f"{where} is a row of prompt and completion or of chat: twins are of plain text")
        if twins.by == "swapped":
            text = swapped(passage.text, twins.share, derive_seed(data.split_seed, "twins", passage.fingerprint))
        elif twins.by == "file":
            text = _given(given, passage, where, twins.path or "")
        else:
            text = _reworded(data.corpora, passage, where)
        passages.append(_passage(text, passage, tokenizer, data))
    about = f"{len(passages)} passages of {twins.of}, {twins.by}"
    return ProbeSet(name=name, passages=passages, about=about)


def swapped(text: str, share: float, seed: int) -> str:
    """The text with some pairs of neighbouring words exchanged; white space stays in its place.

    Words 1 and 2, 3 and 4, ... change places where a draw from `seed` is below `share`.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[start:stop] for start, stop in spans]
    chosen = np.random.default_rng(seed).random(len(words) // 2) < share
    for pair in np.flatnonzero(chosen):
        words[2 * pair], words[2 * pair + 1] = words[2 * pair + 1], words[2 * pair]
    ends = [0, *(stop for _, stop in spans)]
    gaps = [text[end:start] for end, (start, _) in zip(ends, spans, strict=False)]
    return "".join(gap + word for gap, word in zip(gaps, words, strict=True)) + text[ends[-1] :]


def _reworded(corpora: Mapping[str, Corpus], passage: Passage, where: str) -> str:
    """What the corpus of a passage says in other words."""
    name, _, document = document_of(passage.source).partition(":")
    corpus = corpora[name]
    text = corpus.reworded(document, passage.text) if isinstance(corpus, DescribedCorpus) else None
    if text is None or text == passage.text:
        raise DataError(
            f"{where} cannot be said in other words: {type(corpus).kind} knows none for it. Write by: swapped, or "
            'by: file with a path to lines of {"text": …, "twin": …}'
        )
    return text


def _read(path: Path) -> dict[str, str]:
    """Twins by the text of their originals, from JSON lines with `text` and `twin`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found[str(row["text"]).strip()] = str(row["twin"])
        except (ValueError, KeyError, TypeError):
            raise DataError(f'{path}:{number}: not a line of {{"text": …, "twin": …}}') from None
    return found


def _given(given: Mapping[str, str], passage: Passage, where: str, path: str) -> str:
    try:
        return given[passage.text.strip()]
    except KeyError:
        raise DataError(f"{where} has no twin in {path}: it needs a line whose text is the passage's own") from None


def _passage(text: str, original: Passage, tokenizer: "PreTrainedTokenizerFast", data: Data) -> Passage:
    whole = data.model_copy(update={"boundary": "document", "min_length": 1})
    first: Sequence[Passage] = cut([Document(text=text, source="twin")], tokenizer, whole, "twin")
    if not first:
        raise DataError(f"the twin of {original.source} is empty")
    return replace(first[0], source=original.source)
