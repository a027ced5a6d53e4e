"""What is estimated is what would be run."""

from pathlib import Path

import pytest

from ontogeny.core.recipe_file import validate
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.runs import materials
from ontogeny.runs.estimate import estimate
from tests.small_runs import tree


def test_the_recipes_tokenizer_and_dropout_count_for_an_existing_model(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = train_tokenizer([p.read_text() for p in sorted(texts.iterdir())], 300)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")  # without a tokenizer
    content = tree(texts, tokenizer={"path": str(tmp_path / "tokenizer")}, measures=["evaluation"])
    content["model"] = {"kind": "pretrained", "path": str(tmp_path / "model")}
    content["train"]["dropout"] = 0.3
    opened = []

    def open_session(*given: object, **named: object) -> object:
        opened.append(named)
        return original(*given, **named)  # type: ignore[arg-type]

    original = materials.open_session
    monkeypatch.setattr(materials, "open_session", open_session)
    found = estimate(validate(content, "test"), runs_dir=tmp_path / "runs", scratch=tmp_path)
    assert found["steps"] == 12  # 22 passages in batches of 6 are 4 steps, three times
    assert opened[0]["model"].config.resid_pdrop == 0.3
    assert opened[0]["tokenizer"].name_or_path == str(tmp_path / "tokenizer")


def test_decisions_are_counted_and_timed(texts: Path, tmp_path: Path) -> None:
    """12 steps: with every: 5 a control decides at states 0, 5 and 10, with every: 1 at 12."""
    content = tree(texts, measures=[])
    follow = {"kind": "target_decrease", "rates": 4}
    content["train"]["controls"] = [{"kind": "plateau", "every": 5}, follow]
    found = estimate(validate(content, "test"), runs_dir=tmp_path / "runs", scratch=tmp_path)
    assert found["costs"]["plateau"].startswith("3 decisions of ")
    assert found["costs"]["target_decrease"].startswith("12 decisions of ")
    assert found["share of time in controls"].endswith("%")
    content["train"]["controls"] = []
    none = estimate(validate(content, "test"), runs_dir=tmp_path / "runs", scratch=tmp_path / "other")
    assert "share of time in controls" not in none


def test_documents_of_probe_sets_are_said(texts: Path, tmp_path: Path) -> None:
    """Novel text is 7 documents: 18 of its passages come from at most half as many, 5 spread ones from all of them."""
    content = tree(texts, measures=[])
    content["data"]["probes"] = {
        "many": {"of": "words/novel", "count": 18},
        "few": {"of": "words/novel", "count": 5, "spread": True},
    }
    said = estimate(validate(content, "test"), runs_dir=tmp_path / "runs", scratch=tmp_path)["probes"]
    assert said == {
        "many": "18 passages from 7 documents: with spread: true from as many as there are",
        "few": "5 passages from 5 documents",
    }
