"""A term that reads logits, a companion and a side input, with a part of its own: one file, and it works everywhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ontogeny.core.errors import DataError, RecipeError, StoreError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.core.yaml_tree import write_yaml
from ontogeny.report.page import write_report
from ontogeny.runs.backfill import backfill
from ontogeny.runs.estimate import estimate
from ontogeny.runs.execute import execute, resume
from ontogeny.runs.trial import trial_materials
from ontogeny.store.run import open_run
from ontogeny.train.session import Session
from ontogeny.train.training import Training
from tests.architecture.planted.planting import planted, run_until_killed
from tests.small_runs import differences

pytestmark = pytest.mark.slow  # they train models of their own

TERM = {"kind": "voiced_distillation", "weight": 0.5}


@pytest.fixture(autouse=True)
def _planted() -> Iterator[None]:
    with planted("ontogeny.data.corpora", "spoken"), planted("ontogeny.objectives.terms", "voiced_distillation"):
        yield


def content(teacher: Path | str, **changes: Any) -> dict[str, Any]:
    """A student of the teacher's shape that learns from it and from the text."""
    source = {"kind": "from_run", "run": str(teacher)} if isinstance(teacher, Path) else teacher
    return {
        "name": "student",
        "data": {
            "corpora": {"spoken": {"kind": "spoken"}},
            "splits": {"train": 0.7, "novel": 0.3},
            "length": 24,
            "min_length": 8,
            "train": [{"of": "spoken/train", "count": 16}],
            "probes": {"train": {"of": "spoken/train", "count": 4}, "novel": {"of": "spoken/novel", "count": 4}},
            "allow_overlap": True,
        },
        "tokenizer": {"vocab_size": 300},
        "model": {"kind": "ladder", "size": "pico"},
        "companions": {"teacher": source},
        "objective": ["next_token", TERM],
        "train": {"epochs": 3, "batch": 4, "accumulate": 2, "dropout": 0.1, "lr": 0.003, "seed": 1},
        "checkpoints": {"every_steps": 4},
        "measures": ["evaluation", {"kind": "gradient_norms", "at": {"every_steps": 4}}],
    } | changes


def recipe(teacher: Path, **changes: Any) -> Recipe:
    return validate(content(teacher, **changes), "test")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the same corpus, whose vectors a term reads here, too (the frame refuses them otherwise)."""
    with planted("ontogeny.data.corpora", "spoken"), planted("ontogeny.objectives.terms", "voiced_distillation"):
        folder = tmp_path_factory.mktemp("teacher")
        tree = content("", companions={"teacher": {"kind": "ladder", "size": "pico"}}, name="teacher")
        tree["train"] = {**tree["train"], "seed": 0, "epochs": 6}
        return execute(validate(tree, "test"), runs_dir=folder)


@pytest.fixture(scope="module")
def whole(teacher: Path) -> Path:
    with planted("ontogeny.data.corpora", "spoken"), planted("ontogeny.objectives.terms", "voiced_distillation"):
        return execute(recipe(teacher), runs_dir=teacher.parent / "whole")


def test_the_term_is_trained_evaluated_and_shown(whole: Path) -> None:
    run = open_run(whole)
    by_step = run.series("term_voiced_distillation", "train")["value"]
    assert by_step.iloc[-1] < by_step.iloc[0]
    evaluated = run.measure("evaluation").sel(probe="train")
    expected = evaluated["term_next_token"] + 0.5 * evaluated["term_voiced_distillation"]
    assert evaluated["objective"].values == pytest.approx(expected.values, rel=1e-6)
    page = write_report([run]).read_text(encoding="utf-8")
    assert "voiced_distillation" in page


def test_evaluation_equals_an_independent_computation(whole: Path, teacher: Path) -> None:
    """KL from both models' logits, passage by passage in float64; the projection is read from the checkpoint."""
    from transformers import AutoModelForCausalLM

    run = open_run(whole)
    last = run.checkpoints[-1]
    student = AutoModelForCausalLM.from_pretrained(last.model_path).eval()
    master = AutoModelForCausalLM.from_pretrained(open_run(teacher).checkpoints[-1].model_path).eval()
    weight = load_file(last.trainer_path / "terms.safetensors")["voiced_distillation.weight"].double()
    total, tokens, voiced, passages = 0.0, 0, 0.0, run.probes["train"].passages
    for passage in passages:
        ids = torch.from_numpy(passage.token_ids.astype(np.int64))[None]
        with torch.no_grad():
            p, q = (model(input_ids=ids).logits[0, :-1].double().log_softmax(-1) for model in (master, student))
        total += float((p.exp() * (p - q)).sum())
        tokens += len(passage) - 1
        voiced += float((torch.from_numpy(passage.sides["voice"]).double() @ weight.T).square().sum())
    expected = (total + voiced * tokens / len(passages)) / tokens
    found = float(run.measure("evaluation").sel(probe="train")["term_voiced_distillation"][-1])
    assert found == pytest.approx(expected, rel=1e-4)


def test_killed_and_resumed_it_is_bit_identical(whole: Path, teacher: Path, tmp_path: Path) -> None:
    killed = run_until_killed(recipe(teacher), tmp_path, at_step=6)
    assert open_run(killed).checkpoints[-1].step == 4
    assert differences(whole, resume(killed, runs_dir=teacher.parent)) == []


def test_backfill_sees_what_live_saw(whole: Path) -> None:
    for kind in ("evaluation", "gradient_norms"):
        again = validate_component("ontogeny.measures", {"kind": kind, "name": f"{kind}_again"})
        backfill(whole, [again])
        live, later = (open_run(whole).measure(group).load() for group in (kind, f"{kind}_again"))
        assert live.drop_attrs().identical(later.drop_attrs())


def test_side_inputs_are_kept_with_the_probe_set(whole: Path) -> None:
    for passage in open_run(whole).probes["novel"].passages:
        number = int(passage.source.partition(":")[2].partition("#")[0])
        assert passage.sides["voice"] == pytest.approx(np.array([[np.cos(number), np.sin(number), 1.0]]), abs=1e-6)


def test_the_companion_is_frozen_recorded_and_in_no_checkpoint(
    whole: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In evaluation mode after `train()`, without gradients, in no parameter group; its fingerprint as the run's."""
    sessions: list[Session] = []
    carry_out = Training.carry_out
    monkeypatch.setattr(Training, "carry_out", lambda self: (sessions.append(self.session), carry_out(self)))
    execute(recipe(teacher, name="watched"), runs_dir=tmp_path)
    (session,) = sessions
    companion = session.objective.companions["teacher"].model
    companion.train()
    assert not any(module.training for module in companion.modules())
    assert all(p.grad is None and not p.requires_grad for p in companion.parameters())
    held = {id(p) for group in session.optimizer.param_groups for p in group["params"]}
    assert not held & {id(p) for p in companion.parameters()}
    fingerprint = open_run(teacher).checkpoints[-1].place.weights_sha256
    assert open_run(whole).provenance["companions"]["teacher"]["weights_sha256"] == fingerprint
    saved = load_file(open_run(whole).checkpoints[-1].trainer_path / "terms.safetensors")
    assert list(saved) == ["voiced_distillation.weight"]


def test_another_companion_is_refused_at_resume(whole: Path, teacher: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(teacher, copy / "teacher")
    shutil.copytree(whole, copy / "whole")
    tree = content(copy / "teacher")
    run = execute(validate(tree, "test"), runs_dir=copy / "runs")
    other = content("", companions={"teacher": {"kind": "ladder", "size": "pico"}}, name="teacher")
    other["train"] = {**other["train"], "seed": 5}
    shutil.rmtree(copy / "teacher")
    execute(validate(other, "test"), runs_dir=copy, to=copy / "teacher")
    with pytest.raises(StoreError, match="the companion 'teacher' has another weights"):
        resume(run, steps=20)


def test_the_companion_counts_in_the_train_hash(teacher: Path) -> None:
    one = recipe(teacher)
    other = validate(content("", companions={"teacher": {"kind": "ladder", "size": "pico"}}), "test")
    assert one.train_hash != other.train_hash


def test_a_companion_recipe_that_has_not_run_is_trained_first(tmp_path: Path) -> None:
    tree = content("", companions={"teacher": {"kind": "ladder", "size": "pico"}}, name="early")
    path = tmp_path / "early.yaml"
    path.write_text(write_yaml(tree), encoding="utf-8")
    late = validate(content("", companions={"teacher": {"kind": "from_run", "recipe": str(path)}}), "test")
    plan = estimate(late, runs_dir=tmp_path / "runs", scratch=tmp_path / "scratch")
    assert plan["trained first"].startswith("early: 12 steps")
    assert "parameters, frozen" in plan["companions"]["teacher"]
    execute(late, runs_dir=tmp_path / "runs")
    assert {path.name.rpartition("-")[0] for path in (tmp_path / "runs").iterdir()} == {"early", "student"}


def test_one_missing_recipe_is_planned_once_and_stands_in_as_precise_as_training(tmp_path: Path) -> None:
    """It is missing twice, as the model to start from and as the companion; each gets a model of its own."""
    path = tmp_path / "early.yaml"
    early = content("", companions={"teacher": {"kind": "ladder", "size": "pico"}}, name="early", measures=[])
    path.write_text(write_yaml(early), encoding="utf-8")
    source = {"kind": "from_run", "recipe": str(path)}
    tree = content("", companions={"teacher": source}, model=source, tokenizer={})
    tree["train"] = {**tree["train"], "weights": "float64"}
    found, missing = trial_materials(validate(tree, "test"), tmp_path / "runs")
    assert [recipe.name for recipe in missing] == ["early"]
    teacher = found.companions["teacher"].model
    assert teacher.dtype == torch.float64
    assert not teacher.get_input_embeddings().weight.requires_grad
    assert found.model.get_input_embeddings().weight.requires_grad


def test_text_that_a_companion_may_know_is_not_held_out(teacher: Path) -> None:
    """The teacher was trained on another share of the corpus: what it learned by heart, it would tell the student."""
    data = content(teacher)["data"] | {"allow_overlap": False, "split_seed": 1}
    tree = content(teacher, data=data)
    with pytest.raises(DataError, match=r"data\.probes: spoken/\w+ is read from the corpus that .* was trained on"):
        trial_materials(validate(tree, "test"), teacher.parent)


def test_side_inputs_that_nobody_reads_are_refused_in_one_line(tmp_path: Path) -> None:
    tree = content("", companions={}, objective=["next_token"])
    with pytest.raises(DataError, match="carry the side input 'voice', which neither the model nor a loss term reads"):
        execute(validate(tree, "test"), runs_dir=tmp_path)


def test_an_unknown_companion_is_refused_in_one_line(teacher: Path) -> None:
    with pytest.raises(RecipeError, match="reads an unknown companion 'techer': did you mean 'teacher'"):
        recipe(teacher, objective=["next_token", {**TERM, "teacher": "techer"}])
    with pytest.raises(RecipeError, match="no loss term reads the companion 'teacher'"):
        recipe(teacher, objective=["next_token"])
