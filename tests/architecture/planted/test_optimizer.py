"""An optimizer in one file runs, is killed, resumes, is measured afterwards and shown."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.core.recipe_schema import recipe_schema
from ontogeny.report.page import write_report
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute, resume
from ontogeny.store.run import open_run
from tests.architecture.planted.planting import planted, run_until_killed
from tests.small_runs import differences, tree

pytestmark = pytest.mark.slow  # they train models of their own

LANDSCAPE = {"kind": "lr_landscape", "rates": 4, "at": {"steps": [0, 8]}}
STEPS = {"kind": "lr_landscape", "name": "two_steps", "rates": 4, "horizon": 2, "at": {"steps": [0, 8]}}


@pytest.fixture(autouse=True)
def _planted() -> Iterator[None]:
    with planted("ontogeny.optimizers", "sign_descent"):
        yield


def test_one_file_is_enough(texts: Path, tmp_path: Path) -> None:
    content = tree(texts, measures=["evaluation", LANDSCAPE, STEPS])
    content["train"]["optimizer"] = {"kind": "sign_descent", "momentum": 0.8}
    recipe = validate(content, "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    killed = run_until_killed(recipe, tmp_path / "killed", 10)
    assert differences(whole, resume(killed)) == []
    run = open_run(whole)
    assert run.series("loss", "train")["value"].iloc[-1] < run.series("loss", "train")["value"].iloc[0]

    backfill(whole, [validate_component("ontogeny.measures", STEPS | {"name": "afterwards"})], steps=[0, 8])
    live, afterwards = (open_run(whole).measure(name).load() for name in ("two_steps", "afterwards"))
    assert np.isfinite(live["loss"].values).all()
    assert live["loss"].equals(afterwards["loss"])
    landscape = run.measure("lr_landscape").load()
    assert "'sign_descent' is not known to be learning rate x direction" in landscape.attrs["not_assessable"]
    assert np.isfinite(landscape["loss_before"].values).all()
    assert np.isnan(landscape["loss"].values).all()
    assert np.isnan(landscape["best_rate"].values).all()
    page = write_report([open_run(whole)]).read_text(encoding="utf-8")
    assert "Loss after the next step, by learning rate" in page  # of the longer horizon


def test_its_settings_are_known(texts: Path) -> None:
    content = tree(texts)
    content["train"]["optimizer"] = {"kind": "sign_descent", "momentun": 0.8}
    with pytest.raises(RecipeError, match=r"unknown key 'momentun': did you mean 'momentum'\?"):
        validate(content, "test")
    options = recipe_schema()["$defs"]["Train"]["properties"]["optimizer"]["oneOf"]
    assert "sign_descent" in [option["title"] for option in options]
