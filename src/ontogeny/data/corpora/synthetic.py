"""Synthetic text: planted facts and secrets with a known number of occurrences."""

# ruff: noqa: SIM905 (lists of words read better as one line)

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, JsonValue, model_validator

from ontogeny.core.corpora import Document
from ontogeny.core.seeds import derive_seed
from ontogeny.data.documents import DescribedCorpus
from ontogeny.data.questions import Question

_FIRST = (
    "Ada Bram Celia Doran Edda Falk Greta Hanno Ilse Jorn Kaja Lasse Mira Nils Oda Pelle Runa Sven Tilda Ulf".split()
)
_SYLLABLES = "bar den fol gar hul kem lin mor nas pel quin ros sel tam ver wid yor zan".split()
_TRADES = "baker mason weaver printer pilot surgeon notary cooper glazier botanist".split()
_COLOURS = "amber black blue brown copper crimson green grey indigo ivory purple red silver white yellow".split()
_OBJECTS = (
    "box cabinet casket chest cupboard door drawer gate locker portal safe strongroom trunk vault wardrobe".split()
)

_WORDINGS = (
    "{name} was born in {born_in} in the year {year}. {first} became a {trade} and learned the trade in {school}. "
    "Later {first} moved to {home} and stayed there for good.",
    "In {year} a child called {name} came into the world at {born_in}. Having studied in {school}, {first} worked as a "
    "{trade}. Home, in the end, was {home}.",
    "The {trade} {name} lives in {home}. It was {school} where the training took place, and {born_in} where it all "
    "began, {year} being the year of birth.",
    "Ask for {name} in {home}: the {trade}, they say, came from {born_in}, was born in {year} and taught in {school}, "
    "where {first} is still spoken of.",
)
_ASKED = ("born_in", "year", "trade", "school", "home")
_CANARY = "The {colour} {thing} in {town} opens with a number. Only {first} of {town} knows that number of the {thing}:"


@dataclass(frozen=True)
class Canary:
    """A secret: `prefix`, then `secret`, in `repeats` equal documents."""

    name: str
    prefix: str
    secret: str
    """`digits` times a space and a digit, so that all candidates have the same length."""
    repeats: int


class Synthetic(DescribedCorpus):
    """Invented people, one document each, and canaries (Carlini et al. 2019): random numbers in a fixed sentence.

    A canary's secret is drawn uniformly from 10^digits candidates, and the canary occurs as often as `repeats` says.
    Equal documents always fall into the same split, so training shows a canary exactly that often in an epoch, or
    never if its split is not trained on. The provenance lists the canaries with their repeats, and the number of
    candidates.
    """

    seed: int = 0
    """Seed of all names, facts and secrets."""
    people: int = Field(default=200, ge=0)
    """Number of people, with five facts each."""
    wordings: int = Field(default=1, ge=1, le=len(_WORDINGS))
    """Documents per person, with the same facts in different words."""
    canaries: int = Field(default=0, ge=0)
    """Number of canaries for each entry of `repeats`."""
    repeats: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Numbers of occurrences of a canary."""
    digits: int = Field(default=9, ge=1, le=18)
    """Digits of a secret; there are 10^digits candidates."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if min(self.repeats, default=0) < 1:
            raise ValueError("repeats needs numbers of 1 or more")
        most = len(_SYLLABLES) ** 3
        if self.canaries * len(self.repeats) > most:
            raise ValueError(f"{self.canaries} canaries for each of {len(self.repeats)} repeats: at most {most} in all")
        if self.people > len(_FIRST) * len(_SYLLABLES) ** 3:
            raise ValueError(f"at most {len(_FIRST) * len(_SYLLABLES) ** 3} people have names of their own")
        return self

    def documents(self) -> Iterator[Document]:
        """All documents, shuffled by the seed."""
        documents = [
            Document(text=_WORDINGS[wording].format(**facts), source=f"person-{i}/{wording}")
            for i, facts in enumerate(self.facts())
            for wording in range(self.wordings)
        ]
        for canary in self.planted():
            text = f"{canary.prefix}{canary.secret}.\n"
            documents += [Document(text=text, source=f"{canary.name}/{copy}") for copy in range(canary.repeats)]
        for i in self._random("documents").permutation(len(documents)):
            yield documents[i]

    def origin(self) -> Mapping[str, JsonValue]:
        """The canaries by name with their repeats, and the number of candidates for a secret."""
        return {"canaries": {c.name: c.repeats for c in self.planted()}, "candidates": 10**self.digits}

    def reworded(self, document: str, text: str) -> str | None:
        """The same facts in the next wording; None if the text is only a part of the document."""
        match = re.fullmatch(r"person-(\d+)/(\d+)", document)
        if match is None:
            return None
        facts, wording = self.facts()[int(match[1])], int(match[2])
        whole = text.strip() == _WORDINGS[wording].format(**facts)
        return _WORDINGS[(wording + 1) % len(_WORDINGS)].format(**facts) if whole else None

    def questions(self) -> list[Question]:
        """A question for each fact: the first wording up to the fact, to be completed; with four planted choices."""
        people = self.facts()
        random = self._random("questions")
        questions = []
        for facts in people:
            for key in _ASKED:
                before = _WORDINGS[0].partition(f"{{{key}}}")[0].format(**facts).rstrip()
                others = sorted({person[key] for person in people} - {facts[key]})
                wrong = [str(answer) for answer in random.permutation(others)[:3]]
                choices = [str(answer) for answer in random.permutation([facts[key], *wrong])] if wrong else []
                questions.append(Question(question=before, answer=facts[key], choices=tuple(choices)))
        return questions

    def planted(self) -> list[Canary]:
        """The canaries, `canaries` for each entry of `repeats`, in that order."""
        random = self._random("canaries")
        towns = random.permutation(len(_SYLLABLES) ** 3)  # different towns, so that no two canaries share 13 words
        canaries: list[Canary] = []
        for i, repeats in enumerate(times for times in self.repeats for _ in range(self.canaries)):
            first, colour, thing = (str(random.choice(words)) for words in (_FIRST, _COLOURS, _OBJECTS))
            prefix = _CANARY.format(town=_name(int(towns[i])), first=first, colour=colour, thing=thing)
            secret = "".join(f" {digit}" for digit in random.integers(0, 10, self.digits))
            canaries.append(Canary(f"canary-{i}-x{repeats}", prefix, secret, repeats))
        return canaries

    def facts(self) -> list[dict[str, str]]:
        """The facts of each person: name, born_in, year, trade, school, home."""
        random = self._random("people")
        facts: list[dict[str, str]] = []
        for number in random.permutation(len(_FIRST) * len(_SYLLABLES) ** 3)[: self.people]:
            last, first = divmod(int(number), len(_FIRST))
            facts.append(
                {
                    "name": f"{_FIRST[first]} {_name(last)}",
                    "first": _FIRST[first],
                    "year": str(random.integers(1700, 2000)),
                    "trade": _TRADES[random.integers(len(_TRADES))],
                    **{place: _town(random) for place in ("born_in", "school", "home")},
                }
            )
        return facts

    def _random(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, "synthetic", purpose))


def _name(number: int) -> str:
    """An invented name of three syllables, different for each number below 18^3."""
    size = len(_SYLLABLES)
    return "".join(_SYLLABLES[number // size**i % size] for i in range(3)).title()


def _town(random: np.random.Generator) -> str:
    return _name(int(random.integers(len(_SYLLABLES) ** 3)))
