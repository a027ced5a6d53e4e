"""A run directory that the code before the frame wrote (commit cbc8947) opens, reports, analyses, measures, resumes.

It has replay decided by a control, anchors of two terms, twins, eleven measures, three checkpoints; and beside it the
texts and the recipe it was made from. Numbers agree to rounding, since another processor adds in another order.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ontogeny.core.recipe_file import load_recipe, validate, validate_component
from ontogeny.report.page import write_report
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute, resume
from ontogeny.runs.parents import recipe_of
from ontogeny.store.run import open_run
from ontogeny.verbs.analyze import analyze

ARCHIVE = Path(__file__).with_name("run_before_the_frame.tar.gz")
ALIKE = {"rtol": 2e-4, "atol": 2e-4}


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, unpacked; its corpora are named relative to where it was started."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "golden"


def test_it_opens_and_its_recipe_has_the_same_hashes(old: Path) -> None:
    run = open_run(old)
    recipe = recipe_of(run)
    assert (recipe.recipe_hash, recipe.train_hash) == ("7271ff18656d", "110c967f75ca")
    assert (run.provenance["recipe_hash"], run.provenance["train_hash"]) == ("7271ff18656d", "110c967f75ca")
    assert load_recipe(old.parent / "golden.yaml").recipe_hash == "7271ff18656d"
    assert [checkpoint.step for checkpoint in run.checkpoints] == [0, 10, 20]
    for checkpoint in run.checkpoints:
        checkpoint.verify()
    assert len(run.probes["swapped"]) == 6
    assert run.series("term_ewc", "train")["value"].iloc[-1] > 0


@pytest.mark.slow
def test_its_page_and_analyses_are_written(old: Path) -> None:
    """Verdicts as now: that version counted passages as units, and had fewer least numbers."""
    before = open_run(old).analyses
    page = write_report([open_run(old)]).read_text(encoding="utf-8")
    assert "the loss on train fell from 5.71 to 4.80" in page
    again = analyze(old, [], [])
    assert set(before) <= set(again)
    verdicts = {kind: again[kind]["verdict"] for kind in before}
    assert {kind for kind, said in verdicts.items() if said.startswith("not assessable")} == {
        "groups",
        "layers",
        "twins",
        "velocity",
    }
    assert verdicts["shape"].startswith(
        "whether a layer turns is not assessable: lacks 6 checkpoints or more: there are 3"
    )
    assert verdicts["content"].startswith("0 of 6 trained passages from 5 documents are memorized at the end")
    for kind in ("collapse", "forgetting", "onset", "rises"):
        assert verdicts[kind] == before[kind]["verdict"]


@pytest.mark.slow
def test_measures_see_what_they_saw(old: Path) -> None:
    kinds = [
        {"kind": "token_nll", "name": "token_nll_again"},
        {"kind": "evaluation", "name": "evaluation_again"},
        {"kind": "lr_landscape", "rates": 4, "passages": 4, "name": "landscape_again"},
    ]
    backfill(old, [validate_component("ontogeny.measures", kind) for kind in kinds], steps=[0, 10])
    run = open_run(old)
    for before, again, variables in (
        ("token_nll", "token_nll_again", ["nll_nats", "entropy_nats"]),
        ("evaluation", "evaluation_again", ["nll", "objective", "term_ewc", "term_l2_start"]),
        ("lr_landscape", "landscape_again", ["loss", "loss_before"]),
    ):
        was, now = run.measure(before).sel(checkpoint=[0, 1]), run.measure(again)
        for variable in variables:
            assert np.allclose(now[variable], was[variable], equal_nan=True, **ALIKE), variable


@pytest.mark.slow
def test_stopped_at_its_second_checkpoint_it_resumes_to_the_same_end(old: Path) -> None:
    end = open_run(old)
    metrics = end.metrics[end.metrics["scope"] != "timing"]
    stopped = old.parent / "stopped"
    shutil.copytree(old, stopped)
    shutil.rmtree(stopped / "checkpoints" / "step-00000020")
    status = json.loads((stopped / "status.json").read_text(encoding="utf-8"))
    (stopped / "status.json").write_text(json.dumps({**status, "state": "interrupted", "step": 10}), encoding="utf-8")
    resume(stopped)
    resumed = open_run(stopped).metrics
    resumed = resumed[resumed["scope"] != "timing"]
    keys = ["step", "scope", "name"]
    both = metrics.astype({"scope": str, "name": str}).merge(
        resumed.astype({"scope": str, "name": str}), on=keys, suffixes=("_before", "_now"), how="outer", indicator=True
    )
    assert set(both["_merge"]) == {"both"}
    assert np.allclose(both["value_now"], both["value_before"], equal_nan=True, rtol=2e-3, atol=2e-3)


def test_it_is_extended(old: Path) -> None:
    resume(old, steps=23)
    assert open_run(old).checkpoints[-1].step == 23


def test_a_finished_run_is_returned_as_it_is(old: Path) -> None:
    tree = open_run(old).recipe
    assert execute(validate(tree, "golden"), runs_dir=old.parent, to=old) == old
    assert [checkpoint.step for checkpoint in open_run(old).checkpoints] == [0, 10, 20]
