"""Dreams: sampled from the model and nothing else, the same again, and kept in the run that replays them."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ontogeny.core.errors import DataError, StoreError
from ontogeny.core.recipe_file import validate
from ontogeny.data.corpora.dreamed import Dreamed
from ontogeny.runs.estimate import estimate
from ontogeny.runs.execute import execute, resume
from ontogeny.store.run import Run, open_run
from tests.measures.small import make_model
from tests.small_runs import differences, interrupt_and_resume, tree, write_text


class Letters:
    """A vocabulary of end-of-text and the letters a … e."""

    eos_token_id: int | None = 0
    all_special_ids = (0,)

    def __len__(self) -> int:
        return 6

    def decode(self, ids: Any) -> str:
        return "".join(" abcde"[i] for i in ids)


class Next(nn.Module):
    """After each letter the next, with the chance `sure`; the rest is end-of-text. After e, always end-of-text."""

    def __init__(self, sure: float = 1.0) -> None:
        super().__init__()
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=8))
        chances = torch.zeros(6, 6)
        for letter in range(5):
            chances[letter, [letter + 1, 0]] = torch.tensor([sure, 1 - sure])
        chances[5, 0] = 1.0
        self.logits = nn.Parameter(chances.log().clamp(min=-1e9))

    def forward(self, input_ids: torch.Tensor, past_key_values: Any, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.logits[input_ids], past_key_values=None)


def _texts(model: Any, **settings: Any) -> list[str]:
    return [one.text for one in Dreamed(tokens=8, **settings).write(model, Letters())]


def test_it_writes_what_the_model_says() -> None:
    """From any letter, drawn uniformly, to the end of the alphabet; 300 draws of 5: 60 +- 4 x 6.9 each."""
    found = _texts(Next(), documents_count=300)
    assert set(found) == {"abcde", "bcde", "cde", "de", "e"}
    assert all(32 <= found.count(one) <= 88 for one in set(found))
    assert _texts(Next(), documents_count=3, begin="end_of_text") == ["abcde"] * 3  # that token itself is no text


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.8), (0.5, 0.64 / 0.68)])
def test_chances_are_the_models_own(temperature: float, share: float) -> None:
    """0.8 and 0.2; at temperature 1/2 both are squared: 0.64 of 0.68. n = 500, within 4 standard errors."""
    found = _texts(Next(0.8), documents_count=500, begin="end_of_text", temperature=temperature)
    went_on = np.mean([len(one) > 0 for one in found])
    assert went_on == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 500))


class Numbers(Letters):
    """A vocabulary of 300, written as numbers."""

    def __len__(self) -> int:
        return 300

    def decode(self, ids: Any) -> str:
        return " ".join(map(str, ids))


def test_the_seed_decides() -> None:
    model, tokenizer = make_model(dropout=0.0), Numbers()
    before = torch.get_rng_state()
    one, again, other = (
        list(Dreamed(documents_count=40, tokens=12, seed=s).write(model, tokenizer)) for s in (0, 0, 1)
    )
    assert one == again
    assert one != other
    assert len({document.text for document in one}) == 40  # of two batches, none the same
    assert torch.equal(before, torch.get_rng_state())


def test_longer_than_the_context_is_refused() -> None:
    with pytest.raises(DataError, match="tokens: 8 or less"):
        list(Dreamed(tokens=9).write(Next(), Letters()))


def test_without_a_model_there_are_none() -> None:
    with pytest.raises(DataError, match="written by a model"):
        Dreamed().documents()


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dreams")
    return execute(validate(tree(write_text(folder / "words"), measures=[]), "test"), runs_dir=folder / "runs")


def _content(parent: Path, **dreams: Any) -> dict[str, Any]:
    """A recipe that starts from the parent, and replays what the parent dreams."""
    content = tree(parent.parent.parent / "words", name="child", model={"kind": "from_run", "run": str(parent)})
    del content["tokenizer"]
    data = content["data"]
    settings = {"kind": "dreamed", "documents_count": 30, "tokens": 24, **dreams}
    content["data"] = {
        **data,
        "corpora": {**data["corpora"], "dreams": settings},
        "replay": {"dreams": {"of": "dreams/train", "count": 8, "share": 0.5}},
    }
    return content


def _kept(run: Run) -> str:
    return (run.path / "written" / "dreams.jsonl").read_text()


@pytest.mark.slow
def test_an_interrupted_run_reads_what_was_written(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written once, even so the same; half of the training is on it."""
    calls, write = [], Dreamed.write

    def counting(self: Dreamed, model: Any, tokenizer: Any, bos: Any) -> Any:
        calls.append(1)
        return write(self, model, tokenizer, bos)

    monkeypatch.setattr(Dreamed, "write", counting)
    recipe = validate(_content(parent), "test")
    whole = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    assert calls == [1]
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 6, monkeypatch)
    assert calls == [1, 1]
    assert _kept(whole) == _kept(parts)
    assert differences(whole.path, parts.path) == []
    assert len(_kept(whole).splitlines()) == 30
    assert whole.series("replayed_dreams", "train")["value"].iloc[-1] == pytest.approx(0.5, abs=0.02)
    assert execute(recipe, runs_dir=tmp_path / "whole") == whole.path
    assert calls == [1, 1]
    (whole.path / "written" / "dreams.jsonl").unlink()
    with pytest.raises(StoreError, match=r"dreams\.jsonl.*bring it back"):
        resume(whole.path, steps=30)


@pytest.mark.slow
def test_another_run_may_dream_and_a_plan_says_what_it_costs(parent: Path, tmp_path: Path) -> None:
    own = open_run(execute(validate(_content(parent), "test"), runs_dir=tmp_path))
    other = _content(parent, run=str(parent), step=0)
    assert estimate(validate(other, "test"), runs_dir=tmp_path, scratch=tmp_path / "scratch")["steps"] > 0
    assert _kept(open_run(execute(validate(other, "test"), runs_dir=tmp_path))) != _kept(own)  # before it was trained


def test_a_model_from_scratch_has_nothing_to_dream_of(parent: Path, tmp_path: Path) -> None:
    content = _content(parent) | {"model": {"kind": "ladder", "size": "pico"}, "tokenizer": {"vocab_size": 300}}
    content["tokenizer"]["corpora"] = ["words"]
    with pytest.raises(DataError, match="corpus 'dreams': a model from scratch has nothing to write"):
        execute(validate(content, "test"), runs_dir=tmp_path)
