import json
from pathlib import Path

import numpy as np
import pytest

from ontogeny.core.orders import Examples
from ontogeny.core.recipe_file import validate
from ontogeny.data.orders.by_difficulty import ByDifficulty
from ontogeny.data.prepare import prepare
from ontogeny.models.build import load_checkpoint
from ontogeny.runs.execute import execute
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
