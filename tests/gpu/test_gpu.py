"""On a GPU: training, looking and looking afterwards. Skipped without one."""

from pathlib import Path

import pytest
import torch

from ontogeny.core.kinds import find
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.measures.small import kinds_without_settings
from tests.small_runs import tree, write_text

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

KINDS = [kind for kind in kinds_without_settings() if not find("ontogeny.measures", kind).live]
AUTOENCODER = {"model": {"kind": "autoencoder", "size": "pico"}, "objective": ["next_token", "reconstruction"]}
"""The model that every measure can look at."""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_text(tmp_path / "words")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_trains_on_the_gpu_and_its_loss_falls(precision: str, texts: Path, tmp_path: Path) -> None:
    settings = {"epochs": 20, "batch": 8, "lr": 0.01, "precision": precision}
    run = open_run(execute(validate(tree(texts, train=settings), "test"), runs_dir=tmp_path / "runs"))
    losses = run.series("loss", "train")["value"]
    assert run.provenance["environment"]["device"] != "cpu"
    assert losses.iloc[-1] < losses.iloc[0] - 0.5


def test_looking_afterwards_sees_what_live_saw(texts: Path, tmp_path: Path) -> None:
    live = open_run(execute(validate(tree(texts, measures=KINDS, **AUTOENCODER), "test"), runs_dir=tmp_path / "live"))
    path = execute(validate(tree(texts, measures=KINDS[:1], **AUTOENCODER), "test"), runs_dir=tmp_path / "later")
    backfill(path, [validate_component("ontogeny.measures", kind) for kind in KINDS[1:]])
    later = open_run(path)
    for kind in KINDS:
        left, right = live.measure(kind).load(), later.measure(kind).load()
        for name in left.data_vars:
            assert abs(left[name] - right[name]).max() <= 1e-5 * abs(left[name]).max() or left[name].equals(right[name])


def test_gpu_and_cpu_agree_on_nll(texts: Path, tmp_path: Path) -> None:
    run = open_run(execute(validate(tree(texts, measures=["token_nll"]), "test"), runs_dir=tmp_path / "runs"))
    from ontogeny.models.build import load_checkpoint

    probe = run.probes["novel"]
    model = load_checkpoint(run.checkpoints[-1].model_path, run.path / "base").eval()
    ids = torch.tensor(probe.passages[0].token_ids, dtype=torch.int64)[None]
    with torch.no_grad():
        expected = -torch.log_softmax(model(ids).logits[0, :-1].double(), -1).gather(1, ids[0, 1:, None])[:, 0]
    seen = run.measure("token_nll").nll_nats.isel(checkpoint=-1)
    mine = seen[(seen.probe_of_token == "novel") & (seen.passage == 0)].values[1:]
    assert mine == pytest.approx(expected.numpy(), rel=1e-3)
