"""From a recipe to passages: read, split, tokenize, cut, select, check for leaks."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.json_types import Json
from ontogeny.core.passages import Passage, ProbeSet, side_widths
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_data import Data
from ontogeny.core.takes import Take
from ontogeny.core.windows import windows_of
from ontogeny.data import overlap
from ontogeny.data.bos import FROM_SCRATCH, Bos, Trained, decide
from ontogeny.data.documents import DescribedCorpus, corpus_fingerprint, read_documents, size_of
from ontogeny.data.passages import cut
from ontogeny.data.selection import Selection
from ontogeny.data.splits import split_documents
from ontogeny.data.tokenizer import load_tokenizer, train_tokenizer
from ontogeny.data.twins import make_twins

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DEFAULT_VOCAB_SIZE = 2048

Announce = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Tokenizer, training examples and probe sets of a run."""

    tokenizer: "PreTrainedTokenizerFast"
    examples: list[Passage]
    """Training examples, new text first; an example's id is its index."""
    replay: dict[str, tuple[range, float]]
    """By replay corpus: the range of its examples, and its share of a batch."""
    probes: dict[str, ProbeSet]
    bos: Bos
    """What stands before every passage, and before every prompt."""
    generated: Mapping[str, list[Document]]
    """Documents that a model generated, by corpus."""
    anchor_passages: dict[str, list[Passage]]
    """By loss term: passages on which it examines the model that training starts from."""
    provenance: dict[str, Json]
    """Corpora, splits, tokenizer, training passages, probe sets, overlap: counts and fingerprints."""


@dataclass(kw_only=True)
class _SplitCorpora:
    """The corpora that were read, by name, and their splits as indices of documents."""

    documents: dict[str, list[Document]] = field(default_factory=dict)
    splits: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def documents_of(self, split: str) -> list[Document]:
        """The documents of `corpus/split`, in the order of the corpus."""
        corpus, name = split.split("/")
        return [self.documents[corpus][i] for i in self.splits[corpus][name]]


def prepare(
    recipe: Recipe,
    tokenizer: "PreTrainedTokenizerFast | None" = None,
    vocab_limit: int | None = None,
    context_length: int | None = None,
    announce: Announce = lambda message: None,
    generated: Mapping[str, list[Document]] | None = None,
    trained: Trained = FROM_SCRATCH,
) -> Prepared:
    """Read the recipe's corpora, split them by document, tokenize, cut, select and check for leaks.

    `tokenizer`: used as it is; by default the one that the recipe names, or one trained on the training splits.
    `vocab_limit`: rows of the model's embedding. `context_length`: the model's longest input in tokens.
    `generated`: documents of the corpora that a model writes. `trained`: what the model's texts began with when it was
    trained, which `data.bos` may override. `announce` gets one line before each slow stage.
    Deterministic: the same recipe, files and versions give the same result.
    Raises DataError for a tokenizer that cannot pad, an empty corpus, too few documents or passages, a passage longer
    than the context, token ids beyond the embedding, and splits that share text.
    """
    data = recipe.data
    _check_windows(recipe, context_length)
    corpora = _read_corpora(recipe, generated or {}, needs_tokenizer=tokenizer is None, announce=announce)
    trained_on: list[str] = []
    if tokenizer is None:
        tokenizer, trained_on = _make_tokenizer(recipe, corpora, announce)
    _require_padding(tokenizer)
    bos = decide(data.bos, tokenizer, trained)
    compared = list(dict.fromkeys(take.of for take in (*data.train, *data.replay.values(), *data.probes.values())))
    anchor_takes = _anchor_takes(recipe)
    needed = dict.fromkeys((*compared, *(take.of for take in anchor_takes.values())))
    passages = {split: _cut_split(split, corpora, tokenizer, data, bos, announce) for split in needed}
    selection = Selection(recipe, corpora.documents_of, passages, tokenizer, bos)
    probes = {name: selection.probe(name, take) for name, take in data.probes.items()}
    for name, twins in data.twins.items():
        probes[name] = make_twins(name, twins, probes[twins.of], tokenizer, data, bos)
    anchor_passages = {
        label: selection.passages(take, f"objective.{label}.text") for label, take in anchor_takes.items()
    }
    in_use = [selection.examples, *anchor_passages.values(), *(probe.passages for probe in probes.values())]
    _check_passages(in_use, vocab_limit, context_length)
    announce(f"looking for text that {len(compared)} splits share")
    texts = {split: selection.texts(split) for split in compared}
    overlaps = overlap.check(texts, selection.trained, data.allow_overlap)
    provenance: dict[str, Json] = {
        "corpora": _describe_corpora(data, corpora, passages),
        "tokenizer": _describe_tokenizer(tokenizer, recipe, trained_on),
        "bos": bos.described(tokenizer),
        **_describe_selection(data, selection, probes, anchor_passages),
        "overlap": [pair.as_json() for pair in overlaps],
    }
    return Prepared(
        tokenizer=tokenizer,
        examples=selection.examples,
        replay=selection.replay,
        probes=probes,
        bos=bos,
        anchor_passages=anchor_passages,
        generated=generated or {},
        provenance=provenance,
    )


def _require_padding(tokenizer: "PreTrainedTokenizerFast") -> None:
    if tokenizer.pad_token_id is None:
        raise DataError(
            f"the tokenizer '{tokenizer.name_or_path}' has no pad or end-of-text token: set one with "
            "tokenizer.add_special_tokens({'eos_token': …}), and save it again"
        )


def _anchor_takes(recipe: Recipe) -> dict[str, Take]:
    """Passages on which loss terms examine the model that training starts from, by label of the term.

    They are not trained on, so they may come from any split, and may share text with others.
    """
    return {term.label: term.reads for term in recipe.objective if term.reads is not None}


def used_corpora(recipe: Recipe) -> list[str]:
    """The corpora that passages are taken from, in the order of the recipe."""
    data = recipe.data
    takes = (*data.train, *data.replay.values(), *data.probes.values(), *_anchor_takes(recipe).values())
    names = {take.of.split("/")[0] for take in takes}
    return [name for name in data.corpora if name in names]


def _read_corpora(
    recipe: Recipe, generated: Mapping[str, list[Document]], needs_tokenizer: bool, announce: Announce
) -> _SplitCorpora:
    data = recipe.data
    names = set(used_corpora(recipe))
    if needs_tokenizer and recipe.tokenizer.path is None:
        names |= set(_tokenizer_corpora(recipe))
    corpora = _SplitCorpora()
    for name in (name for name in data.corpora if name in names):
        announce(f"reading corpus {name}")
        corpora.documents[name] = read_documents(name, data.corpora[name], generated.get(name))
        corpora.splits[name] = split_documents(corpora.documents[name], data.splits, data.split_seed, name)
    return corpora


def _tokenizer_corpora(recipe: Recipe) -> tuple[str, ...]:
    return recipe.tokenizer.corpora or tuple(recipe.data.corpora)


def _make_tokenizer(
    recipe: Recipe, corpora: _SplitCorpora, announce: Announce
) -> "tuple[PreTrainedTokenizerFast, list[str]]":
    """The tokenizer that the recipe asks for, and the splits that it was trained on (none if it was loaded).

    A corpus contributes the splits that data.train names, or its first split if data.train names none of them.
    """
    settings = recipe.tokenizer
    if settings.path is not None:
        return load_tokenizer(settings.path), []
    training_splits = [take.of for take in recipe.data.train]
    splits: list[str] = []
    for corpus in _tokenizer_corpora(recipe):
        named = [f"{corpus}/{name}" for name in recipe.data.splits if f"{corpus}/{name}" in training_splits]
        splits += named or [f"{corpus}/{next(iter(recipe.data.splits))}"]
    documents = [document for split in splits for document in corpora.documents_of(split)]
    announce(f"training a tokenizer on {sum(map(size_of, documents)):,} characters")
    return train_tokenizer(_plain_texts(documents), settings.vocab_size or DEFAULT_VOCAB_SIZE), splits


def _plain_texts(documents: Iterable[Document]) -> Iterable[str]:
    for document in documents:
        yield document.text or "\n".join(message["content"] for message in document.messages)


def _cut_split(
    split: str, corpora: _SplitCorpora, tokenizer: "PreTrainedTokenizerFast", data: Data, bos: Bos, announce: Announce
) -> list[Passage]:
    documents = corpora.documents_of(split)
    announce(f"tokenizing {split}: {sum(map(size_of, documents)):,} characters")
    passages = cut(documents, tokenizer, data, split.partition("/")[0], bos)
    if not passages:
        raise DataError(
            f"{split}: {len(documents)} document(s) of {sum(map(size_of, documents))} characters give no passage of "
            f"{data.min_length} tokens: give more text, lower data.min_length, or raise the split's share"
        )
    return passages


def _check_windows(recipe: Recipe, context_length: int | None) -> None:
    for take in recipe.data.train:
        windows = windows_of(take, recipe.train)
        if windows is not None and context_length is not None and windows.length > context_length:
            raise DataError(
                f"data.train: a window of {windows.length} tokens of {take.of}, the model's context holds "
                f"{context_length}: write a window (or percentage_window of max_tokens) of {context_length} or less"
            )


def _check_passages(in_use: Iterable[Sequence[Passage]], vocab_limit: int | None, context_length: int | None) -> None:
    """Raise DataError for passages that the model cannot read, or that differ in their side inputs."""
    for passages in filter(None, in_use):
        side_widths(passages)
        longest = max(passages, key=len)
        if context_length is not None and len(longest) > context_length:
            raise DataError(
                f"passage {longest.source} has {len(longest)} tokens, the model's context holds {context_length}: "
                f"write data.length: {context_length} or less"
            )
        highest = max(passages, key=lambda p: int(p.token_ids.max()))
        if vocab_limit is not None and int(highest.token_ids.max()) >= vocab_limit:
            raise DataError(
                f"token id {int(highest.token_ids.max())} in passage {highest.source}, the model's vocabulary ends at "
                f"{vocab_limit - 1}: tokenizer and model do not belong together; leave tokenizer out of the recipe to "
                "use the model's own"
            )


def _describe_probe_origin(name: str, data: Data) -> dict[str, str]:
    if name in data.probes:
        return {"of": data.probes[name].of}
    return {"of": data.probes[data.twins[name].of].of, "twins_of": data.twins[name].of, "by": data.twins[name].by}


def _counts(passages: Sequence[Passage]) -> dict[str, int]:
    return {"passages": len(passages), "tokens": sum(map(len, passages))}


def _describe_corpora(data: Data, corpora: _SplitCorpora, passages: Mapping[str, Sequence[Passage]]) -> dict[str, Json]:
    described: dict[str, Json] = {}
    for name, documents in corpora.documents.items():
        corpus = data.corpora[name]
        splits: dict[str, dict[str, int]] = {}
        for split, indices in corpora.splits[name].items():
            splits[split] = {"documents": len(indices), "characters": sum(size_of(documents[i]) for i in indices)}
            splits[split] |= _counts(passages[f"{name}/{split}"]) if f"{name}/{split}" in passages else {}
        described[name] = {
            "kind": type(corpus).kind,
            "documents": len(documents),
            "characters": sum(map(size_of, documents)),
            "sha256": corpus_fingerprint(documents),
            **(corpus.origin() if isinstance(corpus, DescribedCorpus) else {}),
            "splits": splits,
        }
    return described


def _describe_selection(
    data: Data, selection: Selection, probes: Mapping[str, ProbeSet], anchor_passages: Mapping[str, Sequence[Passage]]
) -> dict[str, Json]:
    """Counts and fingerprints of the passages that are trained on, replayed, probed and used for anchors."""
    examples = selection.examples
    train: dict[str, Json] = {
        **_counts(examples),
        "sha256": ProbeSet(name="train", passages=examples).fingerprint,
        **({"windows": selection.windows} if selection.windows else {}),
        **({"sides": side_widths(examples)} if side_widths(examples) else {}),
    }
    return {
        "train": train,
        "replay": {
            name: {"share": share, **_counts(examples[part.start : part.stop])}
            for name, (part, share) in selection.replay.items()
        },
        "probes": {
            name: {**_describe_probe_origin(name, data), **_counts(probe.passages), "sha256": probe.fingerprint}
            for name, probe in probes.items()
        },
        "remembered": {name: _counts(passages) for name, passages in anchor_passages.items()},
    }


def _describe_tokenizer(
    tokenizer: "PreTrainedTokenizerFast", recipe: Recipe, trained_on: Sequence[str]
) -> dict[str, Json]:
    content = tokenizer.backend_tokenizer.to_str()
    return {
        "size": len(tokenizer),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        **({"trained_on": list(trained_on)} if trained_on else {"path": tokenizer.name_or_path}),
    }
