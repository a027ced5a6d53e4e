"""Scalars mirrored to a tracker are those of the run."""

from pathlib import Path

import pytest

from ontogeny.core.errors import MissingExtraError, OntogenyError
from ontogeny.core.recipe_file import validate
from ontogeny.integrations.trackers import mirrored
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.train.training import silent
from tests.small_runs import tree, write_text


def test_tensorboard_gets_what_the_run_recorded(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    texts = write_text(tmp_path / "words")
    recipe = validate(tree(texts, measures=["evaluation"]), "test")
    with mirrored(silent, ["tensorboard"], recipe, folder=str(tmp_path / "tracking")) as listen:
        path = execute(recipe, runs_dir=tmp_path, listen=listen)
    log = event_accumulator.EventAccumulator(str(next((tmp_path / "tracking").iterdir())))
    log.Reload()
    run = open_run(path)
    for tag, series in (
        ("train/loss", run.series("loss", "train")),
        ("novel/evaluation/nll", run.series("evaluation/nll", "novel")),
    ):
        events = log.Scalars(tag)
        assert [event.step for event in events] == series["step"].tolist()
        assert [event.value for event in events] == pytest.approx(series["value"].tolist(), rel=1e-6)


def test_unknown_and_missing_trackers_say_so(tmp_path: Path) -> None:
    recipe = validate(tree(tmp_path), "test")
    with pytest.raises(OntogenyError, match="did you mean 'tensorboard'"), mirrored(silent, ["tensorbord"], recipe):
        pass
    with pytest.raises(MissingExtraError, match="not installed"), mirrored(silent, ["aim"], recipe):
        pass
