"""A run keeps the number of threads that it began with: when it is resumed, and when it is looked at again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ontogeny.core.progress import StepEvent
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute, resume
from ontogeny.runs.threads import asked_threads, recorded_threads, threads_of
from ontogeny.store.run import open_run
from ontogeny.train.training import StageEvent
from tests.small_runs import tree
from tests.store import scenarios


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("said", "threads"),
    [("4", 4), (" 2 ", 2), ("4,2", 4), ("", None), ("0", None), ("-1", None), ("many", None), ("²", None)],
)
def test_what_the_user_asks_for(said: str, threads: int | None) -> None:
    assert asked_threads({"OMP_NUM_THREADS": said}) == threads


def test_nothing_is_asked_where_the_variable_is_not_set() -> None:
    assert asked_threads({"MKL_NUM_THREADS": "4"}) is None


def test_what_provenances_say() -> None:
    assert recorded_threads({"environment": {"threads": 3}}) == 3
    assert recorded_threads({"environment": {}}) is None
    assert recorded_threads({}) is None
    assert recorded_threads({"environment": {"threads": 0}}) is None


def run_with(threads: int | None, path: Path) -> Any:
    with scenarios.create(path) as writer:
        writer.update_provenance(environment={} if threads is None else {"threads": threads})
    return open_run(path)


def test_the_number_is_restored_told_and_given_back(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    told: list[str] = []
    with threads_of(run_with(3, tmp_path / "three"), told.append):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 1
    assert told == ["continuing on 3 threads, as the run began; here it would be 1"]
    for silent in (1, None):
        with threads_of(run_with(silent, tmp_path / str(silent)), told.append):
            assert torch.get_num_threads() == 1
    assert len(told) == 1


def test_a_number_that_cannot_be_restored_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)  # a torch without a thread pool
    told: list[str] = []
    with threads_of(run_with(3, tmp_path / "run"), told.append):
        pass
    assert told == ["the run began on 3 threads, this torch computes on 1: its weights may end otherwise"]


class Threads:
    """A listener that notes on how many threads each step is taken, and what is told."""

    def __init__(self, stop_at: int | str | None = None) -> None:
        self.of_steps: set[int] = set()
        self.told: list[str] = []
        self.stop_at = stop_at

    def __call__(self, event: Any) -> None:
        if isinstance(event, StageEvent):
            self.told.append(event.text)
            if event.text == self.stop_at:
                raise KeyboardInterrupt
        if isinstance(event, StepEvent):
            self.of_steps.add(torch.get_num_threads())
            if event.step == self.stop_at:
                raise KeyboardInterrupt


@pytest.mark.parametrize("stop_at", [3, pytest.param("training", marks=pytest.mark.slow)])
def test_a_resumed_run_and_a_look_back_have_the_threads_of_its_beginning(
    texts: Path, tmp_path: Path, stop_at: int | str
) -> None:
    """Stopped after its first checkpoint, and before: then it begins again."""
    few = {"train": {"steps": 5, "batch": 6, "lr": 0.01}, "checkpoints": {"every_steps": 2}, "measures": ["token_nll"]}
    recipe = validate(tree(texts, **few), "test")
    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, runs_dir=tmp_path, listen=Threads(stop_at))
    (path,) = tmp_path.iterdir()
    torch.set_num_threads(1)
    later = Threads()
    resume(path, listen=later)
    assert later.of_steps == {2}
    assert "continuing on 2 threads, as the run began; here it would be 1" in later.told
    assert torch.get_num_threads() == 1
    looked: set[int] = set()
    backfill(
        path,
        [validate_component("ontogeny.measures", {"kind": "token_nll", "name": "again"})],
        listen=lambda event: looked.add(torch.get_num_threads()),
    )
    assert looked == {2}
    assert torch.get_num_threads() == 1
