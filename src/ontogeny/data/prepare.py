"""From a recipe to passages: read, split, tokenize, cut, take, check."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ontogeny.core.contracts import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.penalties import Penalty
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_data import Data, Take
from ontogeny.data import overlap
from ontogeny.data.documents import DescribedCorpus, corpus_fingerprint, read_documents, size_of
from ontogeny.data.passages import cut
from ontogeny.data.splits import choose, split_documents
from ontogeny.data.tokenizer import load_tokenizer, train_tokenizer
from ontogeny.data.twins import make_twins

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DEFAULT_VOCAB_SIZE = 2048

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a run trains on and looks at."""

    tokenizer: "PreTrainedTokenizerFast"
    examples: list[Passage]
    """What is trained on, new text first; an example's id is its place in the list."""
    replay: dict[str, tuple[range, float]]
    """Of each replay corpus: its examples, and its share of a batch."""
    probes: dict[str, ProbeSet]
    remembered: dict[str, list[Passage]]
    """Of each loss term that wants to see the start: passages to see it on."""
    provenance: dict[str, Any]
    """Corpora, splits, tokenizer, training passages, probe sets, overlap: counts and fingerprints, plain values."""


@dataclass(kw_only=True)
class _Texts:
    """Corpora that were read, by name, and their splits as indices of documents."""

    documents: dict[str, list[Document]] = field(default_factory=dict)
    splits: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def of(self, split: str) -> list[Document]:
        corpus, name = split.split("/")
        return [self.documents[corpus][i] for i in self.splits[corpus][name]]


def prepare(
    recipe: Recipe,
    tokenizer: "PreTrainedTokenizerFast | None" = None,
    vocab_limit: int | None = None,
    context_length: int | None = None,
    tell: Tell = lambda message: None,
) -> Prepared:
    """Read the recipe's corpora, split them by document, tokenize, cut, take and check for leaks.

    `tokenizer`: used as it is; else the one that the recipe names; else one is trained on the training splits.
    `vocab_limit`: rows of the model's embedding. `context_length`: the model's longest input in tokens.
    `tell` is called with a line before each slow stage. Deterministic: same recipe, files and versions, same result.
    Raises DataError: a tokenizer that cannot pad, empty corpus, too few documents or passages, a passage longer than
    the context, ids beyond the embedding, splits that share text.
    """
    data = recipe.data
    texts = _read(recipe, needs_tokenizer=tokenizer is None, tell=tell)
    trained_on: list[str] = []
    if tokenizer is None:
        tokenizer, trained_on = _tokenizer(recipe, texts, tell)
    if tokenizer.pad_token_id is None:
        raise DataError(
            f"the tokenizer '{tokenizer.name_or_path}' has no pad or end-of-text token: set one with "
            "tokenizer.add_special_tokens({'eos_token': …}), and save it again"
        )
    used = list(dict.fromkeys(take.of for take in (*data.train, *data.replay.values(), *data.probes.values())))
    passages: dict[str, list[Passage]] = {}
    for split in used:
        tell(f"tokenizing {split}: {sum(map(size_of, texts.of(split))):,} characters")
        passages[split] = _cut_split(split, texts, tokenizer, data)
    examples, replay, pools = _take_training(data, passages)
    probes = {name: _take_probe(name, take, pools, passages, data) for name, take in data.probes.items()}
    probes |= {name: make_twins(name, one, probes[one.of], tokenizer, data) for name, one in data.twins.items()}
    remembered = _take_remembered(recipe, texts, passages, tokenizer)
    in_use = [examples, *remembered.values(), *(probe.passages for probe in probes.values())]
    _check_limits(in_use, vocab_limit, context_length)
    tell(f"looking for text that {len(used)} splits share")
    overlaps = overlap.check(passages, pools, data.allow_overlap)
    provenance = {
        "corpora": _describe_corpora(data, texts, passages),
        "tokenizer": _describe_tokenizer(tokenizer, recipe, trained_on),
        "train": {**_counts(examples), "sha256": ProbeSet(name="train", passages=examples).fingerprint},
        "replay": {
            name: {"share": share, **_counts(examples[part.start : part.stop])}
            for name, (part, share) in replay.items()
        },
        "probes": {
            name: {**_origin(name, data), **_counts(probe.passages), "sha256": probe.fingerprint}
            for name, probe in probes.items()
        },
        "remembered": {name: _counts(taken) for name, taken in remembered.items()},
        "overlap": [found.as_json() for found in overlaps],
    }
    return Prepared(
        tokenizer=tokenizer, examples=examples, replay=replay, probes=probes, remembered=remembered,
        provenance=provenance,
    )  # fmt: skip


def _remembering(recipe: Recipe) -> dict[str, Take]:
    """What loss terms want to see the start on, by term."""
    return {term.name: term.reads for term in recipe.objective if isinstance(term, Penalty) and term.reads is not None}


def _take_remembered(
    recipe: Recipe,
    texts: _Texts,
    passages: Mapping[str, Sequence[Passage]],
    tokenizer: "PreTrainedTokenizerFast",
) -> dict[str, list[Passage]]:
    """Not trained on, so they may be of any split, and share text with others."""
    taken = {}
    for name, take in _remembering(recipe).items():
        among = passages.get(take.of) or _cut_split(take.of, texts, tokenizer, recipe.data)
        taken[name] = _taken(take, among, recipe.data, f"objective.{name}.text", "passages")
    return taken


def _read(recipe: Recipe, needs_tokenizer: bool, tell: Tell) -> _Texts:
    data = recipe.data
    takes = (*data.train, *data.replay.values(), *data.probes.values(), *_remembering(recipe).values())
    names = {take.of.split("/")[0] for take in takes}
    if needs_tokenizer and recipe.tokenizer.path is None:
        names |= set(_tokenizer_corpora(recipe))
    texts = _Texts()
    for name in (name for name in data.corpora if name in names):
        tell(f"reading corpus {name}")
        texts.documents[name] = read_documents(name, data.corpora[name])
        texts.splits[name] = split_documents(texts.documents[name], data.splits, data.split_seed, name)
    return texts


def _tokenizer_corpora(recipe: Recipe) -> tuple[str, ...]:
    return recipe.tokenizer.corpora or tuple(recipe.data.corpora)


def _tokenizer(recipe: Recipe, texts: _Texts, tell: Tell) -> "tuple[PreTrainedTokenizerFast, list[str]]":
    """The tokenizer that the recipe asks for, and the splits that it was trained on.

    The training splits of a corpus are those that data.train names; of a corpus that is not trained on, the first.
    """
    settings = recipe.tokenizer
    if settings.path is not None:
        return load_tokenizer(settings.path), []
    taken = [take.of for take in recipe.data.train]
    splits: list[str] = []
    for corpus in _tokenizer_corpora(recipe):
        own = [f"{corpus}/{name}" for name in recipe.data.splits if f"{corpus}/{name}" in taken]
        splits += own or [f"{corpus}/{next(iter(recipe.data.splits))}"]
    documents = [document for split in splits for document in texts.of(split)]
    tell(f"training a tokenizer on {sum(map(size_of, documents)):,} characters")
    return train_tokenizer(_plain_texts(documents), settings.vocab_size or DEFAULT_VOCAB_SIZE), splits


def _plain_texts(documents: Iterable[Document]) -> Iterable[str]:
    for document in documents:
        yield document.text or "\n".join(message["content"] for message in document.messages)


def _cut_split(split: str, texts: _Texts, tokenizer: "PreTrainedTokenizerFast", data: Data) -> list[Passage]:
    documents = texts.of(split)
    passages = cut(documents, tokenizer, data, split.partition("/")[0])
    if not passages:
        raise DataError(
            f"{split}: {len(documents)} document(s) of {sum(map(size_of, documents))} characters give no passage of "
            f"{data.min_length} tokens: give more text, lower data.min_length, or raise the split's share"
        )
    return passages


def _take_training(
    data: Data, passages: Mapping[str, Sequence[Passage]]
) -> tuple[list[Passage], dict[str, tuple[range, float]], dict[str, list[Passage]]]:
    """The examples, those that are replayed, and for each split that is trained on the passages that are, in order."""
    examples: list[Passage] = []
    largest: dict[str, int] = {}

    def take_one(take: Take, key: str) -> range:
        taken = _taken(take, passages[take.of], data, key, "passages")
        largest[take.of] = max(largest.get(take.of, 0), len(taken))
        examples.extend(taken)
        return range(len(examples) - len(taken), len(examples))

    for take in data.train:
        take_one(take, "data.train")
    replay = {name: (take_one(one, f"data.replay.{name}"), one.share) for name, one in data.replay.items()}
    pools = {
        split: [passages[split][i] for i in choose(passages[split], count, data.split_seed)]
        for split, count in largest.items()
    }
    return examples, replay, pools


def _take_probe(
    name: str, take: Take, pools: Mapping[str, list[Passage]], passages: Mapping[str, list[Passage]], data: Data
) -> ProbeSet:
    """A probe set; of a split that is trained on, only passages that are."""
    trained = take.of in pools
    taken = _taken(
        take,
        pools[take.of] if trained else passages[take.of],
        data,
        f"data.probes.{name}",
        "passages that are trained on" if trained else "passages",
    )
    about = f"{len(taken)} passages of {take.of}" + (", trained on" if trained else "")
    return ProbeSet(name=name, passages=taken, about=about)


def _taken(take: Take, among: Sequence[Passage], data: Data, key: str, what: str) -> list[Passage]:
    if take.count is not None and take.count > len(among):
        raise DataError(
            f"{key} takes {take.count} of {take.of}, which has {len(among)} {what} of {data.length} tokens: "
            f"write count: {len(among)} or less, or give more text"
        )
    count = min(take.at_most, len(among)) if take.at_most is not None else take.count
    return [among[i] for i in choose(among, count, data.split_seed)]


def _check_limits(in_use: Iterable[Sequence[Passage]], vocab_limit: int | None, context_length: int | None) -> None:
    for passages in filter(None, in_use):
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


def _origin(name: str, data: Data) -> dict[str, str]:
    if name in data.probes:
        return {"of": data.probes[name].of}
    return {"of": data.probes[data.twins[name].of].of, "twins_of": data.twins[name].of, "by": data.twins[name].by}


def _counts(passages: Sequence[Passage]) -> dict[str, int]:
    return {"passages": len(passages), "tokens": sum(map(len, passages))}


def _describe_corpora(data: Data, texts: _Texts, passages: Mapping[str, Sequence[Passage]]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name, documents in texts.documents.items():
        corpus = data.corpora[name]
        splits: dict[str, Any] = {}
        for split, indices in texts.splits[name].items():
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


def _describe_tokenizer(
    tokenizer: "PreTrainedTokenizerFast", recipe: Recipe, trained_on: Sequence[str]
) -> dict[str, Any]:
    content = tokenizer.backend_tokenizer.to_str()
    return {
        "size": len(tokenizer),
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        **({"trained_on": list(trained_on)} if trained_on else {"path": tokenizer.name_or_path}),
    }
