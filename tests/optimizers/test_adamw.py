"""AdamW: torch's own steps, the direction told beforehand, decay of matrices only, exact resume, hashes of old."""

from pathlib import Path

import pytest
import torch

from ontogeny.core.recipe_file import load_recipe
from ontogeny.optimizers.adamw import AdamW
from tests.optimizers.tiny import (
    SLOW,
    assert_direction_is_the_step,
    assert_only_matrices_decay,
    assert_resumes_bit_for_bit,
    make_parameters,
    take_steps,
    take_torch_steps,
)


def test_steps_are_torchs_own() -> None:
    ours, theirs = make_parameters(), make_parameters()
    take_steps(AdamW(betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1), ours, 0.01, 4)
    groups = [
        {"params": [p], "lr": 0.005 if name in SLOW else 0.01, "weight_decay": 0.1 if p.ndim > 1 else 0.0}
        for name, p in theirs.items()
    ]
    take_torch_steps([torch.optim.AdamW(groups, betas=(0.8, 0.9), eps=1e-6)], theirs, 4)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-8) for name in ours)


@pytest.mark.parametrize("taken", [0, 3])
def test_the_direction_is_the_step(taken: int) -> None:
    assert_direction_is_the_step(AdamW(weight_decay=0.1), taken)


def test_decay_by_hand() -> None:
    """Without a gradient a matrix shrinks by rate x decay: 0.1 x 0.2 = 0.02, half of that at half the rate."""
    assert_only_matrices_decay(
        AdamW(weight_decay=0.2),
        {
            "embed_in.weight": 0.99,
            "layers.0.weight": 0.99,
            "layers.0.bias": 1.0,
            "layers.1.weight": 0.98,
            "final_norm.weight": 1.0,
            "embed_out.weight": 0.98,
        },
    )


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_resumes_bit_for_bit(tmp_path, monkeypatch, {"weight_decay": 0.1})


@pytest.mark.parametrize(
    "override", ["train.seed=0", "train.optimizer=adamw", "train.optimizer.kind=adamw", "train.optimizer.eps=1e-8"]
)
def test_hashes_are_those_of_before_there_were_other_kinds(override: str) -> None:
    """As computed by the version whose optimizer was always AdamW, and whose demo did not spread its passages."""
    drawn_alike = [
        "data.train=[{of: prose/train, count: 48}]",
        *(f"data.probes.{name}.spread=false" for name in ("train", "novel", "general")),
    ]
    recipe = load_recipe("demo", [*drawn_alike, override])
    assert (recipe.recipe_hash, recipe.train_hash) == ("3766b7fe48ff", "19a37e71a889")
    decayed = load_recipe("demo", [*drawn_alike, "train.optimizer.weight_decay=0.1"])
    assert (decayed.recipe_hash, decayed.train_hash) == ("58f7a7e61bde", "77d4fc4210ed")


def test_another_kind_is_another_training() -> None:
    hashes = {load_recipe("demo", [f"train.optimizer={kind}"]).train_hash for kind in ("adamw", "muon", "sgd")}
    assert len(hashes) == 3
