import numpy as np
import pytest

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.data.splits import choose, split_documents
from tests.data.conftest import documents

SHARES = {"train": 0.8, "novel": 0.2}


def passage(number: int, source: str = "by hand") -> Passage:
    return Passage(
        text="x",
        token_ids=np.array([number], dtype=np.int32),
        byte_offsets=np.array([0, 1], dtype=np.int32),
        source=source,
        supervised=np.array([True]),
    )


def placed(texts: list[str], seed: int = 0, shares: dict[str, float] = SHARES) -> dict[str, str]:
    """Text -> name of its split."""
    splits = split_documents(documents(*texts), shares, seed, "c")
    return {texts[i]: name for name, indices in splits.items() for i in indices}


def texts(count: int, seed: int = 0) -> list[str]:
    sizes = np.random.default_rng(seed).lognormal(6, 1, count).astype(int) + 1
    return [f"{i:06d}" + "x" * int(size) for i, size in enumerate(sizes)]


def test_every_document_is_in_one_split_in_order() -> None:
    splits = split_documents(documents(*texts(50)), SHARES, 0, "c")
    assert sorted(splits["train"] + splits["novel"]) == list(range(50))
    assert all(indices == sorted(indices) for indices in splits.values())


def test_shares_are_met_by_characters() -> None:
    given = texts(300)
    for seed in range(5):
        where = placed(given, seed)
        share = sum(len(t) for t in given if where[t] == "novel") / sum(map(len, given))
        # The cut falls in the middle of a document at worst: half the largest one.
        assert abs(share - 0.2) <= max(map(len, given)) / 2 / sum(map(len, given)) + 1e-9


def test_shares_below_one_leave_documents_out() -> None:
    where = placed(texts(300), shares={"train": 0.5, "novel": 0.1})
    left = 300 - len(where)
    assert 60 < left < 180  # 40% of the characters, so about 120 documents


def test_seed_decides_and_content_alone() -> None:
    given = texts(60)
    assert placed(given, 1) == placed(given, 1) == placed(given[::-1], 1)
    assert placed(given, 1) != placed(given, 2)


def test_a_document_added_moves_few_others() -> None:
    given = texts(200)
    before, after = placed(given), placed([*given, "something new" * 40])
    assert sum(before[t] != after[t] for t in given) <= 3
    # Splitting by place instead would move a fifth.


def test_equal_documents_stay_together() -> None:
    given = [text for text in texts(40) for _ in range(3)]
    splits = split_documents(documents(*given), SHARES, 0, "c")
    of = {name: {given[i] for i in indices} for name, indices in splits.items()}
    assert not of["train"] & of["novel"]


def test_every_split_gets_a_document_even_if_one_is_huge() -> None:
    for seed in range(6):
        assert set(placed(["a", "b" * 1000], seed).values()) == {"train", "novel"}


def test_too_few_documents_names_the_numbers() -> None:
    with pytest.raises(
        DataError, match=r"corpus 'c' has 1 different document\(s\), not enough for 2 splits \(train, nov"
    ):
        split_documents(documents("a", "a"), SHARES, 0, "c")


def test_choice_is_random_fixed_and_nested() -> None:
    passages = [passage(i) for i in range(100)]
    ten, twenty = choose(passages, 10, 0), choose(passages, 20, 0)
    assert ten == choose(passages, 10, 0)
    assert set(ten) < set(twenty)
    assert ten == sorted(ten)
    assert ten != choose(passages, 10, 1)
    assert choose(passages, None, 0) == choose(passages, 100, 0) == list(range(100))


def test_choice_does_not_depend_on_where_passages_stand() -> None:
    passages = [passage(i) for i in range(100)]
    ids = {int(passages[i].token_ids[0]) for i in choose(passages, 10, 0)}
    backwards = passages[::-1]
    assert {int(backwards[i].token_ids[0]) for i in choose(backwards, 10, 0)} == ids


def test_copies_are_chosen_one_by_one() -> None:
    passages = [passage(7)] * 50 + [passage(i) for i in range(100, 150)]
    chosen = choose(passages, 50, 0)
    # 50 of 100 at random: 25 copies expected, standard deviation 2.5 (hypergeometric). All or none would be a defect.
    assert 12 < sum(i < 50 for i in chosen) < 38


def test_spread_takes_one_passage_of_each_document_before_a_second() -> None:
    """Documents a, b, c with 30, 3 and 1 passages: 3 are one of each, 5 are 2 + 2 + 1, and 8 are 4 + 3 + 1."""
    sizes = {"a": 30, "b": 3, "c": 1}
    passages = [passage(i, f"x:{name}#{i}") for name in sizes for i in range(sizes[name])]
    of = [source.source[2] for source in passages]
    counts = {
        n: [[of[i] for i in choose(passages, n, 0, spread=True)].count(name) for name in "abc"] for n in (3, 5, 8)
    }
    assert counts == {3: [1, 1, 1], 5: [2, 2, 1], 8: [4, 3, 1]}
    assert set(choose(passages, 3, 0, spread=True)) < set(choose(passages, 8, 0, spread=True))
    assert choose(passages, 3, 0, spread=True) != choose(passages, 3, 1, spread=True)
    assert choose(passages, None, 0, spread=True) == list(range(34))
    # not spread: 8 of 34 by chance leave c out in 26 of 34 cases
    assert "c" not in {of[i] for i in choose(passages, 8, 0)}
