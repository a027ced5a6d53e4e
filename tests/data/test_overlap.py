"""Leaks planted in random words, and clean twins."""

import random
from typing import Any

import numpy as np
import pytest

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.data.overlap import check, compare, split_text
from ontogeny.data.passages import cut
from tests.data.conftest import documents


def noise(count: int, seed: int) -> str:
    """Random words out of 5000: two texts share no run of 13."""
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(5000)}" for _ in range(count))


def passage(text: str, source: str, supervised: slice = slice(None)) -> Passage:
    """A token a byte."""
    content = text.encode()
    mask = np.zeros(len(content), dtype=bool)
    mask[supervised] = True
    return Passage(
        text=text,
        token_ids=np.frombuffer(content, dtype=np.uint8).astype(np.int32),
        byte_offsets=np.arange(len(content) + 1, dtype=np.int32),
        source=source,
        supervised=mask,
    )


def whole(*texts: str, name: str = "c") -> list[Passage]:
    return [passage(text, f"{name}:d{i}#0") for i, text in enumerate(texts)]


def test_noise_shares_nothing() -> None:
    found = compare(split_text("c/a", whole(noise(3000, 0))), split_text("c/b", whole(noise(3000, 1))))
    assert (found.exact, found.rate_first, found.rate_second) == (0, 0.0, 0.0)
    assert found.examples == ()
    assert not found.leaks


def test_rates_are_shares_of_13_word_sequences() -> None:
    # 20 words in common: 8 sequences. The first text has 20 + 92 = 112 words, 100 sequences; the second 20 + 192, 200.
    common = noise(20, 9)
    found = compare(
        split_text("c/a", whole(f"{common} {noise(92, 0)}")), split_text("c/b", whole(f"{noise(192, 1)} {common}"))
    )
    assert (found.grams_first, found.grams_second) == (100, 200)
    assert (found.rate_first, found.rate_second) == (8 / 100, 8 / 200)
    assert found.examples[0] == " ".join(common.split()[:13])
    assert found.leaks


def test_twelve_words_in_common_are_none() -> None:
    common = noise(12, 9)
    found = compare(
        split_text("c/a", whole(f"{common} {noise(90, 0)}")), split_text("c/b", whole(f"{noise(90, 1)} {common}"))
    )
    assert (found.rate_first, found.rate_second) == (0.0, 0.0)


def test_case_punctuation_and_line_breaks_hide_nothing() -> None:
    text = noise(30, 9)
    shouted = text.upper().replace(" ", ",\n  ")
    found = compare(split_text("c/a", whole(text)), split_text("c/b", whole(shouted)))
    assert (found.exact, found.rate_first, found.rate_second) == (0, 1.0, 1.0)


def test_a_leak_across_the_cuts_of_passages_is_found(byte_tokenizer: Any, make_data: Any) -> None:
    # Passages of 32 bytes hold about 6 words, none a sequence of 13; together they do.
    text = noise(200, 9)
    data = make_data(length=32)
    first, second = (cut(documents(given), byte_tokenizer, data, "c") for given in (text, f"x {text}"))
    found = compare(split_text("c/a", first), split_text("c/b", second))
    assert found.exact == 0
    assert found.rate_first > 0.9
    twin = compare(
        split_text("c/a", first), split_text("c/b", cut(documents(noise(200, 1)), byte_tokenizer, data, "c"))
    )
    assert (twin.grams_second, twin.rate_first) == (188, 0.0)


def test_passages_that_do_not_follow_each_other_are_not_joined() -> None:
    # 7 + 7 words: a sequence of 13 only if they were one text.
    parts = [noise(7, 1), noise(7, 2)]
    apart = split_text("c/a", [passage(parts[0], "c:d#0"), passage(parts[1], "c:d#999")])
    assert len(apart.grams) == 0
    joined = split_text("c/a", [passage(parts[0] + " ", "c:d#0"), passage(parts[1], f"c:d#{len(parts[0]) + 1}")])
    assert len(joined.grams) == 2


def test_equal_passages_are_counted() -> None:
    same = "too short for a sequence"
    found = compare(split_text("c/a", whole(same, "a", same)), split_text("c/b", whole("b", same)))
    assert found.exact == 1
    assert found.leaks
    assert found.examples == (same,)


def test_a_prompt_that_every_row_repeats_is_no_leak() -> None:
    prompt = noise(40, 5) + " "
    given = slice(len(prompt), None)
    first, second = (
        [passage(prompt + noise(30, seed + i), f"c:r{seed + i}#0", given) for i in range(20)] for seed in (100, 200)
    )
    found = compare(split_text("c/a", first), split_text("c/b", second))
    assert found.grams_first == 20 * 18
    assert found.rate_first == 0.0
    whole_rows = compare(
        split_text("c/a", whole(*(p.text for p in first))), split_text("c/b", whole(*(p.text for p in second)))
    )
    assert whole_rows.rate_first > 0.3  # the same rows as plain text


def test_a_split_that_is_trained_on_must_not_leak() -> None:
    leaked = {"c/train": whole(noise(500, 0), noise(500, 1)), "c/novel": whole(noise(500, 2), noise(500, 1))}
    with pytest.raises(DataError) as caught:
        check(leaked, ["c/train"], allow=False)
    message = str(caught.value)
    assert "splits c/train and c/novel share text: 1 equal passage(s); 50.00% of the 13-word sequences" in message
    assert noise(500, 1)[:30] in message
    assert "deduplicate: paragraphs" in message
    assert "allow_overlap: true" in message
    assert "\n" not in message
    (found,) = check(leaked, ["c/train"], allow=True)
    assert (found.exact, found.rate_second) == (1, 0.5)
    clean = {"c/train": leaked["c/train"], "c/novel": whole(noise(500, 2), noise(500, 3))}
    assert [o.leaks for o in check(clean, ["c/train"], allow=False)] == [False]


def test_only_what_was_trained_on_and_held_out_can_leak() -> None:
    same = whole(noise(100, 0))
    for trained in ([], ["c/a", "c/b"]):
        (found,) = check({"c/a": same, "c/b": same}, trained, allow=False)
        assert found.leaks


def test_a_rate_of_one_percent_is_still_accepted() -> None:
    # One sequence in common among 100 and 300: 1% and 0.33%. Two more words: 3 in 102.
    for extra, refused in ((0, False), (2, True)):
        common = noise(13 + extra, 9)
        splits = {"c/a": whole(f"{common} {noise(99, 0)}"), "c/b": whole(f"{noise(299, 1)} {common}")}
        (found,) = check(splits, [], allow=False)
        assert found.rate_first == (1 + extra) / (100 + extra)
        assert found.leaks == refused


def test_every_pair_is_compared() -> None:
    splits = {name: whole(noise(50, i)) for i, name in enumerate(["c/a", "c/b", "d/a"])}
    assert [(o.first, o.second) for o in check(splits, ["c/a"], allow=False)] == [
        ("c/a", "c/b"),
        ("c/a", "d/a"),
        ("c/b", "d/a"),
    ]


def test_as_json_is_plain() -> None:
    import json

    (found,) = check({"c/a": whole(noise(20, 0)), "c/b": whole("x")}, [], allow=False)
    content = json.loads(json.dumps(found.as_json()))
    assert content["splits"] == ["c/a", "c/b"]
    assert content["grams"] == [8, 0]
    assert content["gram_rate"] == [0.0, 0.0]


def test_documents_of_rows_reach_the_check(byte_tokenizer: Any, make_data: Any) -> None:
    row = Document(text="Q A", source="rows:1", completion_spans=((1, 3),))
    first, second = (cut([row], byte_tokenizer, make_data(length=16), name) for name in ("c", "d"))
    with pytest.raises(DataError, match="1 equal passage"):
        check({"c/train": first, "d/novel": second}, ["c/train"], allow=False)
