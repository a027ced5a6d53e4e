"""Runs whose steps read a teacher's targets from a cache: filled once, shared, the same after any interruption."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.progress import StepEvent
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.models.sources.ladder import shape
from ontogeny.objectives.forward import FrozenForward
from ontogeny.runs import cached_targets
from ontogeny.runs.backfill import backfill
from ontogeny.runs.estimate import estimate
from ontogeny.runs.execute import execute, resume
from ontogeny.store.lock import RunLock
from ontogeny.store.run import Run, open_run
from ontogeny.train.training import Event, ProgressEvent, StageEvent, Training
from ontogeny.verbs.console import listening
from tests.architecture.planted.planting import run_until_killed
from tests.small_runs import differences, tree

STAIRS = {"shape": "piecewise", "points": [[0, 3.0], [1, 1.0]], "stairs": 3}
TOP_K = {"kind": "kd", "compared": "top_k", "top_k": 8, "temperature": STAIRS}
FULL = {"kind": "kd", "compared": "full", "temperature": 2.0}


@pytest.fixture(scope="module")
def words(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts' folder, beside which lies a teacher whose predictions are far from uniform, with its tokenizer."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    folder = tmp_path_factory.mktemp("beside")
    shutil.copytree(texts, folder / "words")
    tokenizer = train_tokenizer([path.read_text() for path in sorted(texts.iterdir())], 300)
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**shape("pico", 24, tokenizer, 0.0)))
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    model.save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    return folder / "words"


def student(words: Path, kept: dict[str, Any] | None, kd: dict[str, Any], *, seed: int = 0, **changes: Any) -> Recipe:
    """12 steps of a student that reads the teacher's targets from a cache; without `kept`, live."""
    path = str(words.parent / "teacher")
    content = tree(words, name="student", objective=["next_token", kd], measures=[], tokenizer={"path": path})
    content["companions"] = {"teacher": {"kind": "pretrained", "path": path}}
    content["train"] |= {"seed": seed} | ({"cached_targets": {"teacher": kept}} if kept else {})
    return validate(content | changes, "test")


def with_cache(words: Path, **changes: Any) -> Recipe:
    return student(words, {"top_k": 8}, TOP_K, **changes)


def shards(runs: Path) -> list[Path]:
    return sorted(path.parent for path in (runs / "cached_targets").rglob("MANIFEST.json"))


def run_of(runs: Path) -> Path:
    (path,) = {path.parent for path in runs.glob("*/provenance.json")}
    return path


@pytest.fixture(scope="module")
def whole(words: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(execute(with_cache(words, measures=["evaluation"]), runs_dir=tmp_path_factory.mktemp("runs")))


def test_a_step_from_the_cache_is_that_of_the_live_teacher(whole: Run, words: Path, tmp_path: Path) -> None:
    """Up to the rounding of logits to float16. `kl_at_1`, over all ids, is measured live, on probe sets alone."""
    live = open_run(execute(student(words, None, TOP_K, measures=["evaluation"]), runs_dir=tmp_path))
    losses, live_losses = (run.series("term_kd", "train")["value"].to_numpy() for run in (whole, live))
    assert losses == pytest.approx(live_losses, rel=1e-3)
    assert (losses != live_losses).any()
    assert whole.series("kd_kl_at_1", "train").empty
    assert not live.series("kd_kl_at_1", "train").empty
    evaluated, live_evaluated = (run.measure("evaluation") for run in (whole, live))
    for name in ("term_kd", "kd_kl_at_1", "objective"):
        assert evaluated[name].values[0].tolist() == live_evaluated[name].values[0].tolist()  # of the same weights
        assert evaluated[name].values == pytest.approx(live_evaluated[name].values, rel=1e-3)


def test_what_was_read_stands_in_the_provenance(whole: Run) -> None:
    """8 ids and 8 logits of 2 bytes, rests at 3 temperatures of 4."""
    (shard,) = shards(whole.path.parent)
    recorded = whole.provenance["cached_targets"]["teacher"]
    assert recorded["bytes_per_token"] == 8 * 2 + 8 * 2 + 3 * 4
    assert recorded["target_tokens"] == whole.provenance["data"]["train"]["tokens"] - 22  # all but first tokens
    assert (shard / "rows.bin").stat().st_size == 44 * recorded["target_tokens"]


def test_steps_do_not_run_the_teacher(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is run while the cache is filled, and never again; live, it is run in every step."""
    calls: list[str] = []
    logits_at, stage = FrozenForward.logits_at, [""]

    def counted(self: FrozenForward, positions: torch.Tensor) -> torch.Tensor:
        calls.append(stage[0])
        return logits_at(self, positions)

    def listen(event: Event) -> None:
        if isinstance(event, StageEvent):
            stage[0] = event.text
        if isinstance(event, ProgressEvent):
            assert event.done == 22

    monkeypatch.setattr(FrozenForward, "logits_at", counted)
    for seed, filled in ((0, True), (1, False)):
        calls.clear()
        execute(with_cache(words, seed=seed), runs_dir=tmp_path, listen=listen)
        assert set(calls) == ({"filling the cached targets of 'teacher'"} if filled else set())
    assert len(shards(tmp_path)) == 1
    calls.clear()
    execute(student(words, None, TOP_K), runs_dir=tmp_path, listen=listen)
    assert calls.count("training") == 12 * 3


@pytest.mark.parametrize(("kept", "kd"), [({"top_k": 8}, TOP_K), ({"samples": 16}, FULL)])
def test_resumed_with_the_cache_filled_again_it_is_bit_identical(
    kept: dict[str, Any], kd: dict[str, Any], words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run fills the cache; the other finds a copy, stops, loses it, and fills it again when it is resumed."""
    recipe, record = student(words, kept, kd), Training.record
    straight = execute(recipe, runs_dir=tmp_path / "a")
    shutil.copytree(tmp_path / "a" / "cached_targets", tmp_path / "b" / "cached_targets")

    def stop(self: Training, event: StepEvent) -> None:
        if event.step == 6:
            raise KeyboardInterrupt
        record(self, event)

    monkeypatch.setattr(Training, "record", stop)
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, runs_dir=tmp_path / "b")
    monkeypatch.setattr(Training, "record", record)
    shutil.rmtree(tmp_path / "b" / "cached_targets")
    assert differences(straight, resume(run_of(tmp_path / "b"))) == []
    assert len(shards(tmp_path / "b")) == 1


def test_other_targets_than_a_run_began_with_are_refused(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filled again by a teacher that computes otherwise: another machine, say, or other versions."""
    path = execute(with_cache(words), runs_dir=tmp_path)
    shutil.rmtree(tmp_path / "cached_targets")
    kept_of = cached_targets.kept_of

    def otherwise(logits: torch.Tensor, *others: Any) -> Any:
        return kept_of(1.01 * logits, *others)

    monkeypatch.setattr(cached_targets, "kept_of", otherwise)
    with pytest.raises(StoreError, match=r"holds other targets of 'teacher' than .* began with"):
        resume(path, steps=14)
    shutil.rmtree(tmp_path / "cached_targets")
    monkeypatch.setattr(cached_targets, "kept_of", kept_of)
    assert resume(path, steps=14) == path


def test_a_damaged_cache_is_refused(words: Path, tmp_path: Path) -> None:
    execute(with_cache(words), runs_dir=tmp_path)
    (shard,) = shards(tmp_path)
    with (shard / "rows.bin").open("r+b") as file:
        file.write(b"\xff")
    shutil.rmtree(run_of(tmp_path))
    with pytest.raises(StoreError, match=r"rows\.bin is damaged: .*; remove .*, and it is filled again"):
        execute(with_cache(words), runs_dir=tmp_path)
    shutil.rmtree(shard)
    execute(with_cache(words), runs_dir=tmp_path)


def in_child(work: Any) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 # a child has nobody to raise to
            sys.stderr.write(f"{error}\n")
            os._exit(1)
    return child


def test_killed_while_it_fills_it_leaves_nothing_that_is_read(whole: Run, words: Path, tmp_path: Path) -> None:
    """SIGKILL when all rows are written and nothing is renamed; the next run fills anew."""

    def die(event: Event) -> None:
        if isinstance(event, ProgressEvent):
            os.kill(os.getpid(), signal.SIGKILL)

    recipe = with_cache(words, measures=["evaluation"])
    child = in_child(lambda: execute(recipe, runs_dir=tmp_path, listen=die))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert shards(tmp_path) == []
    assert [path.name for path in (tmp_path / "cached_targets").rglob("rows.bin")] == ["rows.bin"]
    assert differences(whole.path, execute(recipe, runs_dir=tmp_path)) == []
    assert len(list((tmp_path / "cached_targets").rglob("rows.bin"))) == 1


def test_a_run_waits_for_the_one_that_fills(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other's lock is held until this run has said that it waits; it then reads what the other has filled."""
    done = execute(with_cache(words), runs_dir=tmp_path / "other")
    (shard,) = shards(done.parent)
    folder = tmp_path / "runs" / shard.relative_to(tmp_path / "other")
    folder.parent.mkdir(parents=True)
    lock = RunLock(folder.with_name(f".{folder.name}.lock"))
    told = []

    def listen(event: Event) -> None:
        if isinstance(event, StageEvent) and event.text.startswith(("waiting", "filling")):
            told.append(event.text)
            shutil.copytree(shard, folder)
            lock.release()

    path = execute(with_cache(words), runs_dir=tmp_path / "runs", listen=listen)
    assert told == ["waiting for the cached targets of 'teacher', which another run fills"]
    assert differences(done, path) == []


def test_a_plan_says_what_it_takes_and_fills_nothing(whole: Run, words: Path, tmp_path: Path) -> None:
    """Of 22 passages all tokens but the first are targets, of 44 bytes each."""
    train = whole.provenance["data"]["train"]
    tokens = train["tokens"] - 22
    plan = estimate(with_cache(words), runs_dir=tmp_path / "runs", scratch=tmp_path / "scratch")
    said = plan["cached targets"]["teacher"]
    taken = f"{tokens} target tokens: {44 * tokens / 1024:.0f} KiB, filled before training"
    assert said.startswith(f"top_k 8 at 3 temperatures, 44 bytes for each of {taken}")
    assert not (tmp_path / "runs").exists()
    without = estimate(student(words, None, TOP_K), runs_dir=tmp_path / "runs", scratch=tmp_path / "again")
    assert "cached targets" not in without


def test_more_ids_than_there_are_is_refused(words: Path, tmp_path: Path) -> None:
    recipe = student(words, {"top_k": 300, "at_most_bytes": 2000}, TOP_K | {"top_k": 300})
    with pytest.raises(OntogenyError, match=r"top_k 300 is all of 300 ids: write a smaller one"):
        execute(recipe, runs_dir=tmp_path)


def test_a_teacher_with_its_own_tokens_is_refused(words: Path, tmp_path: Path) -> None:
    recipe = with_cache(words, tokenizer={"vocab_size": 280})
    with pytest.raises(
        OntogenyError, match=r"train\.cached_targets\.teacher: the companion has a tokenizer of its own"
    ):
        execute(recipe, runs_dir=tmp_path)
    assert not (tmp_path / "cached_targets").exists()


def test_filling_is_shown_in_its_own_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with listening() as listen:
        listen(StageEvent(text="filling", total_steps=22, unit="passages"))
        listen(ProgressEvent(done=11))
        listen(ProgressEvent(done=22))  # less than ten seconds later
        listen(StageEvent(text="training", total_steps=12))
    assert capsys.readouterr().err.splitlines() == ["filling: 22 passages", "11/22 passages", "training: 12 steps"]


@pytest.mark.slow
def test_killed_and_resumed_it_is_bit_identical(whole: Run, words: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    recipe = with_cache(words, measures=["evaluation"])
    killed = run_until_killed(recipe, tmp_path, at_step=6)
    assert open_run(killed).checkpoints[-1].step == 4
    assert differences(whole.path, resume(killed)) == []


@pytest.mark.slow
def test_two_runs_at_once_fill_one_cache(words: Path, tmp_path: Path) -> None:
    """Of two seeds; the same teacher. Each ends as it does alone."""
    recipes = [with_cache(words, seed=seed) for seed in (0, 1)]
    children = [in_child(lambda recipe=recipe: execute(recipe, runs_dir=tmp_path / "both")) for recipe in recipes]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert len(shards(tmp_path / "both")) == 1
    for i, recipe in enumerate(recipes):
        alone = execute(recipe, runs_dir=tmp_path / str(i))
        assert differences(alone, tmp_path / "both" / alone.name) == []


@pytest.mark.slow
def test_looks_read_the_teacher_and_backfill_sees_what_they_saw(words: Path, tmp_path: Path) -> None:
    """Gradients of terms on the next batch are taken from the live teacher, so they need no cache but the step's."""
    measures = [{"kind": "term_gradients", "at": {"every_steps": 4}}]
    path = execute(with_cache(words, measures=measures), runs_dir=tmp_path)
    before = open_run(path).measure("term_gradients").load()
    recipe = with_cache(words, measures=measures)
    shutil.rmtree(tmp_path / "cached_targets")
    backfill(path, recipe.measures)
    assert open_run(path).measure("term_gradients").load().identical(before)


def test_the_same_weights_with_another_configuration_have_a_cache_of_their_own(words: Path, tmp_path: Path) -> None:
    """Settings that no tensor shows: another activation, fewer and wider heads."""
    first = Run(execute(with_cache(words), runs_dir=tmp_path / "runs"))
    config = words.parent / "teacher" / "config.json"
    before = config.read_text()
    try:
        for key, value in {"hidden_act": "relu", "num_attention_heads": 1}.items():
            settings = json.loads(before)
            assert settings[key] != value
            config.write_text(json.dumps(settings | {key: value}))
            with pytest.raises(StoreError, match="the companion 'teacher' has another configuration than when the run"):
                resume(first.path, steps=14)
            other = execute(with_cache(words, name=key), runs_dir=tmp_path / "runs")
            kl = [open_run(path).series("term_kd", "train")["value"].to_numpy() for path in (first.path, other)]
            assert abs(kl[0][0] - kl[1][0]) > 1e-4
    finally:
        config.write_text(before)
    assert len(shards(tmp_path / "runs")) == 3
    resume(first.path, steps=14)  # the old one is back


def test_a_teacher_that_gives_no_numbers_is_refused_before_training(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FrozenForward.logits_at

    def broken(self: FrozenForward, positions: torch.Tensor) -> torch.Tensor:
        logits = original(self, positions)
        logits[positions == 2] = float("nan")
        return logits

    monkeypatch.setattr(FrozenForward, "logits_at", broken)
    with pytest.raises(
        OntogenyError, match=r"'teacher' gives logits that are not finite, first on .* after its token 2"
    ):
        execute(with_cache(words), runs_dir=tmp_path)
    assert shards(tmp_path) == []


def test_ids_of_probability_zero_are_no_fault(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = FrozenForward.logits_at
    monkeypatch.setattr(
        FrozenForward, "logits_at", lambda self, at: original(self, at).index_fill_(1, torch.tensor([7]), -torch.inf)
    )
    execute(with_cache(words), runs_dir=tmp_path)
    assert len(shards(tmp_path)) == 1


def test_a_cache_that_is_there_is_read_without_writing(whole: Run, words: Path, tmp_path: Path) -> None:
    """No lock is made beside it, which a read-only file system would refuse."""
    shutil.copytree(whole.path.parent / "cached_targets", tmp_path / "cached_targets")
    for lock in tmp_path.rglob("*.lock"):
        lock.unlink()
    execute(with_cache(words), runs_dir=tmp_path)
    assert list((tmp_path / "cached_targets").rglob("*.lock")) == []


def test_looks_need_no_cache(whole: Run, words: Path, tmp_path: Path) -> None:
    path = tmp_path / whole.path.name
    shutil.copytree(whole.path, path)
    assert backfill(path, [validate_component("ontogeny.measures", "term_gradients")])
    assert not (tmp_path / "cached_targets").exists()
