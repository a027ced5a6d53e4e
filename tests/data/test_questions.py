"""Questions from files, and from a corpus that planted the answers."""

from pathlib import Path

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.corpora.synthetic import Synthetic
from ontogeny.data.questions import TEN, Question, QuestionCorpus, read_questions


def test_the_packages_ten() -> None:
    """Four choices each, the right one not always in the same place."""
    ten = read_questions(TEN)
    assert len({one.question for one in ten}) == 10
    assert all(len(set(one.choices)) == 4 and one.answer in one.choices for one in ten)
    assert {one.choices.index(one.answer) for one in ten} == {0, 1, 2, 3}


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "Who?", "answer": "she"}\n\n{"question": "a", "answer": "b", "choices": ["b", "c"]}\n'
    )
    assert read_questions(path) == [
        Question(question="Who?", answer="she"),
        Question(question="a", answer="b", choices=("b", "c")),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON in UTF-8"),
        ("[1]", "line 2: write"),
        ('{"question": "a"}', "line 2: write"),
        ('{"question": "a", "answer": ""}', "line 2: write"),
        ('{"question": "a", "answer": "b", "choices": "b"}', "line 2: write"),
        ('{"question": "a", "answer": "b", "choices": ["c", "d"]}', "line 2: the answer 'b' is not among the choices"),
    ],
)
def test_faults_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "a", "answer": "b"}}\n{line}\n')
    with pytest.raises(DataError, match=message):
        read_questions(path)


def test_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_questions(tmp_path / "q.jsonl")
    (tmp_path / "q.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no question"):
        read_questions(tmp_path / "q.jsonl")


def test_planted_questions_stand_in_the_documents_word_for_word() -> None:
    """Five for each of 20 people; question, a space and the answer are the beginning of a document."""
    corpus = Synthetic(people=20)
    assert isinstance(corpus, QuestionCorpus)
    questions = corpus.questions()
    assert len(questions) == 100
    texts = [document.text for document in corpus.documents()]
    for one in questions:
        assert sum(text.startswith(f"{one.question} {one.answer}") for text in texts) == 1
        assert one.answer in one.choices
        assert len(set(one.choices)) == 4
    assert questions == Synthetic(people=20).questions()
    assert Synthetic(people=1).questions()[0].choices == ()  # nobody else to confuse with
