"""All terms that distil in one run: what trains, what is saved, what is recorded, and that it resumes exactly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.models.weights import effective_weights, fingerprint
from ontogeny.runs.execute import execute, resume
from ontogeny.store.run import Run, open_run
from ontogeny.train.session import Session
from ontogeny.train.training import Training
from tests.architecture.planted.planting import run_until_killed
from tests.objectives.terms.pairs import neox
from tests.small_runs import differences, tree, write_text

LATER = {"shape": "piecewise", "points": [[0.2, 0.0], [0.6, 0.5]]}
"""Begins after a fifth of training."""
TERMS = [
    {"kind": "next_token", "weight": 0.5},
    {"kind": "hidden", "weight": LATER},
    {"kind": "hidden", "name": "last", "layers": [[2, 2]], "distance": "cosine"},
    {"kind": "routing", "weight": LATER},
    {"kind": "attention", "weight": 0.1},
    {"kind": "contrastive", "weight": 0.1},
    {"kind": "kd_chunks", "teacher": "foreign", "boundary": None},
    {"kind": "uld", "teacher": "foreign", "weight": LATER},
]
BUILT = ("hidden", "last", "routing", "contrastive")
"""Terms that have parts of their own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, and a teacher with a tokenizer of its own, of 262 tokens."""
    folder = tmp_path_factory.mktemp("texts")
    words = write_text(folder / "words")
    tokenizer = train_tokenizer([path.read_text() for path in sorted(words.glob("*.txt"))], 262)
    tokenizer.save_pretrained(folder / "foreign")
    neox(seed=4, vocabulary=len(tokenizer), width=16, positions=128).save_pretrained(folder / "foreign")
    return folder


def recipe(folder: Path, **changes: Any) -> Recipe:
    content = tree(folder / "words", name="all_terms", objective=TERMS)
    content["companions"] = {
        "teacher": {"kind": "ladder", "size": "pico"},
        "foreign": {"kind": "pretrained", "path": str(folder / "foreign")},
    }
    content["train"]["dropout"] = 0.0
    content["measures"] = ["evaluation"]
    return validate(content | changes, "test")


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return []


@pytest.fixture(scope="module")
def whole(folder: Path, sessions: list[Session], tmp_path_factory: pytest.TempPathFactory) -> Run:
    carry_out = Training.carry_out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "carry_out", lambda self: (sessions.append(self.session), carry_out(self)))
        return open_run(execute(recipe(folder), runs_dir=tmp_path_factory.mktemp("runs")))


def test_what_terms_built_is_optimized_moves_and_is_saved(whole: Run, sessions: list[Session]) -> None:
    """The last checkpoint has moved from the one before training, and nothing of a teacher is there."""
    (session,) = sessions
    optimized = {id(p) for group in session.optimizer.param_groups for p in group["params"]}
    own = {id(p) for label in BUILT for p in session.objective.modules[label].parameters()}
    assert own < optimized
    assert optimized == own | {id(p) for p in session.model.parameters()}
    first, last = (load_file(whole.checkpoints[i].path / "trainer" / "terms.safetensors") for i in (0, -1))
    assert {key.partition(".")[0] for key in last} == set(BUILT)
    assert all((last[key] != first[key]).any() for key in last)
    names = {path.name for path in whole.checkpoints[-1].path.rglob("*") if path.is_file()}
    assert names == {
        "model.safetensors",
        "config.json",
        "generation_config.json",
        "optimizer.safetensors",
        "terms.safetensors",
        "state.json",
        "MANIFEST.json",
    }


def test_teachers_are_bit_identical(whole: Run, sessions: list[Session]) -> None:
    for name, companion in sessions[0].objective.companions.items():
        recorded = whole.provenance["companions"][name]["weights_sha256"]
        assert fingerprint(effective_weights(companion.model)) == recorded
        assert not any(p.requires_grad or p.grad is not None for p in companion.model.parameters())


def test_every_step_adds_up_and_terms_at_rest_have_no_value(whole: Run, folder: Path) -> None:
    """12 steps; LATER is 0 at steps 0 to 2 (progress up to 0.2 of 12 = 2.4). Weights are recorded where they change."""
    labels = ["next_token", "hidden", "last", "routing", "attention", "contrastive", "kd_chunks", "uld"]
    constant = {term.label: term.weight.value for term in recipe(folder).objective if term.weight.is_constant}
    total = np.zeros(12)
    for label in labels:
        term = whole.series(f"term_{label}", "train")
        recorded = whole.series(f"weight_{label}", "train")["value"].to_numpy()
        assert (label in constant) == (len(recorded) == 0)
        weights = np.full(12, constant[label]) if label in constant else recorded
        assert term["step"].tolist() == list(range(3 if label in ("hidden", "routing", "uld") else 0, 12))
        total[term["step"]] += weights[term["step"]] * term["value"].to_numpy()
    assert whole.series("loss", "train")["value"].to_numpy() == pytest.approx(total, rel=1e-5)


def test_evaluation_has_every_term_and_what_it_tells(whole: Run) -> None:
    evaluated = whole.measure("evaluation").sel(probe="novel")
    for name in ("term_hidden", "term_routing", "routing_balance", "contrastive_floor", "kd_chunks_bias", "term_uld"):
        assert np.isfinite(evaluated[name].values).all(), name
    assert (evaluated["kd_chunks_bias"] > 0).all()


@pytest.mark.slow
def test_killed_in_the_ramp_and_resumed_it_is_bit_identical(whole: Run, folder: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    killed = run_until_killed(recipe(folder), tmp_path, at_step=6)
    assert open_run(killed).checkpoints[-1].step == 4
    assert differences(whole.path, resume(killed)) == []
