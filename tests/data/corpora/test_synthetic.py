from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from ontogeny.data.corpora.synthetic import Synthetic
from ontogeny.data.documents import corpus_fingerprint
from ontogeny.data.prepare import prepare


def test_every_fact_of_every_person_is_told() -> None:
    corpus = Synthetic(people=30, wordings=4)
    told = {d.source: d.text for d in corpus.documents()}
    assert len(told) == 120
    for i, person in enumerate(corpus.facts()):
        for wording in range(4):
            for fact in ("name", "born_in", "year", "trade", "school", "home"):
                assert person[fact] in told[f"person-{i}/{wording}"]
    assert len({person["name"] for person in corpus.facts()}) == 30


def test_canaries_occur_as_often_as_they_should() -> None:
    corpus = Synthetic(people=5, canaries=2, repeats=(1, 3, 10), digits=6)
    texts = Counter(d.text for d in corpus.documents())
    planted = corpus.planted()
    assert [c.repeats for c in planted] == [1, 1, 3, 3, 10, 10]
    for canary in planted:
        assert texts[f"{canary.prefix}{canary.secret}.\n"] == canary.repeats
        assert len(canary.secret) == 12  # six digits, a space before each
    assert len({c.prefix for c in planted}) == 6
    assert sum(texts.values()) == 5 + 28
    assert corpus.origin()["candidates"] == 10**6
    assert sorted(corpus.origin()["canaries"].values()) == [1, 1, 3, 3, 10, 10]


def test_secrets_are_uniform() -> None:
    secrets = "".join(c.secret for c in Synthetic(canaries=100, repeats=(1,), digits=9).planted())
    # 900 digits: each expected 90 times, standard deviation sqrt(900 * 0.09) = 9.
    assert all(abs(secrets.count(digit) - 90) < 4 * 9 for digit in "0123456789")


def test_seed_decides() -> None:
    first, again, other = (corpus_fingerprint(Synthetic(seed=s, canaries=1).documents()) for s in (0, 0, 1))
    assert first == again != other


def test_changing_the_canaries_leaves_the_people_alone() -> None:
    assert Synthetic(people=10).facts() == Synthetic(people=10, canaries=3).facts()


def test_splits_do_not_leak_and_keep_copies_together(make_recipe: Any) -> None:
    corpus = {"kind": "synthetic", "people": 100, "canaries": 4, "repeats": [1, 2, 8]}
    recipe = make_recipe(
        corpora={"s": corpus}, train=[{"of": "s/train"}], probes={"novel": {"of": "s/novel"}}, min_length=8
    )
    prepared = prepare(recipe)
    (found,) = prepared.provenance["overlap"]
    assert not found["leaks"]
    trained = Counter(p.text for p in prepared.examples)
    assert all(trained[f"{c.prefix}{c.secret}.\n"] in (0, c.repeats) for c in Synthetic(**_python(corpus)).planted())


def _python(corpus: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in corpus.items() if key != "kind"}


def test_impossible_settings() -> None:
    with pytest.raises(ValidationError, match="repeats needs numbers of 1 or more"):
        Synthetic(repeats=(0, 1))
    with pytest.raises(ValidationError, match="6000 canaries for each of 1 repeats: at most 5832 in all"):
        Synthetic(canaries=6000, repeats=(1,))
