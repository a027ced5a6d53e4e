"""Questions with known answers: from a file, from a corpus that contains the facts, or ten that are shipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ontogeny.core.errors import DataError
from ontogeny.data.files import json_lines

TEN = Path(__file__).with_name("ten_questions.jsonl")
"""Ten questions of general knowledge, each a sentence to be completed."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with its right answer."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    """Answers to choose from, the right one among them; empty if the question is not multiple choice."""


@runtime_checkable
class QuestionCorpus(Protocol):
    """A corpus that has questions about the facts in its text."""

    def questions(self) -> Sequence[Question]:
        """The questions, in a fixed order."""
        ...


def read_questions(path: Path) -> list[Question]:
    """Read JSON lines with `question`, `answer` and, if it is multiple choice, `choices`.

    Raises DataError, naming file and line, if there is no such file, a line is malformed, or there is no question.
    """
    if not path.is_file():
        raise DataError(f"questions: no such file '{path}'")
    questions = [_question(row, f"{path}, line {number}") for number, row in json_lines(path)]
    if not questions:
        raise DataError(f"{path}: holds no question")
    return questions


def _question(row: object, where: str) -> Question:
    if not isinstance(row, dict):
        row = {}
    complete = all(isinstance(row.get(key), str) and row[key] for key in ("question", "answer"))
    choices = row.get("choices", []) if complete else None
    if not isinstance(choices, list) or not all(isinstance(choice, str) and choice for choice in choices):
        raise DataError(f'{where}: write {{"question": "…", "answer": "…"}}, and "choices": ["…", …] if there are some')
    if choices and row["answer"] not in choices:
        raise DataError(f"{where}: the answer '{row['answer']}' is not among the choices")
    return Question(question=row["question"], answer=row["answer"], choices=tuple(choices))
