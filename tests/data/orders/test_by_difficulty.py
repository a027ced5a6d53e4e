import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontogeny.core.errors import DataError, RecipeError
from ontogeny.core.orders import Examples
from ontogeny.core.passages import Passage
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.data.orders.by_difficulty import ByDifficulty
from ontogeny.data.prepare import prepare
from ontogeny.models.build import load_checkpoint
from ontogeny.models.companions import Companion
from ontogeny.runs.example_difficulty import example_nll
from ontogeny.runs.execute import execute
from ontogeny.runs.materials import open_companions, refuse_missing
from ontogeny.store.run import open_run
from tests.small_runs import interrupt_and_resume, tree, write_text


def test_by_nll() -> None:
    four = Examples(lengths=np.ones(4, dtype=np.int64), nll=np.array([2.0, 0.5, 2.0, 1.0]))
    assert ByDifficulty().epoch(0, four, seed=1).tolist() == [1, 3, 0, 2]
    assert ByDifficulty(first="hard").epoch(5, four, seed=1).tolist() == [0, 2, 3, 1]


@pytest.mark.slow
def test_a_run_orders_by_the_model_it_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept NLLs are those of checkpoint 0, one passage at a time; a resumed run goes on in the order."""
    import torch

    content = tree(write_text(tmp_path / "words"), measures=[])
    content["train"] |= {"order": {"kind": "by_difficulty", "first": "hard"}}
    recipe = validate(content, "test")
    path = execute(recipe, runs_dir=tmp_path / "runs")
    run = open_run(path)
    kept = np.array(json.loads((path / "order.json").read_text())["nll"])
    model = load_checkpoint(run.checkpoints[0].model_path, path / "base").eval()
    examples = prepare(recipe).examples
    for nll, example in zip(kept, examples, strict=True):
        ids = torch.tensor(example.token_ids, dtype=torch.int64)[None]
        with torch.no_grad():
            assert nll == pytest.approx(float(model(input_ids=ids, labels=ids).loss), abs=1e-4)
    again = interrupt_and_resume(recipe, tmp_path / "again", 6, monkeypatch)
    assert again.series("loss", "train")["value"].tolist() == run.series("loss", "train")["value"].tolist()


def judged(folder: Path, **changes: Any) -> Recipe:
    """A student whose texts are ordered by a teacher, easy first. The teacher has other random weights."""
    content = tree(folder, measures=[], companions={"teacher": {"kind": "ladder", "size": "pico"}})
    content["objective"] = ["next_token", "kd"]
    content["train"] = {"steps": 2, "batch": 6, "order": {"kind": "by_difficulty", "by": "teacher"}}
    return validate(content | changes, "test")


def test_a_companion_can_judge(tmp_path: Path) -> None:
    """The kept NLLs are the companion's, one passage at a time, and not those of the student's start."""
    import torch

    recipe = judged(write_text(tmp_path / "words"))
    path = execute(recipe, runs_dir=tmp_path / "runs")
    run = open_run(path)
    kept = np.array(json.loads((path / "order.json").read_text())["nll"])
    prepared = prepare(recipe)
    teacher = open_companions(recipe, prepared.tokenizer, tmp_path, refuse_missing)["teacher"].model
    student = load_checkpoint(run.checkpoints[0].model_path, path / "base").eval()

    def nll(model: torch.nn.Module, example: Passage) -> float:
        ids = torch.tensor(example.token_ids, dtype=torch.int64)[None]
        with torch.no_grad():
            return float(model(input_ids=ids, labels=ids).loss)

    assert kept == pytest.approx([nll(teacher, example) for example in prepared.examples], abs=1e-4)
    assert np.abs(kept - [nll(student, example) for example in prepared.examples]).max() > 1e-3


def test_a_judge_is_a_companion_and_hashes_of_before_hold(tmp_path: Path) -> None:
    words = write_text(tmp_path / "words")
    with pytest.raises(RecipeError, match=r"judged by an unknown companion 'teachre'.*teacher"):
        judged(words, train={"steps": 2, "order": {"kind": "by_difficulty", "by": "teachre"}})
    judged(words, objective=["next_token"])  # no term reads the companion, the order does
    own = judged(words, train={"steps": 2, "batch": 6, "order": "by_difficulty"})
    assert "by" not in own._content()["train"]["order"], "the key came later"
    assert own.train_hash != judged(words).train_hash


def test_a_judge_reads_the_same_tokens(tmp_path: Path) -> None:
    """Of a companion with a tokenizer of its own, the loss per token is of other tokens."""
    recipe = judged(write_text(tmp_path / "words"))
    other = Companion(name="teacher", model=None, tokenizer=object(), described={})  # type: ignore[arg-type]
    with pytest.raises(DataError, match="tokens of its own"):
        example_nll(recipe, tmp_path, None, None, {"teacher": other})  # type: ignore[arg-type]
