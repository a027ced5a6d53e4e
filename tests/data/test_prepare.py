import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.prepare import Prepared, prepare
from ontogeny.data.tokenizer import encode

SMALL = {"length": 32, "min_length": 8}


def noise(words: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(900)}" for _ in range(words)) + "\n"


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    """Sixty files of random words."""
    for i in range(60):
        (tmp_path / f"{i:02d}.txt").write_text(noise(100, i))
    return {"kind": "text", "path": f"{tmp_path}/*.txt"}


def prose(make_recipe: Any, **data: Any) -> Any:
    defaults: dict[str, Any] = {
        "corpora": {"prose": {"kind": "python_prose", "limit_chars": 60_000}},
        "train": [{"of": "prose/train", "count": 24}],
        "probes": {"train": {"of": "prose/train", "count": 24}, "novel": {"of": "prose/novel", "count": 10}},
        **SMALL,
    }
    return make_recipe({"vocab_size": 400}, **(defaults | data))


def sources(prepared: Prepared, probe: str | None = None) -> list[str]:
    return [p.source for p in (prepared.probes[probe].passages if probe else prepared.examples)]


@pytest.fixture(scope="module")
def prepared(make_recipe: Any) -> Prepared:
    return prepare(prose(make_recipe))


def test_probes_of_a_trained_split_are_what_is_trained_on(prepared: Prepared, make_recipe: Any) -> None:
    assert len(prepared.examples) == 24
    assert sources(prepared, "train") == sources(prepared)
    assert prepared.probes["train"].fingerprint == prepared.provenance["train"]["sha256"]
    fewer = prepare(
        prose(make_recipe, probes={"some": {"of": "prose/train", "count": 5}, "all": {"of": "prose/train"}})
    )
    assert set(sources(fewer, "some")) < set(sources(fewer))
    assert sources(fewer, "all") == sources(fewer)  # not the whole split: 24 of it are trained on


def test_splits_share_no_document(prepared: Prepared) -> None:
    trained, novel = ({s.partition("#")[0] for s in sources(prepared, name)} for name in ("train", "novel"))
    assert not trained & novel


def test_passages_are_the_text_they_say(prepared: Prepared) -> None:
    for passage in [*prepared.examples, *prepared.probes["novel"].passages]:
        assert 8 <= len(passage) <= 32
        pieces = [prepared.tokenizer.backend_tokenizer.id_to_token(i) for i in passage.token_ids.tolist()]
        assert prepared.tokenizer.backend_tokenizer.decoder.decode(pieces) == passage.text


def test_provenance_counts_and_fingerprints(prepared: Prepared) -> None:
    described = json.loads(json.dumps(prepared.provenance))
    corpus = described["corpora"]["prose"]
    assert corpus["kind"] == "python_prose"
    assert len(corpus["sha256"]) == 64
    assert "python" in corpus
    splits = corpus["splits"]
    assert corpus["documents"] == splits["train"]["documents"] + splits["novel"]["documents"]
    assert corpus["characters"] == splits["train"]["characters"] + splits["novel"]["characters"] <= 60_000
    assert described["tokenizer"]["size"] == 400
    assert described["tokenizer"]["trained_on"] == ["prose/train"]
    assert described["train"]["passages"] == 24
    assert described["train"]["tokens"] == sum(map(len, prepared.examples))
    assert described["probes"]["novel"]["of"] == "prose/novel"
    assert described["overlap"][0]["splits"] == ["prose/train", "prose/novel"]


def test_same_recipe_same_result(prepared: Prepared, make_recipe: Any) -> None:
    again = prepare(prose(make_recipe))
    assert again.provenance == prepared.provenance
    assert [p.fingerprint for p in again.examples] == [p.fingerprint for p in prepared.examples]
    other = prepare(prose(make_recipe, split_seed=1))
    assert sources(other) != sources(prepared)


def test_a_tokenizer_that_is_given_is_used(make_recipe: Any, byte_tokenizer: Any) -> None:
    given = prepare(prose(make_recipe), tokenizer=byte_tokenizer)
    assert given.tokenizer is byte_tokenizer
    assert "trained_on" not in given.provenance["tokenizer"]
    assert all(len(p) == len(p.text.encode()) for p in given.examples)


def test_a_tokenizer_that_cannot_pad_is_refused(make_recipe: Any, byte_tokenizer: Any, corpus: Any) -> None:
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer.backend_tokenizer, name_or_path="bare")
    recipe = make_recipe(corpora={"c": corpus}, train=[{"of": "c/train"}], **SMALL)
    with pytest.raises(DataError, match="the tokenizer 'bare' has no pad or end-of-text token: set one"):
        prepare(recipe, tokenizer=bare)


def test_a_tokenizer_is_loaded_by_path(make_recipe: Any, byte_tokenizer: Any, corpus: Any, tmp_path: Path) -> None:
    byte_tokenizer.save_pretrained(tmp_path / "tokenizer")
    recipe = make_recipe(
        {"path": str(tmp_path / "tokenizer")}, corpora={"c": corpus}, train=[{"of": "c/train"}], **SMALL
    )
    loaded = prepare(recipe)
    assert loaded.provenance["tokenizer"]["path"] == str(tmp_path / "tokenizer")
    assert encode(loaded.tokenizer, "abc")[0].tolist() == encode(byte_tokenizer, "abc")[0].tolist()


def test_tokenizer_learns_from_training_splits_alone(make_recipe: Any, tmp_path: Path) -> None:
    """Of a corpus that is not trained on, from its first split. What is held out stays unseen."""
    for i in range(20):
        (tmp_path / f"a{i}.txt").write_text(noise(60, i))
        (tmp_path / f"b{i}.txt").write_text(noise(60, 100 + i))
    corpora = {name: {"kind": "text", "path": f"{tmp_path}/{name}*.txt"} for name in "ab"}
    recipe = make_recipe(
        {"vocab_size": 300}, corpora=corpora, train=[{"of": "a/novel"}], probes={"general": {"of": "b/novel"}}, **SMALL
    )
    assert prepare(recipe).provenance["tokenizer"]["trained_on"] == ["a/novel", "b/train"]


def test_training_twice_on_a_split_repeats_its_passages(make_recipe: Any, corpus: Any, byte_tokenizer: Any) -> None:
    recipe = make_recipe(
        corpora={"c": corpus},
        train=[{"of": "c/train", "count": 10}, {"of": "c/train", "count": 4}],
        probes={"seen": {"of": "c/train"}},
        **SMALL,
    )
    found = prepare(recipe, tokenizer=byte_tokenizer)
    assert len(found.examples) == 14
    assert set(sources(found)[10:]) < set(sources(found)[:10])
    assert sources(found, "seen") == sources(found)[:10]


def test_a_recipe_that_only_looks(make_recipe: Any, corpus: Any, byte_tokenizer: Any) -> None:
    recipe = make_recipe(corpora={"c": corpus}, probes={"novel": {"of": "c/novel", "count": 5}}, **SMALL)
    found = prepare(recipe, tokenizer=byte_tokenizer)
    assert found.examples == []
    assert len(found.probes["novel"]) == 5


def test_a_planted_leak_is_refused_and_accepted_when_allowed(
    make_recipe: Any, corpus: Any, byte_tokenizer: Any, tmp_path: Path
) -> None:
    """Every document once more, with other words around it: no document equals another, yet splits share text."""

    def recipe(**more: Any) -> Any:
        return make_recipe(
            corpora={"c": corpus | more.pop("corpus", {})},
            train=[{"of": "c/train"}],
            probes={"novel": {"of": "c/novel"}},
            **SMALL,
            **more,
        )

    clean = prepare(recipe(), tokenizer=byte_tokenizer)
    assert not clean.provenance["overlap"][0]["leaks"]
    for i in range(60):
        (tmp_path / f"copy{i}.txt").write_text(f"{noise(20, 500 + i)}\n{noise(100, i)}")
    with pytest.raises(DataError, match=r"splits c/train and c/novel share text: .* deduplicate: paragraphs"):
        prepare(recipe(), tokenizer=byte_tokenizer)
    allowed = prepare(recipe(allow_overlap=True), tokenizer=byte_tokenizer)
    assert max(allowed.provenance["overlap"][0]["gram_rate"]) > 0.1
    mended = prepare(recipe(corpus={"deduplicate": "paragraphs"}), tokenizer=byte_tokenizer)
    assert not mended.provenance["overlap"][0]["leaks"]


def test_prose_leaks_unless_paragraphs_are_dropped(make_recipe: Any, byte_tokenizer: Any) -> None:
    whole = {"kind": "python_prose", "deduplicate": "none"}
    with pytest.raises(DataError, match="share text"):
        prepare(prose(make_recipe, corpora={"prose": whole}), tokenizer=byte_tokenizer)


@pytest.mark.slow
def test_both_domains_are_clean_by_default(make_recipe: Any) -> None:
    recipe = make_recipe(
        {"corpora": ["prose"]},
        corpora={"prose": {"kind": "python_prose"}, "code": {"kind": "python_code"}},
        train=[{"of": "prose/train"}, {"of": "code/train"}],
        probes={"novel": {"of": "prose/novel"}, "general": {"of": "code/novel"}},
    )
    prepared = prepare(recipe)
    overlaps = prepared.provenance["overlap"]
    assert len(overlaps) == 6
    assert all(found["exact_passages"] == 0 for found in overlaps)
    assert max(rate for found in overlaps for rate in found["gram_rate"]) < 0.005
    assert prepared.provenance["corpora"]["code"]["characters"] > 6_000_000
    assert len(prepared.tokenizer) == 2048


def error(recipe: Any, tokenizer: Any, **limits: int) -> str:
    with pytest.raises(DataError) as caught:
        prepare(recipe, tokenizer=tokenizer, **limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_limits_of_the_model(make_recipe: Any, corpus: Any, byte_tokenizer: Any) -> None:
    recipe = make_recipe(corpora={"c": corpus}, train=[{"of": "c/train"}], **SMALL)
    assert "has 32 tokens, the model's context holds 31: write data.length: 31 or less" in error(
        recipe, byte_tokenizer, context_length=31
    )
    assert len(prepare(recipe, tokenizer=byte_tokenizer, context_length=32).examples[0]) == 32
    highest = max(int(p.token_ids.max()) for p in prepare(recipe, tokenizer=byte_tokenizer).examples)
    message = error(recipe, byte_tokenizer, vocab_limit=highest)
    assert f"token id {highest} in passage c:" in message
    assert f"the model's vocabulary ends at {highest - 1}" in message
    prepare(recipe, tokenizer=byte_tokenizer, vocab_limit=highest + 1)


def test_too_few_passages_names_the_numbers(make_recipe: Any, corpus: Any, byte_tokenizer: Any) -> None:
    base = {"corpora": {"c": corpus}, **SMALL}
    available = len(prepare(make_recipe(train=[{"of": "c/train"}], **base), tokenizer=byte_tokenizer).examples)
    message = error(make_recipe(train=[{"of": "c/train", "count": 9999}], **base), byte_tokenizer)
    assert (
        f"data.train takes 9999 of c/train, which has {available} passages of 32 tokens: write count: {available}"
        in (message)
    )
    probes = {"seen": {"of": "c/train", "count": 11}}
    message = error(make_recipe(train=[{"of": "c/train", "count": 10}], probes=probes, **base), byte_tokenizer)
    assert "data.probes.seen takes 11 of c/train, which has 10 passages that are trained on" in message


def test_too_little_text(make_recipe: Any, byte_tokenizer: Any, tmp_path: Path) -> None:
    for name, text in (("a", "tiny"), ("b", "small")):
        (tmp_path / f"{name}.txt").write_text(text)
    corpora = {"c": {"kind": "text", "path": f"{tmp_path}/*.txt"}}
    message = error(make_recipe(corpora=corpora, train=[{"of": "c/train"}], **SMALL), byte_tokenizer)
    assert "c/train: 1 document(s) of" in message
    assert "give no passage of 8 tokens" in message
    (tmp_path / "b.txt").write_text("")
    message = error(make_recipe(corpora=corpora, train=[{"of": "c/train"}], **SMALL), byte_tokenizer)
    assert "corpus 'c' has 1 different document(s), not enough for 2 splits" in message
    (tmp_path / "a.txt").write_text("\n")
    message = error(make_recipe(corpora=corpora, train=[{"of": "c/train"}], **SMALL), byte_tokenizer)
    assert "corpus 'c' (text) holds no text" in message


def test_rows_are_trained_on_their_completions(make_recipe: Any, byte_tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"{noise(3, i)}?", "completion": f" {noise(2, 100 + i)}"} for i in range(20)]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpora = {"r": {"kind": "jsonl", "path": str(tmp_path / "r.jsonl")}}
    recipe = make_recipe(corpora=corpora, train=[{"of": "r/train"}], length=64)
    for passage in prepare(recipe, tokenizer=byte_tokenizer).examples:
        learned = bytes(passage.text.encode()[i] for i in range(len(passage) - 1) if passage.supervised[i])
        assert learned.decode() in {row["completion"] for row in rows}
        assert passage.supervised[-1]


def test_chats_need_no_template_for_a_new_tokenizer(make_recipe: Any, tmp_path: Path) -> None:
    chats = [
        {"messages": [{"role": "user", "content": noise(5, i)}, {"role": "assistant", "content": noise(5, 50 + i)}]}
        for i in range(20)
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    corpora = {"r": {"kind": "jsonl", "path": str(tmp_path / "r.jsonl")}}
    found = prepare(make_recipe({"vocab_size": 300}, corpora=corpora, train=[{"of": "r/train"}], length=128))
    assert found.examples[0].text.startswith("user: w")
    assert 0 < found.examples[0].supervised.sum() < len(found.examples[0])


def test_slow_stages_are_announced(make_recipe: Any, corpus: Any) -> None:
    announced: list[str] = []
    recipe = make_recipe({"vocab_size": 300}, corpora={"c": corpus}, train=[{"of": "c/train"}], **SMALL)
    prepare(recipe, announce=announced.append)
    assert [line.split()[0] for line in announced] == ["reading", "training", "tokenizing", "looking"]


def test_the_given_tokenizer_is_left_as_it_was(make_recipe: Any, corpus: Any, byte_tokenizer: Any) -> None:
    before = copy.deepcopy(byte_tokenizer).backend_tokenizer.to_str()
    prepare(make_recipe(corpora={"c": corpus}, train=[{"of": "c/train"}], **SMALL), tokenizer=byte_tokenizer)
    assert byte_tokenizer.backend_tokenizer.to_str() == before
