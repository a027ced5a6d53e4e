"""Twins of passages: the same content in another form, to tell verbatim memory from learning of the content."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.corpora import Corpus, Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage, ProbeSet, document_of
from ontogeny.core.recipe_data import Data, Twins
from ontogeny.core.seeds import derive_seed
from ontogeny.data.bos import FROM_SCRATCH, Bos
from ontogeny.data.documents import DescribedCorpus
from ontogeny.data.files import json_lines
from ontogeny.data.passages import cut

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_WORD = re.compile(r"\S+")


def make_twins(
    name: str,
    twins: Twins,
    originals: ProbeSet,
    tokenizer: "PreTrainedTokenizerFast",
    data: Data,
    bos: Bos = FROM_SCRATCH,
) -> ProbeSet:
    """A probe set of twins of the passages of `originals`, in their order; each has the `source` of its original.

    A twin of more than `data.length` tokens is cut there. Raises DataError if a passage has no twin.
    """
    twins_by_text = _read(Path(twins.path)) if twins.path is not None else {}
    passages = []
    for passage in originals.passages:
        where = f"data.twins.{name}: the passage {passage.source}"
        if not passage.supervised[passage.bos_tokens :].all():
            raise DataError(f"{where} is a row of prompt and completion or of chat: twins are of plain text")
        if twins.by == "swapped":
            text = swap_words(passage.text, twins.share, derive_seed(data.split_seed, "twins", passage.fingerprint))
        elif twins.by == "file":
            text = _twin_from_file(twins_by_text, passage, where, twins.path or "")
        else:
            text = _reword(data.corpora, passage, where)
        passages.append(_twin_passage(text, passage, tokenizer, data, bos))
    about = f"{len(passages)} passages of {twins.of}, {twins.by}"
    return ProbeSet(name=name, passages=passages, about=about)


def swap_words(text: str, share: float, seed: int) -> str:
    """The text with some pairs of neighbouring words swapped; white space stays in its place.

    Words 1 and 2, 3 and 4, ... are swapped where a uniform draw from `seed` is below `share`.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    words = [text[start:stop] for start, stop in spans]
    chosen = np.random.default_rng(seed).random(len(words) // 2) < share
    for pair in np.flatnonzero(chosen):
        words[2 * pair], words[2 * pair + 1] = words[2 * pair + 1], words[2 * pair]
    ends = [0, *(stop for _, stop in spans)]
    gaps = [text[end:start] for end, (start, _) in zip(ends, spans, strict=False)]
    return "".join(gap + word for gap, word in zip(gaps, words, strict=True)) + text[ends[-1] :]


def _reword(corpora: Mapping[str, Corpus], passage: Passage, where: str) -> str:
    """A passage's text in other words, by the corpus that it is from."""
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
    twins = {}
    for number, row in json_lines(path):
        if not isinstance(row, dict) or not {"text", "twin"} <= row.keys():
            raise DataError(f'{path}, line {number}: not a line of {{"text": …, "twin": …}}')
        twins[str(row["text"]).strip()] = str(row["twin"])
    return twins


def _twin_from_file(twins_by_text: Mapping[str, str], passage: Passage, where: str, path: str) -> str:
    try:
        return twins_by_text[passage.text.strip()]
    except KeyError:
        raise DataError(f"{where} has no twin in {path}: it needs a line whose text is the passage's own") from None


def _twin_passage(text: str, original: Passage, tokenizer: "PreTrainedTokenizerFast", data: Data, bos: Bos) -> Passage:
    whole = data.model_copy(update={"boundary": "document", "min_length": 1})
    first: Sequence[Passage] = cut([Document(text=text, source="twin")], tokenizer, whole, "twin", bos)
    if not first:
        raise DataError(f"the twin of {original.source} is empty")
    return replace(first[0], source=original.source, sides=original.sides)
