"""Checkpoints made elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.recipe_file import validate
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.runs.execute import resume
from ontogeny.runs.foreign_checkpoints import measure_series, parse_stations
from ontogeny.store.run import open_run
from tests.small_runs import tree, write_text


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints as Hugging Face's save_pretrained writes them; the third repeats the second."""
    from transformers import GPT2Config, GPT2LMHeadModel

    root = tmp_path_factory.mktemp("foreign")
    folder = write_text(root / "words")
    tokenizer = train_tokenizer([p.read_text() for p in sorted(folder.iterdir())], 300)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=2, n_head=2))
    for step in (100, 200, 300):
        path = root / f"checkpoint-{step}"
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        if step == 100:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.01)
    return root


def looking(folder: Path) -> Any:
    content = tree(folder / "words", measures=["evaluation", "token_nll", "weight_drift"])
    content["model"] = {"kind": "pretrained", "path": str(folder / "checkpoint-100")}
    del content["train"], content["data"]["train"], content["tokenizer"]
    return validate(content, "test")


def test_stations_are_read_from_their_names(tmp_path: Path) -> None:
    stations = parse_stations(["some/model@step512,step64"])
    assert [(s.step, s.origin.path, s.origin.revision) for s in stations] == [
        (64, "some/model", "step64"),
        (512, "some/model", "step512"),
    ]
    (tmp_path / "checkpoint-7").mkdir()
    local = parse_stations([f"{tmp_path}@checkpoint-7"])
    assert [(s.step, s.origin.path, s.origin.revision) for s in local] == [(7, str(tmp_path / "checkpoint-7"), None)]
    with pytest.raises(StoreError, match=r"checkpoint-8: no such checkpoint directory: did you mean 'checkpoint-7'"):
        parse_stations([f"{tmp_path}@checkpoint-7,checkpoint-8"])
    with pytest.raises(StoreError, match="checkpoint-7' has no sub-directory"):
        parse_stations([f"{tmp_path}/checkpoint-7@step1"])
    with pytest.raises(StoreError, match=r"@step1: no such checkpoint directory: '\./nowhere' is no directory"):
        parse_stations(["./nowhere@step1"])
    with pytest.raises(StoreError, match="holds no step"):
        parse_stations(["some/model@main"])
    with pytest.raises(StoreError, match="both step 5"):
        parse_stations(["some/model@step5,rev5"])


def test_a_foreign_series_becomes_a_run(foreign: Path, tmp_path: Path) -> None:
    stations = parse_stations([f"{foreign}@checkpoint-200,checkpoint-100"])
    path = measure_series(looking(foreign), stations, to=tmp_path / "run")
    run = open_run(path)
    drift = run.measure("weight_drift").load()
    assert drift["step"].values.tolist() == [100, 200]
    # every parameter moved by 0.01, so their mean absolute difference is 0.01
    assert float(drift["mad_first"][1]) == pytest.approx(0.01, rel=1e-4)
    assert float(drift["mad_previous"][1]) == pytest.approx(0.01, rel=1e-4)
    assert bool(drift["mad_first"][0].isnull())
    assert run.status["state"] == "finished"
    assert [s["name"] for s in run.provenance["stations"]] == ["checkpoint-100", "checkpoint-200"]
    hashes = drift["weights_sha256"].values.tolist()
    assert len(set(hashes)) == 2


def test_identical_weights_under_two_names_are_refused_with_both_names(foreign: Path, tmp_path: Path) -> None:
    stations = parse_stations([f"{foreign}@checkpoint-100,checkpoint-200,checkpoint-300"])
    with pytest.raises(StoreError, match=r"'checkpoint-200' and 'checkpoint-300' hold identical weights"):
        measure_series(looking(foreign), stations, to=tmp_path / "run")
    with pytest.raises(OntogenyError, match="made of checkpoints trained elsewhere"):
        resume(tmp_path / "run")
    assert open_run(tmp_path / "run").status["state"] == "failed"
