"""Invented text keeps its own rules."""

import re
from collections import Counter

import numpy as np
import pytest

from ontogeny.data.corpora.invented import RHYMES, Invented


def test_verse_rhymes_abab() -> None:
    for number in range(5):
        text = Invented(form="verse", lines=12).text(number)
        for quatrain in text.strip().split("\n\n"):
            a, b, c, d = (line.split()[-1] for line in quatrain.splitlines())
            family = {word: i for i, words in enumerate(RHYMES) for word in words}
            assert family[a] == family[c] != family[b] == family[d]
            assert a != c
            assert b != d


def value(term: str, x: int) -> int:
    """An expression at x, by python's own arithmetic on digits, x, signs and powers alone."""
    assert re.fullmatch(r"[\dx+\-*^() ]+", term), term
    spelled = re.sub(r"(\d)x", r"\1*x", term).replace("^", "**").replace(")(", ")*(")
    return int(eval(spelled, {"__builtins__": {}}, {"x": x}))


def test_equations_are_true() -> None:
    lines = [line for number in range(20) for line in Invented(form="equations").text(number).splitlines()]
    for line in lines:
        left, right = line.split(" = ")
        if left.startswith("d/dx "):
            a, power = (int(one) for one in re.fullmatch(r"d/dx (\d+)x\^(\d+)", left).groups())  # type: ignore[union-attr]
            assert right == f"{a * power}x^{power - 1}"
        else:
            assert [value(left, x) for x in (2, 5)] == [value(right, x) for x in (2, 5)]
    assert sum("d/dx" in line for line in lines) > 50


def test_random_letters_are_uniform() -> None:
    """About 26 * 830 letters: each count within 5 sd of its expectation."""
    text = "".join(Invented(form="random", lines=400).text(0).split())
    counts = np.array(list(Counter(text).values()))
    expected = len(text) / 26
    assert len(counts) == 26
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_repeats_in_turn() -> None:
    corpus = Invented(form="random", documents_count=6, repeats=(1, 4))
    texts = Counter(one.text for one in corpus.documents())
    assert sorted(texts.values()) == [1, 1, 1, 4, 4, 4]
    assert corpus.origin() == {"copies": {"1": 3, "4": 3}}
    assert all(("-x4/" in one.source) == (texts[one.text] == 4) for one in corpus.documents())


@pytest.mark.parametrize("form", ["verse", "equations", "random"])
def test_documents_are_a_function_of_the_seed(form: str) -> None:
    one, two = ([d.text for d in Invented(form=form, documents_count=5).documents()] for _ in range(2))
    other = [d.text for d in Invented(form=form, documents_count=5, seed=1).documents()]
    assert one == two
    assert not set(one) & set(other)
    assert len(set(one)) == 5
