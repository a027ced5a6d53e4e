"""Looking never touches training, and looking afterwards sees what looking live saw."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import StoreError
from ontogeny.core.kinds import find
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.looking.observer import Observer
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.measures.small import kinds_without_settings
from tests.small_runs import tree

KINDS = kinds_without_settings()
AFTERWARDS = [kind for kind in KINDS if not find("ontogeny.measures", kind).live]


AUTOENCODER = {"model": {"kind": "autoencoder", "size": "pico"}, "objective": ["next_token", "reconstruction"]}
"""The model that every measure can look at."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    return execute(
        validate(tree(texts, measures=list(KINDS), **AUTOENCODER), "test"), runs_dir=tmp_path_factory.mktemp("all")
    )


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    return execute(validate(tree(texts, measures=[], **AUTOENCODER), "test"), runs_dir=tmp_path_factory.mktemp("none"))


def trainings_differ(left: Path, right: Path) -> bool:
    a, b = open_run(left), open_run(right)
    weights = [[c.place.weights_sha256 for c in run.checkpoints] for run in (a, b)]
    losses = [run.series("loss", "train")["value"].tolist() for run in (a, b)]
    files = [[c.manifest["files"] for c in run.checkpoints] for run in (a, b)]
    return weights[0] != weights[1] or losses[0] != losses[1] or files[0] != files[1]


@pytest.mark.slow
def test_measures_leave_the_training_bit_identical(measured: Path, unmeasured: Path) -> None:
    assert open_run(measured).measures
    assert not trainings_differ(measured, unmeasured)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["randomness", "weights", "mode"])
def test_a_measure_that_touches_would_be_noticed(
    fault: str, unmeasured: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the comparison above is not blind. (Randomness and mode are set anew at each micro-batch.)"""

    def look(self: Any, model: Any, *rest: Any) -> Any:
        if fault == "weights":
            with torch.no_grad():
                next(model.parameters()).mul_(1.0 + 1e-6)
        elif fault == "randomness":
            torch.rand(100)
        else:
            model.eval()
        return original(self, model, *rest)

    original = Observer.look
    monkeypatch.setattr(Observer, "look", look)
    path = execute(validate(tree(texts, measures=["evaluation"], **AUTOENCODER), "test"), runs_dir=tmp_path)
    assert trainings_differ(path, unmeasured) == (fault == "weights")


@pytest.fixture(scope="module")
def measured_later(unmeasured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without measures, looked at afterwards with all that can."""
    path = tmp_path_factory.mktemp("later") / unmeasured.name
    shutil.copytree(unmeasured, path)
    measures = [validate_component("ontogeny.measures", kind) for kind in AFTERWARDS]
    assert backfill(path, measures) == [0, 4, 8, 12]
    return path


@pytest.mark.parametrize("kind", AFTERWARDS)
@pytest.mark.slow
def test_backfill_sees_exactly_what_live_saw(kind: str, measured: Path, measured_later: Path) -> None:
    live, later = open_run(measured).measure(kind).load(), open_run(measured_later).measure(kind).load()
    assert live.identical(later)
    samples = [
        run.samples.query(f"measure == '{kind}'").reset_index(drop=True)
        for run in map(open_run, (measured, measured_later))
    ]
    assert samples[0].equals(samples[1])


def test_backfill_in_any_order_and_twice(texts: Path, tmp_path: Path) -> None:
    path = execute(validate(tree(texts, measures=[]), "test"), runs_dir=tmp_path)
    measure = validate_component("ontogeny.measures", "token_nll")
    for steps in ([8], [0, 12], [8, 4]):
        backfill(path, [measure], steps=steps)
    seen = open_run(path).measure("token_nll")
    assert seen["step"].values.tolist() == [0, 4, 8, 12]
    assert np.isfinite(seen["nll_nats"].values[:, 1]).all()


def test_backfill_refuses_what_is_not_there(unmeasured: Path) -> None:
    with pytest.raises(StoreError, match="no checkpoint at step 5"):
        backfill(unmeasured, [validate_component("ontogeny.measures", "token_nll")], steps=[5])
    stray = validate_component("ontogeny.measures", {"kind": "token_nll", "probes": ["trian"]})
    with pytest.raises(StoreError, match="did you mean 'train'"):
        backfill(unmeasured, [stray])
    around = validate_component("ontogeny.measures", "ledger")
    with pytest.raises(StoreError, match="'ledger' looks at batches just before and after their step"):
        backfill(unmeasured, [around])


@pytest.mark.slow
def test_what_looks_at_training_sees_it_afterwards_as_it_was(texts: Path, tmp_path: Path) -> None:
    """Live and over the checkpoints: every value of the landscape, under a control that has decided rates and shares,
    and beside a measure of the model alone.
    """
    measure = {"kind": "lr_landscape", "rates": 5, "highest": 0.1, "targets": [0.001]}
    follow = {"kind": "plateau", "every": 2, "start": 1e-3, "window": 1, "growth": 0.9}
    keep = {"kind": "replay_budget", "every": 2, "general": "novel"}
    content = tree(texts, measures=[measure, "weight_drift"])
    content["train"] |= {"controls": [follow, keep]}
    content["data"]["replay"] = {"old": {"of": "words/novel", "share": 0.3}}
    live = execute(validate(content, "test"), runs_dir=tmp_path / "live")
    afterwards = execute(validate(content | {"measures": []}, "test"), runs_dir=tmp_path / "afterwards")
    names = [measure, "weight_drift"]
    backfill(afterwards, [validate_component("ontogeny.measures", name) for name in names], steps=[8, 12])
    backfill(afterwards, [validate_component("ontogeny.measures", name) for name in names], steps=[4, 0])
    for group in ("lr_landscape", "weight_drift"):
        left, right = (open_run(path).measure(group).load() for path in (live, afterwards))
        assert left.identical(right)
    assert len(set(open_run(live).series("plateau_rate", "train")["value"])) > 1


def test_training_elsewhere_cannot_be_opened_again(tmp_path: Path, texts: Path) -> None:
    content = tree(texts, measures=["evaluation"])
    del content["train"], content["data"]["train"]
    path = execute(validate(content, "test"), runs_dir=tmp_path)
    with pytest.raises(StoreError, match="keeps no checkpoints"):
        backfill(path, [validate_component("ontogeny.measures", "lr_landscape")])


def test_a_cadence_of_its_own(texts: Path, tmp_path: Path) -> None:
    measures = [{"kind": "evaluation", "at": {"every_steps": 5}}]
    path = execute(validate(tree(texts, measures=measures), "test"), runs_dir=tmp_path)
    # every fifth of 12 steps, and both ends
    assert open_run(path).measure("evaluation")["step"].values.tolist() == [0, 5, 10, 12]


def test_a_recipe_that_only_looks(texts: Path, unmeasured: Path, tmp_path: Path) -> None:
    content = tree(texts, measures=["evaluation"], model={"kind": "from_run", "run": str(unmeasured)})
    del content["train"], content["data"]["train"], content["tokenizer"]
    path = execute(validate(content, "test"), runs_dir=tmp_path)
    run = open_run(path)
    assert run.measure("evaluation")["step"].values.tolist() == [0]
    backfill(unmeasured, [validate_component("ontogeny.measures", "evaluation")], steps=[12])
    there = open_run(unmeasured).series("evaluation/nll", "novel").query("step == 12")["value"].iloc[0]
    assert run.series("evaluation/nll", "novel")["value"].iloc[0] == pytest.approx(there, rel=1e-6)
