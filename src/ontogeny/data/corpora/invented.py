"""Text made by stated rules: verse, equations, random letters; each document as often as asked."""

# ruff: noqa: SIM905 (lists of words read better as one line)

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Document
from ontogeny.core.seeds import derive_seed
from ontogeny.data.documents import DescribedCorpus

RHYMES = (
    "night light sight flight bright".split(),
    "stone bone alone thrown unknown".split(),
    "rain plain lane grain again".split(),
    "sea free tree key bee".split(),
    "day way clay grey stay".split(),
    "hill still mill chill until".split(),
    "fire choir wire spire higher".split(),
    "snow slow below grow crow".split(),
)
"""Verse ends in these; words of one list rhyme."""
_OPENINGS = "The A My Your Our No Each One".split()
_QUALITIES = "silver hollow golden bitter patient broken distant open narrow ancient".split()
_THINGS = "window river candle garden traveller shadow hammer harbour letter meadow".split()
_DEEDS = "remembers follows carries answers borrows gathers measures forgives uncovers abandons".split()
_LINKS = "beyond beside before beneath towards against without behind".split()
_OTHERWISE = dict(
    zip(
        (*_QUALITIES, *_THINGS, *_DEEDS, *_LINKS),
        (
            "silvery empty gilded acrid enduring cracked faraway unclosed slim age-old "
            "pane stream taper orchard wanderer shade mallet port note field "
            "recalls trails replies bears lends collects gauges pardons reveals deserts "
            "past near ahead under unto opposing lacking after"
        ).split(),
        strict=True,
    )
)
"""A word of about the same meaning for each."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Invented(DescribedCorpus):
    """Documents of one form, drawn from a seed; none of them exists anywhere else.

    `verse`: quatrains that rhyme ABAB, each line *opening quality thing deed link the rhyme*. `equations`: true
    statements, one per line: products and sums of integers, expanded products of binomials, derivatives of monomials.
    `random`: words of one to eight letters, lengths and letters uniform: nothing to learn but by heart.

    With several `repeats`, the documents take these in turn, and are repeated so often; equal documents always fall
    into the same split, so a model that trains on it sees a document exactly that often in an epoch.
    """

    form: Literal["verse", "equations", "random"]
    """What kind of text."""
    seed: int = 0
    """Decides every document."""
    documents_count: int = Field(default=100, ge=1)
    """How many different documents."""
    lines: int = Field(default=24, ge=4)
    """Lines of a document."""
    repeats: tuple[int, ...] = Field(default=(1,), min_length=1)
    """How often a document stands in the corpus: 1, or several numbers that documents take in turn."""

    def documents(self) -> Iterator[Document]:
        """All documents, shuffled by the seed."""
        made = []
        for i in range(self.documents_count):
            copies = self.repeats[i % len(self.repeats)]
            text = self.text(i)
            name = f"{self.form}-{i}-x{copies}"
            made += [Document(text=text, source=f"{name}/{copy}" if copies > 1 else name) for copy in range(copies)]
        order = np.random.default_rng(derive_seed(self.seed, "invented", self.form, "order")).permutation(len(made))
        for i in order:
            yield made[i]

    def origin(self) -> Mapping[str, Any]:
        """How many documents have how many copies."""
        counts = [self.repeats[i % len(self.repeats)] for i in range(self.documents_count)]
        return {"copies": {str(one): counts.count(one) for one in sorted(set(counts))}}

    def reworded(self, document: str, text: str) -> str | None:
        """Verse with other words for all but the rhymes; whole equations with their sides exchanged."""
        if self.form == "random":
            return None
        otherwise = _sung_otherwise if self.form == "verse" else _turned
        return "".join(otherwise(line) for line in text.splitlines(keepends=True))

    def text(self, number: int) -> str:
        """One document."""
        random = np.random.default_rng(derive_seed(self.seed, "invented", self.form, number))
        if self.form == "verse":
            return "\n".join(_quatrain(random) for _ in range(-(-self.lines // 4)))
        line = _equation if self.form == "equations" else _letters
        return "".join(f"{line(random)}\n" for _ in range(self.lines))


def _quatrain(random: np.random.Generator) -> str:
    pair = random.permutation(len(RHYMES))[:2]
    first, second = (random.permutation(RHYMES[i])[:2] for i in pair)
    ends = (first[0], second[0], first[1], second[1])
    return "".join(f"{_line(random)} the {end}\n" for end in ends)


def _line(random: np.random.Generator) -> str:
    return " ".join(
        str(words[random.integers(len(words))]) for words in (_OPENINGS, _QUALITIES, _THINGS, _DEEDS, _LINKS)
    )


def _equation(random: np.random.Generator) -> str:
    a, b = (int(one) for one in random.integers(2, 1000, 2))
    kind = int(random.integers(4))
    if kind == 0:
        return f"{a} * {b} = {a * b}"
    if kind == 1:
        return f"{a} + {b} - {a // 2} = {a + b - a // 2}"
    a, b = a % 40 + 1, b % 40 + 1
    if kind == 2:
        return f"(x + {a})(x - {b}) = x^2 {'+' if a >= b else '-'} {abs(a - b)}x - {a * b}"
    power = b % 7 + 2
    return f"d/dx {a}x^{power} = {a * power}x^{power - 1}"


def _sung_otherwise(line: str) -> str:
    return re.sub(r"[\w-]+", lambda match: _OTHERWISE.get(match[0], match[0]), line)


def _turned(line: str) -> str:
    """As it is, if it was cut before its end or is only the end of one."""
    left, equals, right = line.removesuffix("\n").partition(" = ")
    return f"{right} = {left}\n" if equals and line.endswith("\n") else line


def _letters(random: np.random.Generator) -> str:
    words = ("".join(_LETTERS[i] for i in random.integers(0, 26, random.integers(1, 9))) for _ in range(10))
    return " ".join(words)
