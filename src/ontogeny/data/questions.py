"""Questions with known answers: from a file, from a corpus that planted them, or ten that come with the package."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ontogeny.core.errors import DataError

TEN = Path(__file__).with_name("ten_questions.jsonl")
"""Ten of general knowledge, each a sentence to be completed."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, and what is right."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    """Answers to choose from, the right one among them; empty where there is no choice."""


@runtime_checkable
class Asks(Protocol):
    """A corpus that knows questions about what it planted."""

    def questions(self) -> Sequence[Question]:
        """The questions, in a fixed order."""
        ...


def read_questions(path: Path) -> list[Question]:
    """JSON lines with `question`, `answer` and, where it is multiple choice, `choices`. Raises DataError."""
    if not path.is_file():
        raise DataError(f"questions: no such file '{path}'")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            found.append(_question(line, f"{path}, line {number}"))
    if not found:
        raise DataError(f"{path}: holds no question")
    return found


def _question(line: str, where: str) -> Question:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: this is not JSON ({error.msg})") from None
    needed = isinstance(row, dict) and all(isinstance(row.get(key), str) and row[key] for key in ("question", "answer"))
    choices = row.get("choices", []) if needed else None
    if not isinstance(choices, list) or not all(isinstance(one, str) and one for one in choices):
        raise DataError(f'{where}: write {{"question": "…", "answer": "…"}}, and "choices": ["…", …] if there are some')
    if choices and row["answer"] not in choices:
        raise DataError(f"{where}: the answer '{row['answer']}' is not among the choices")
    return Question(question=row["question"], answer=row["answer"], choices=tuple(choices))
