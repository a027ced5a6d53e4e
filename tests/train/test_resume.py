"""A run that is killed and resumed equals, bit for bit, the run that was never interrupted."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from ontogeny.core.errors import DataError, OntogenyError, StoreError
from ontogeny.core.progress import StepEvent
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.looking.observer import LookEvent
from ontogeny.objectives.compose import Objective
from ontogeny.runs import execute as execution
from ontogeny.runs import reopen
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute, resume
from ontogeny.runs.parents import find_finished_run
from ontogeny.runs.reopen import require_same_texts
from ontogeny.store.run import open_run
from ontogeny.train import loop, training
from ontogeny.train import trainer_state as state
from ontogeny.train.training import SaveEvent
from tests.small_runs import differences, tree, write_text

Bomb = Callable[[pytest.MonkeyPatch], Any]


def in_child(work: Callable[[], None]) -> int:
    """Run it in a forked process; return the signal that ended it (0 if it came through)."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a fork must end here, whatever happened
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the child failed instead of being killed"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def call_that_dies(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    """The function, but its n-th call is the last thing the process does."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            die()
        return function(*args, **kwargs)

    return wrapped


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Path:
    """The run that nothing interrupts: 12 steps in 3 epochs, checkpoints at 0, 4, 8, 12."""
    return execute(validate(tree(texts), "test"), runs_dir=tmp_path_factory.mktemp("whole"))


# the 22 examples in batches of 6 give 4 steps an epoch, each of 3 micro-batches
POINTS = {
    "before the first checkpoint": ("train_loss", 2),
    "after the first checkpoint": ("event", 2),
    "mid-step": ("step", 6),
    "mid-accumulation": ("train_loss", 3 * 6 + 2),
    "at an epoch boundary": ("event", 8),
    "inside a checkpoint write": ("save_trainer", 3),
    "between looking and saving": ("save_model", 3),
    "at the very end": ("event", 12),
}


def arm(monkeypatch: pytest.MonkeyPatch, where: str, number: int) -> Callable[[Any], None]:
    """Plant the bomb; returns a listener."""
    if where == "event":
        count = 0

        def listen(event: Any) -> None:
            nonlocal count
            count += isinstance(event, StepEvent)
            if count == number:
                die()

        return listen
    if where == "step":
        monkeypatch.setattr(torch.optim.AdamW, "step", call_that_dies(torch.optim.AdamW.step, number))
    elif where == "train_loss":
        monkeypatch.setattr(Objective, "train_loss", call_that_dies(Objective.train_loss, number))
    else:
        monkeypatch.setattr(training, where, call_that_dies(getattr(training, where), number))
    return lambda event: None


OFTEN = ("mid-accumulation", "inside a checkpoint write")
"""Where it is killed in the default suite; elsewhere among the slow tests."""


@pytest.mark.parametrize(
    "point", [one if one in OFTEN else pytest.param(one, marks=pytest.mark.slow) for one in POINTS]
)
def test_killed_and_resumed_equals_uninterrupted(
    point: str, whole: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = validate(tree(texts), "test")

    def work() -> None:
        with monkeypatch.context() as patch:
            execute(recipe, runs_dir=tmp_path, listen=arm(patch, *POINTS[point]))

    assert in_child(work) == signal.SIGKILL
    path = execute(recipe, runs_dir=tmp_path)
    assert differences(whole, path) == []
    assert open_run(path).status["state"] == "finished"


@pytest.mark.slow
def test_two_interruptions(whole: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = validate(tree(texts), "test")
    for where, number in (("step", 6), ("train_loss", 3 * 5)):

        def work(where: str = where, number: int = number) -> None:
            with monkeypatch.context() as patch:
                execute(recipe, runs_dir=tmp_path, listen=arm(patch, where, number))

        assert in_child(work) == signal.SIGKILL
    assert differences(whole, execute(recipe, runs_dir=tmp_path)) == []


def _forget_moments(session: Any, folder: Path) -> None:
    restored(session, folder)
    session.optimizer.state.clear()


def _forget_order(session: Any, folder: Path) -> None:
    restored(session, folder)
    session.plan.seed += 1


def _forget_randomness(session: Any, folder: Path) -> None:
    restored(session, folder)
    session.train = session.train.model_copy(update={"seed": 99})  # dropout is drawn from it; the plan has its own


restored = state.restore_trainer


@pytest.mark.parametrize(
    "forget",
    [_forget_moments, *(pytest.param(one, marks=pytest.mark.slow) for one in (_forget_order, _forget_randomness))],
)
def test_the_comparison_notices_what_was_not_restored(
    forget: Any, whole: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: optimizer, order or randomness deliberately not restored must show."""
    recipe = validate(tree(texts), "test")

    def work() -> None:
        with monkeypatch.context() as patch:
            execute(recipe, runs_dir=tmp_path, listen=arm(patch, "step", 6))

    assert in_child(work) == signal.SIGKILL
    monkeypatch.setattr(reopen, "restore_trainer", forget)
    path = execute(recipe, runs_dir=tmp_path)
    found = differences(whole, path)
    assert "checkpoint 8 differs" in found
    assert "metrics differ" in found


def test_a_flipped_byte_is_refused_and_the_checkpoint_before_is_offered(recipe: Recipe, tmp_path: Path) -> None:
    path = _stopped_at(recipe, tmp_path, 8)
    weights = path / "checkpoints/step-00000008/model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(StoreError, match=r"model\.safetensors is damaged.*before it is step 4") as error:
        resume(path)
    assert "\n" not in str(error.value)


def test_resume_extends_and_says_so(recipe: Recipe, tmp_path: Path) -> None:
    path = execute(recipe, runs_dir=tmp_path)
    with pytest.raises(OntogenyError, match="12 steps already"):
        resume(path, steps=12)
    resume(path, steps=14)
    run = open_run(path)
    assert run.checkpoints[-1].step == 14
    assert run.status["total_steps"] == 14
    assert run.provenance["extensions"] == [{"at_step": 12, "from_steps": 12, "to_steps": 14}]
    assert run.series("loss", "train")["step"].tolist() == list(range(14))


def test_changed_texts_are_refused(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "words")
    path = _stopped_at(validate(tree(folder), "test"), tmp_path / "runs", 4)
    for file in folder.iterdir():
        file.write_text(file.read_text().upper())
    with pytest.raises(DataError, match="no longer those that the run began with"):
        resume(path)


@pytest.mark.parametrize(("part", "told"), [("train", "data.train"), ("probes", "probe set 'train'")])
def test_changed_training_text_is_told_from_a_probe_set_called_train(part: str, told: str) -> None:
    def data(train: str, probe: str) -> dict[str, Any]:
        return {"train": {"sha256": train}, "probes": {"train": {"sha256": probe}}}

    begun: Any = SimpleNamespace(path=Path("run"), provenance={"data": data("a", "b")})
    now = data("x", "b") if part == "train" else data("a", "x")
    with pytest.raises(DataError, match=f"the passages of {told} are no longer those"):
        require_same_texts(begun, cast(Any, SimpleNamespace(provenance=now)))
    require_same_texts(begun, cast(Any, SimpleNamespace(provenance=data("a", "b"))))


def test_a_finished_run_is_left_alone(whole: Path, texts: Path) -> None:
    events: list[Any] = []
    assert execute(validate(tree(texts), "test"), runs_dir=whole.parent, listen=events.append) == whole
    assert events == []


def test_another_recipe_in_the_same_directory_is_refused(whole: Path, texts: Path) -> None:
    other = validate(tree(texts, name="other"), "test")
    with pytest.raises(StoreError, match="another recipe"):
        execute(other, runs_dir=whole.parent, to=whole)


def _stopped_at(recipe: Recipe, runs: Path, step: int) -> Path:
    """A run that its user stopped right after that checkpoint."""

    def listen(event: Any) -> None:
        if isinstance(event, SaveEvent) and event.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(recipe, runs_dir=runs, listen=listen)
    path = execution.run_path(recipe, runs)
    assert open_run(path).status["state"] == "interrupted"
    return path


def test_looks_happen_before_the_checkpoint_of_their_state(recipe: Recipe, tmp_path: Path) -> None:
    events: list[Any] = []
    execute(recipe, runs_dir=tmp_path, listen=events.append)
    seen = [type(e).__name__ for e in events if isinstance(e, LookEvent | SaveEvent) and e.step == 4]
    assert seen == ["LookEvent", "SaveEvent"] or not recipe.measures


def test_micro_batch_seeds_differ() -> None:
    seeds = {loop.micro_batch_seed(0, s, r, m) for s in range(3) for r in range(2) for m in range(3)}
    assert len(seeds) == 18


@pytest.mark.slow
def test_lora_on_a_run_of_ours_resumes_exactly(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base is elsewhere, the adapters are what is saved: weights, moments and files are the same again."""
    parent = execute(validate(tree(texts, measures=[]), "test"), runs_dir=tmp_path / "parent")
    content = tree(texts, name="lora", model={"kind": "from_run", "run": str(parent)})
    content["train"] = {**content["train"], "lora": {"rank": 2, "dropout": 0.1}}
    del content["tokenizer"]
    recipe = validate(content, "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")

    def work() -> None:
        with monkeypatch.context() as patch:
            execute(recipe, runs_dir=tmp_path / "killed", listen=arm(patch, "step", 6))

    assert in_child(work) == signal.SIGKILL
    path = execute(recipe, runs_dir=tmp_path / "killed")
    assert differences(whole, path) == []
    for file in path.rglob("*.json"):
        if file.name not in ("recipe.json", "provenance.json"):
            assert str(tmp_path) not in file.read_text(), file
    base = path / "base" / "model.safetensors"
    damaged = bytearray(base.read_bytes())
    damaged[-1] ^= 1
    base.write_bytes(damaged)
    with pytest.raises(StoreError, match=r"base/model\.safetensors is damaged"):
        resume(path, steps=15)
    (path / "MANIFEST.json").unlink()  # a run of an earlier version: only the weights' fingerprint tells
    provenance = json.loads((path / "provenance.json").read_text())
    del provenance["file_sha256"]
    (path / "provenance.json").write_text(json.dumps(provenance))
    with pytest.raises(StoreError, match=r"not the weights that were saved .*base was changed or damaged"):
        resume(path, steps=15)


def test_texts_changed_before_the_first_checkpoint_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_text(tmp_path / "words")
    recipe = validate(tree(folder), "test")

    def work() -> None:
        with monkeypatch.context() as patch:
            execute(recipe, runs_dir=tmp_path / "runs", listen=arm(patch, "save_model", 1))

    assert in_child(work) == signal.SIGKILL
    for file in folder.iterdir():
        file.write_text(file.read_text().upper())
    with pytest.raises(DataError, match="no longer those that the run began with"):
        execute(recipe, runs_dir=tmp_path / "runs")


def test_a_finished_run_on_other_texts_is_not_passed_off(tmp_path: Path) -> None:
    folder = write_text(tmp_path / "words")
    recipe = validate(tree(folder, measures=[]), "test")
    execute(recipe, runs_dir=tmp_path / "runs")
    for file in folder.iterdir():
        file.write_text(file.read_text().upper())
    with pytest.raises(DataError, match="start a new run"):
        execute(recipe, runs_dir=tmp_path / "runs")


@pytest.mark.slow
def test_later_looks_survive_an_extension_and_are_never_doubled(recipe: Recipe, tmp_path: Path) -> None:
    path = execute(recipe, runs_dir=tmp_path)
    rows = len(open_run(path).metrics)
    backfill(path, [validate_component("ontogeny.measures", kind) for kind in ("evaluation", "cloze")])
    once = open_run(path).metrics
    assert not once[once["scope"] != "timing"].duplicated(["step", "name", "scope"]).any()
    assert len(once) > rows
    before = open_run(path).series("cloze/accuracy", "novel")["value"].tolist()
    assert len(before) == 4
    resume(path, steps=14)
    run = open_run(path)
    assert run.series("cloze/accuracy", "novel")["value"].tolist() == before
    assert not run.metrics[run.metrics["scope"] != "timing"].duplicated(["step", "name", "scope"]).any()
    assert [note["steps"] for note in run.provenance["backfills"]] == [[0, 4, 8, 12]]


@pytest.mark.slow
def test_an_extended_run_is_not_the_parent_that_the_recipe_describes(recipe: Recipe, tmp_path: Path) -> None:
    path = execute(recipe, runs_dir=tmp_path)
    assert find_finished_run(tmp_path, recipe.train_hash) == path
    resume(path, steps=14)
    assert find_finished_run(tmp_path, recipe.train_hash) is None
    said: list[Any] = []
    assert execute(recipe, runs_dir=tmp_path, listen=said.append) == path
    assert any("extended from 12 to 14 steps" in event.text for event in said)


@pytest.mark.slow
def test_held_out_text_that_the_parent_may_know_is_refused(texts: Path, tmp_path: Path) -> None:
    parent = execute(validate(tree(texts, measures=[]), "test"), runs_dir=tmp_path)
    content = tree(texts, name="child", model={"kind": "from_run", "run": str(parent)})
    del content["tokenizer"]
    content["data"] = {**content["data"], "allow_overlap": False, "split_seed": 1}
    with pytest.raises(DataError, match="split in another way"):
        execute(validate(content, "test"), runs_dir=tmp_path)
    content["data"] |= {"allow_overlap": True}
    execute(validate(content, "test"), runs_dir=tmp_path)


def test_a_recipe_of_the_users_own_is_not_overwritten(recipe: Recipe, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "recipe.yaml").write_text("# my comments")
    with pytest.raises(StoreError, match=r"recipe\.yaml would be overwritten"):
        execute(recipe, runs_dir=tmp_path, to=mine)
    assert (mine / "recipe.yaml").read_text() == "# my comments"


def test_an_error_that_is_not_ours_leaves_a_true_status(recipe: Recipe, tmp_path: Path) -> None:
    def listen(event: Any) -> None:
        if isinstance(event, StepEvent) and event.step == 3:
            raise ZeroDivisionError("in a listener")

    with pytest.raises(ZeroDivisionError):
        execute(recipe, runs_dir=tmp_path, listen=listen)
    status = open_run(execution.run_path(recipe, tmp_path)).status
    assert (status["state"], status["message"]) == ("failed", "ZeroDivisionError: in a listener")
