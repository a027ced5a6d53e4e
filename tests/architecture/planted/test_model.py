"""A model that reads a side input: one file, and every measure that runs a model runs it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import DataError
from ontogeny.core.origin import Origin
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.models.build import load_causal_lm
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute, resume
from ontogeny.store.run import open_run
from tests.architecture.planted.planting import planted, run_until_killed
from tests.small_runs import differences

pytestmark = pytest.mark.slow  # they train models of their own


@pytest.fixture(autouse=True)
def _planted() -> Iterator[None]:
    with planted("ontogeny.data.corpora", "spoken"), planted("ontogeny.models.sources", "voiced"):
        yield


def content(**changes: Any) -> dict[str, Any]:
    return {
        "name": "voiced",
        "data": {
            "corpora": {"spoken": {"kind": "spoken"}},
            "splits": {"train": 0.7, "novel": 0.3},
            "length": 24,
            "min_length": 8,
            "train": [{"of": "spoken/train", "count": 12}],
            "probes": {"train": {"of": "spoken/train", "count": 3}, "novel": {"of": "spoken/novel", "count": 3}},
            "allow_overlap": True,
        },
        "tokenizer": {"vocab_size": 300},
        "model": {"kind": "voiced"},
        "train": {"epochs": 3, "batch": 4, "lr": 0.003},
        "checkpoints": {"every_steps": 3},
        "measures": [
            "evaluation",
            "token_nll",
            {"kind": "extraction", "prefix_tokens": 6, "suffix_tokens": 6},
            {"kind": "generation", "prompts": 2, "new_tokens": 6},
            {"kind": "continuation", "ending_tokens": 4},
            "compression",
            "reproduction",
        ],
    } | changes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with planted("ontogeny.data.corpora", "spoken"), planted("ontogeny.models.sources", "voiced"):
        return execute(validate(content(), "test"), runs_dir=tmp_path_factory.mktemp("voiced"))


def test_nll_is_that_of_the_model_with_its_vector(whole: Path) -> None:
    """Independent: each passage alone through the loaded model, in float64; with another vector it is another."""
    run = open_run(whole)
    model: Any = load_causal_lm(Origin(path=str(run.checkpoints[-1].model_path))).eval()
    nll = run.measure("token_nll").nll_nats.isel(checkpoint=-1)
    for number, passage in enumerate(run.probes["novel"].passages):
        ids = torch.from_numpy(passage.token_ids.astype(np.int64))[None]
        voice = torch.from_numpy(passage.sides["voice"])[None]
        with torch.no_grad():
            right, wrong = (
                -model(input_ids=ids, voice=v).logits[0, :-1].double().log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
                for v in (voice, voice + 1)
            )
        mine = nll[(nll.probe_of_token == "novel") & (nll.passage == number)].values[1:]
        assert mine == pytest.approx(right.numpy(), abs=1e-4)
        assert not np.allclose(mine, wrong.numpy(), atol=1e-3)


def test_killed_and_resumed_it_is_bit_identical(whole: Path, tmp_path: Path) -> None:
    killed = run_until_killed(validate(content(), "test"), tmp_path, at_step=5)
    assert differences(whole, resume(killed)) == []


def test_looks_afterwards_see_what_live_saw(whole: Path) -> None:
    extraction = {"kind": "extraction", "prefix_tokens": 6, "suffix_tokens": 6}
    kinds: list[dict[str, Any]] = [{"kind": "token_nll"}, {"kind": "evaluation"}, extraction]
    names = [kind["kind"] for kind in kinds]
    again = [validate_component("ontogeny.measures", {**kind, "name": f"{kind['kind']}2"}) for kind in kinds]
    backfill(whole, again)
    for name in names:
        live, later = (open_run(whole).measure(group).load() for group in (name, f"{name}2"))
        assert live.drop_attrs().identical(later.drop_attrs())


def test_without_the_vector_it_is_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"word{i % 37}" for i in range(4000)), encoding="utf-8")
    tree = content(measures=["evaluation"])
    tree["data"] |= {"corpora": {"spoken": {"kind": "text", "path": str(text)}}}
    with pytest.raises(DataError, match="the model reads the side input 'voice', which the passages"):
        execute(validate(tree, "test"), runs_dir=tmp_path / "runs")
