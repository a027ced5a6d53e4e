"""A student that learns from a teacher: a run from end to end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.models.weights import effective_weights, fingerprint
from ontogeny.report.figures.distillation import against_the_nll, agreement, between_terms, what_terms_add
from ontogeny.report.sections.distillation import SECTION
from ontogeny.runs.execute import execute, resume
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from ontogeny.train.session import Session
from ontogeny.train.training import Training
from tests.architecture.planted.planting import run_until_killed
from tests.report import synthetic
from tests.small_runs import differences, tree, write_text

TERMS = [
    {"kind": "next_token", "weight": 0.5, "label_smoothing": 0.1},
    {"kind": "kd", "weight": {"shape": "piecewise", "points": [[0.2, 0.0], [0.6, 0.5]]}},
]
"""kd begins after a fifth of training."""


def student(folder: Path, **changes: Any) -> Recipe:
    content = tree(folder, name="student", objective=TERMS, companions={"teacher": {"kind": "ladder", "size": "pico"}})
    content["measures"] = [
        "evaluation",
        {"kind": "agreement", "teacher": "teacher"},
        {"kind": "term_gradients", "at": {"every_steps": 2}},
    ]
    return validate(content | changes, "test")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("texts") / "words")


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return []


@pytest.fixture(scope="module")
def whole(words: Path, sessions: list[Session], tmp_path_factory: pytest.TempPathFactory) -> Run:
    carry_out = Training.carry_out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "carry_out", lambda self: (sessions.append(self.session), carry_out(self)))
        return open_run(execute(student(words), runs_dir=tmp_path_factory.mktemp("runs")))


def of_training(run: Run, name: str) -> np.ndarray:
    return run.series(name, "train")["value"].to_numpy()


def test_terms_are_recorded_raw_with_their_weights(whole: Run) -> None:
    """12 steps (22 passages, batch 6, 3 epochs). kd has weight 0 at steps 0 to 2 (progress up to 0.2 of 12 = 2.4)."""
    weights = of_training(whole, "weight_kd")
    assert len(weights) == 12
    assert weights[:3].tolist() == [0.0, 0.0, 0.0]
    assert (np.diff(weights[2:9]) > 0).all()
    term = whole.series("term_kd", "train")
    assert term["step"].tolist() == list(range(3, 12)), "a term of weight 0 is not computed"
    smooth, kd, loss = of_training(whole, "term_next_token"), np.zeros(12), of_training(whole, "loss")
    kd[3:] = term["value"]
    assert loss == pytest.approx(0.5 * smooth + weights * kd, rel=1e-6)


def test_what_a_term_tells_besides_is_recorded(whole: Run) -> None:
    """T falls from 3 to 1, so T^2 is (3 - 2 s / 12)^2; smoothing raises the loss of a model that is not yet sure."""
    steps = whole.series("term_kd", "train")["step"].to_numpy()
    squared = (3 - 2 * steps / 12) ** 2
    assert of_training(whole, "term_kd") == pytest.approx(squared * of_training(whole, "kd_untempered"), rel=1e-6)
    assert (of_training(whole, "kd_kl_at_1") > 0).all()
    nll, smooth = of_training(whole, "next_token_nll"), of_training(whole, "term_next_token")
    assert (nll != smooth).all()


def test_smoothing_and_weights_never_enter_a_perplexity(whole: Run) -> None:
    evaluated = whole.measure("evaluation").sel(probe="novel")
    assert evaluated["perplexity"].values == pytest.approx(np.exp(evaluated["nll"].values), rel=1e-6)
    assert evaluated["next_token_nll"].values == pytest.approx(evaluated["nll"].values, rel=1e-5)
    assert (evaluated["term_next_token"] - evaluated["nll"])[1:].min() > 1e-3  # the model is surer than uniform


def test_evaluation_has_the_weights_and_the_temperature_of_its_step(whole: Run) -> None:
    evaluated = whole.measure("evaluation").sel(probe="novel")
    step = evaluated["step"].values
    weight = np.interp(step / 12, [0.2, 0.6], [0.0, 0.5])
    composed = 0.5 * evaluated["term_next_token"] + weight * evaluated["term_kd"]
    assert evaluated["objective"].values == pytest.approx(composed.values, rel=1e-6)
    squared = (3 - 2 * step / 12) ** 2
    assert evaluated["term_kd"].values == pytest.approx(squared * evaluated["kd_untempered"].values, rel=1e-6)


def test_the_teacher_is_bit_identical_and_nowhere_saved(whole: Run, sessions: list[Session]) -> None:
    """Its fingerprint after training is the one that was recorded before; the optimizer has the student alone."""
    (session,) = sessions
    teacher = session.objective.companions["teacher"]
    assert fingerprint(effective_weights(teacher.model)) == whole.provenance["companions"]["teacher"]["weights_sha256"]
    optimized = {id(p) for group in session.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in session.model.parameters()}
    assert not any(p.requires_grad or p.grad is not None for p in teacher.model.parameters())
    assert not teacher.model.training
    names = {path.name for path in whole.checkpoints[-1].path.rglob("*") if path.is_file()}
    assert names == {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "optimizer.safetensors",
        "state.json",
        "MANIFEST.json",
    }


def test_agreement_and_evaluation_see_the_same_divergence(whole: Run) -> None:
    """Two ways to one number: of all tokens but the first, the term counts those that training supervises: all."""
    evaluated, agreement = (whole.measure(group).sel(probe="novel") for group in ("evaluation", "agreement"))
    assert agreement["kl"].values == pytest.approx(evaluated["kd_kl_at_1"].values, rel=1e-4)
    assert agreement["nll"].values == pytest.approx(evaluated["nll"].values, rel=1e-5)


def test_looking_at_gradients_changes_no_bit_of_training(whole: Run, words: Path, tmp_path: Path) -> None:
    unseen = open_run(execute(student(words, measures=[]), runs_dir=tmp_path))
    for left, right in zip(whole.checkpoints, unseen.checkpoints, strict=True):
        assert left.manifest["files"] == right.manifest["files"]
    assert of_training(whole, "loss").tolist() == of_training(unseen, "loss").tolist()


def test_gradients_of_terms_are_recorded(whole: Run) -> None:
    """At step 0 and 2 kd rests: there the text has the whole step. Shares add up to 1 at every look."""
    data = whole.measure("term_gradients")
    assert data["step"].values.tolist() == [0, 2, 4, 6, 8, 10, 12]
    shares = data["share"]
    assert np.nansum(shares.values, axis=1) == pytest.approx(1, rel=1e-5)
    assert shares.sel(term="next_token").values[:2] == pytest.approx(1, rel=1e-5)
    assert np.isnan(shares.sel(term="kd").values[:2]).all()
    assert np.isfinite(data["cosine_all"].sel(term="kd", other="nll").values[2:]).all()


def test_the_page_has_a_section_of_its_own(whole: Run, tmp_path: Path) -> None:
    """Agreement, what terms add, gradients; where kd rests there is no cell. A run without a teacher has none of it."""
    group, without = RunGroup([whole]), RunGroup([synthetic.write_run(tmp_path, checkpoints=2, count=4, length=20)])
    content, figure = SECTION.content, against_the_nll(group)
    assert content is not None
    shown = content(group)
    assert shown is not None
    assert "kd: not optimised at steps 0 to 2." in shown.html
    assert content(without) is None
    for draw in (agreement, what_terms_add, against_the_nll, between_terms):
        assert draw(group) is not None
        assert draw(without) is None
    assert figure is not None
    (table,) = figure.panels["kd"].to_dict()["datasets"].values()
    assert {row["step"] for row in table} == {4, 6, 8, 10, 12}


@pytest.mark.slow
def test_the_student_moves_towards_the_teacher(words: Path, tmp_path: Path) -> None:
    """kd alone, at a constant temperature; the twin at weight 0 beside next_token moves elsewhere."""
    own = {"epochs": 12, "batch": 6, "lr": 0.01}
    constant = {"kind": "kd", "temperature": 1.0}
    runs = {}
    for name, terms in {"kd": [constant], "text": ["next_token", {**constant, "weight": 0}]}.items():
        recipe = student(words, name=name, objective=terms, train=own, measures=["evaluation"])
        runs[name] = open_run(execute(recipe, runs_dir=tmp_path)).measure("evaluation").sel(probe="train")
    assert runs["kd"]["term_kd"][-1] < 0.8 * runs["kd"]["term_kd"][0]
    assert runs["text"]["term_kd"][-1] > runs["text"]["term_kd"][0]


@pytest.mark.slow
def test_killed_in_the_ramp_and_resumed_it_is_bit_identical(whole: Run, words: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    killed = run_until_killed(student(words), tmp_path, at_step=6)
    assert open_run(killed).checkpoints[-1].step == 4
    assert differences(whole.path, resume(killed)) == []
