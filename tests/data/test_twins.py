"""Twins of passages: in another form, beside their originals."""

import json
from pathlib import Path

import pytest

from ontogeny.core.errors import DataError, RecipeError
from ontogeny.core.recipe_file import load_recipe
from ontogeny.data.corpora.invented import Invented
from ontogeny.data.corpora.synthetic import Synthetic
from ontogeny.data.prepare import Prepared, prepare
from ontogeny.data.twins import swap_words

RECIPE = """
name: twins
data:
  corpora:
    verse: {{kind: invented, form: {form}, documents_count: 30, lines: 4}}
  splits: {{train: 0.5, novel: 0.5}}
  length: {length}
  min_length: 4
  train: [{{of: verse/train}}]
  probes:
    train: {{of: verse/train, count: 5}}
  twins:
    other: {{of: train, {twins}}}
model: {{kind: ladder, size: pico}}
train: {{steps: 1, batch: 4}}
"""


def _prepared(folder: Path, twins: str, form: str = "verse") -> Prepared:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(twins=twins, form=form, length=128), encoding="utf-8")
    return prepare(load_recipe(path))


def test_all_pairs_of_words_change_places() -> None:
    assert swap_words("one two\n three  four five ", 1.0, 0) == "two one\n four  three five "


def test_some_pairs_change_places_the_same_ones_each_time() -> None:
    text = " ".join(f"w{i}" for i in range(200))
    once = swap_words(text, 0.3, 1)
    assert once == swap_words(text, 0.3, 1) != swap_words(text, 0.3, 2)
    moved = sum(a != b for a, b in zip(text.split(), once.split(), strict=True)) // 2
    assert 15 <= moved <= 45  # 30 of 100 pairs expected, standard deviation 4.6
    assert sorted(text.split()) == sorted(once.split())


@pytest.mark.parametrize("text", ["", " ", "alone", "  two words"])
def test_short_texts(text: str) -> None:
    assert len(swap_words(text, 1.0, 0)) == len(text)


def test_a_verse_in_other_words_keeps_its_rhymes() -> None:
    corpus = Invented(form="verse", documents_count=3, lines=4)
    for document in corpus.documents():
        other = corpus.reworded(document.source, document.text)
        assert other is not None
        for line, twin in zip(document.text.splitlines(), other.splitlines(), strict=True):
            words, others = line.split(), twin.split()
            assert [words[0], *words[-2:]] == [others[0], *others[-2:]]
            assert all(a != b for a, b in zip(words[1:-2], others[1:-2], strict=True))


def test_reworded_equations_are_the_same_ones_turned() -> None:
    corpus = Invented(form="equations", documents_count=2, lines=4)
    document = next(iter(corpus.documents()))
    other = corpus.reworded(document.source, document.text)
    assert other is not None
    assert [line.split(" = ")[::-1] for line in other.splitlines()] == [
        line.split(" = ") for line in document.text.splitlines()
    ]


def test_cut_lines_stay_as_they_are() -> None:
    """The end of a line that is cut has its words exchanged; a part of an equation is no equation."""
    assert Invented(form="verse").reworded("verse-0-x1", "er garden\nThe silver ") == "er orchard\nThe silvery "
    assert Invented(form="equations").reworded("equations-0-x1", "2 = 3\n1 + 1 = 2\n4 * ") == "3 = 2\n2 = 1 + 1\n4 * "


def test_reworded_facts_are_the_same_facts() -> None:
    corpus = Synthetic(people=3)
    for i, facts in enumerate(corpus.facts()):
        text = next(one.text for one in corpus.documents() if one.source == f"person-{i}/0")
        other = corpus.reworded(f"person-{i}/0", text)
        assert other is not None
        assert all(facts[key] in other for key in ("name", "year", "trade", "school", "home", "born_in"))
        assert other != text
        assert corpus.reworded(f"person-{i}/0", text[:40]) is None


def test_letters_and_canaries_cannot_be_said_otherwise() -> None:
    assert Invented(form="random", documents_count=1).reworded("random-0-x1", "a b") is None
    assert Synthetic(canaries=1).reworded("canary-0-x1/0", "a") is None


def test_twins_stand_beside_their_originals(tmp_path: Path) -> None:
    prepared = _prepared(tmp_path, "by: reworded")
    original, twin = prepared.probes["train"].passages, prepared.probes["other"].passages
    assert [one.source for one in original] == [one.source for one in twin]
    assert all(
        a.text != b.text and a.text.split()[-1] == b.text.split()[-1] for a, b in zip(original, twin, strict=True)
    )
    assert prepared.provenance["probes"]["other"]["twins_of"] == "train"


def test_twins_from_a_file(tmp_path: Path) -> None:
    originals = _prepared(tmp_path, "by: swapped").probes["train"].passages
    lines = [json.dumps({"text": one.text, "twin": f"Other {i}"}) for i, one in enumerate(originals)]
    path = tmp_path / "twins.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    made = _prepared(tmp_path, f"by: file, path: '{path}'").probes["other"].passages
    assert [one.text for one in made] == [f"Other {i}" for i in range(5)]
    path.write_text("\n".join(lines[1:]), encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.twins\.other: the passage verse:.* has no twin in"):
        _prepared(tmp_path, f"by: file, path: '{path}'")
    path.write_text("no json", encoding="utf-8")
    with pytest.raises(DataError, match=r"twins\.jsonl, line 1: not JSON in UTF-8"):
        _prepared(tmp_path, f"by: file, path: '{path}'")
    path.write_text('{"text": "a"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"twins\.jsonl, line 1: not a line of"):
        _prepared(tmp_path, f"by: file, path: '{path}'")


def test_what_has_no_twin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be said in other words: invented knows none"):
        _prepared(tmp_path, "by: reworded", "random")


def test_twins_of_an_unknown_set_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        RECIPE.format(twins="by: swapped", form="verse", length=128).replace("of: train, by", "of: trian, by")
    )
    with pytest.raises(RecipeError, match="unknown probe set 'trian'"):
        load_recipe(path)
