"""Questions: answers that were planted by training are found, others are not; choices against independent sums."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import DataError, RecipeError
from ontogeny.core.recipe_file import validate_component
from ontogeny.data.corpora.synthetic import Synthetic
from ontogeny.looking.guard import untouched
from ontogeny.measures.questions import Questions, _begins_with
from tests.measures.small import byte_passage, log_probabilities, make_context, make_model

KNOWN = {"question": "red is", "answer": "stop", "choices": ["stop", "walk", "stay"]}
ROWS = [
    KNOWN,
    {"question": "one and one make", "answer": "two"},
    {"question": "the bird sings at", "answer": "noon", "choices": ["noon", "dawn"]},
    {"question": "never taught:", "answer": "nothing"},
]


def _file(folder: Path, rows: list[dict[str, Any]] = ROWS) -> str:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def _look(model: Any, **settings: Any) -> Any:
    with untouched(model):
        return Questions(**settings).look(make_context(model, []))


@pytest.fixture(scope="module")
def taught() -> Any:
    """A model that was made to memorize the right end of the first two sentences, and a wrong one of the third."""
    model = make_model(dropout=0.0)
    lines = ["red is stop.\n", "one and one make Two \n", "the bird sings at dawn\n"]
    batches = [torch.from_numpy(byte_passage(line).token_ids.astype(np.int64))[None] for line in lines]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(120):
        optimizer.zero_grad()
        sum(model(input_ids=ids, labels=ids).loss for ids in batches).backward()
        optimizer.step()
    return model


def test_what_was_taught_is_answered(tmp_path: Path, taught: Any) -> None:
    """Two of four exactly; of the two with choices one. Correct: red (chosen), two (exactly), not noon, not the last:
    2 of 4.
    """
    observed = _look(taught, path=_file(tmp_path))
    arrays = observed.arrays
    assert arrays["exact"].values.tolist() == [1, 1, 0, 0]
    assert arrays["chosen"].values[[0, 2]].tolist() == [1, 0]
    assert np.isnan(arrays["chosen"].values[[1, 3]]).all()
    assert float(arrays["correct_share"]) == 0.5
    assert float(arrays["chosen_share"]) == 0.5
    assert int(arrays["n"]) == 4
    # z^2 = 3.8415, n = 4: half = 1.96 / (1 + 0.9604) x sqrt(0.25 / 4 + 3.8415 / 64) = 0.99980 x 0.35001 = 0.34994
    assert float(arrays["correct_low"]) == pytest.approx(0.5 - 0.34994, abs=1e-4)
    assert float(arrays["correct_high"]) == pytest.approx(0.5 + 0.34994, abs=1e-4)
    assert [row["text"] for row in observed.samples[:3]] == ["stop.", "Two ", "dawn"]
    assert [row["reference"] for row in observed.samples] == [row["answer"] for row in ROWS]


def test_a_model_that_learned_nothing_answers_nothing() -> None:
    """Random weights: no answer of the package's ten is written; of four choices each about a quarter is luck."""
    shares = []
    for seed in range(8):
        arrays = _look(make_model(seed=seed)).arrays
        assert float(arrays["exact_share"]) == 0
        shares.append(float(arrays["chosen_share"]))
    assert np.mean(shares) < 0.45  # 80 choices at 0.25: standard error 0.05


def test_choices_are_compared_by_their_log_likelihood(tmp_path: Path) -> None:
    """Independently: each choice alone, unpadded, log-softmax in float64."""
    model = make_model(seed=3)
    arrays = _look(model, path=_file(tmp_path)).arrays
    for i in (0, 2):
        row: Any = ROWS[i]
        sums = {}
        for choice in row["choices"]:
            ids = byte_passage(f"{row['question']} {choice}").token_ids
            start, table = len(row["question"]), log_probabilities(model, ids)
            sums[choice] = sum(table[t - 1, ids[t]] for t in range(start, len(ids)))
        assert float(arrays["chosen"][i]) == float(max(sums, key=lambda one: sums[one]) == row["answer"])


def test_a_tie_counts_as_its_chance(tmp_path: Path) -> None:
    """A head of zeros gives every token the same probability: choices of one length tie."""
    model = make_model()
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    rows = [{"question": "a", "answer": "b", "choices": ["b", "c", "d", "e"]}]
    assert float(_look(model, path=_file(tmp_path, rows)).arrays["chosen_share"]) == 0.25


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("Paris, where", "Paris", True),
        (" paris", "Paris", True),
        ("Parisian", "Paris", False),
        ("In Paris", "Paris", False),
        ("New  York is", "new york", True),
        ("12", "1", False),
        ("", "a", False),
    ],
)
def test_what_counts_as_the_answer(text: str, answer: str, right: bool) -> None:
    assert _begins_with(text, answer) is right


def test_prompts_and_planted_questions(tmp_path: Path, taught: Any) -> None:
    observed = _look(taught, path=_file(tmp_path), prompt="Q: {question}\nA: ", at_most=2)
    assert [row["prompt"] for row in observed.samples] == ["Q: red is\nA: ", "Q: one and one make\nA: "]
    planted = _look(make_model(), about=Synthetic(people=3), at_most=7)
    assert int(planted.arrays["n"]) == 7
    assert float(planted.arrays["exact_share"]) == 0


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        _look(make_model(), path=str(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="a corpus 'python_prose' knows no questions"):
        _look(make_model(), about={"kind": "python_prose"})
    with pytest.raises(DataError, match="planted nothing to ask about"):
        _look(make_model(), about=Synthetic(people=0))
    with pytest.raises(RecipeError, match="say either path"):
        validate_component("ontogeny.measures", {"kind": "questions", "path": "a", "about": "synthetic"})
