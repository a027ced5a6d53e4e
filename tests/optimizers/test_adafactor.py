"""Adafactor: torch's own steps, moments per row and column, exact resume; its direction is not told."""

from pathlib import Path

import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.core.optimizers import DirectionUnknownError
from ontogeny.core.recipe_file import load_recipe
from ontogeny.optimizers.adafactor import Adafactor
from ontogeny.train.weight_changes import _forget
from tests.optimizers.tiny import (
    SLOW,
    assert_only_matrices_decay,
    assert_resumes_bit_for_bit,
    make_parameters,
    take_steps,
    take_torch_steps,
)


def test_steps_are_torchs_own() -> None:
    ours, theirs = make_parameters(), make_parameters()
    take_steps(Adafactor(beta2_decay=-0.5, eps_scale=1e-2, clipping=1.5, weight_decay=0.1), ours, 0.01, 4)
    groups = [
        {"params": [p], "lr": 0.005 if name in SLOW else 0.01, "weight_decay": 0.1 * (p.ndim > 1)}
        for name, p in theirs.items()
    ]
    take_torch_steps([torch.optim.Adafactor(groups, beta2_decay=-0.5, eps=(None, 1e-2), d=1.5)], theirs, 4)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_step_is_not_proportional_to_the_rate() -> None:
    """At step 4 the rate is bounded by 1 / sqrt(4) = 0.5: 0.2 moves twice as far as 0.1, 2 as far as 1."""
    moves = {}
    for rate in (0.1, 0.2, 1.0, 2.0):
        parameters = make_parameters(torch.float64)
        optimizer = take_steps(Adafactor(), parameters, 0.01, 3)
        before = parameters["layers.0.bias"].detach().clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        moves[rate] = parameters["layers.0.bias"].detach() - before
    assert torch.allclose(moves[0.2], 2 * moves[0.1])
    assert torch.equal(moves[2.0], moves[1.0])


def test_its_direction_is_not_told() -> None:
    kind = Adafactor()
    assert not kind.tells_direction
    optimizer = take_steps(kind, make_parameters(), 0.01, 1)
    with pytest.raises(DirectionUnknownError, match="the step of the optimizer 'adafactor' is not known"):
        kind.update_direction(optimizer)


def test_a_control_that_needs_the_direction_is_refused() -> None:
    control = "train.controls=[{kind: target_decrease, new: novel}]"
    load_recipe("demo", ["train.optimizer=muon", control])
    with pytest.raises(
        RecipeError, match=r"'target_decrease' needs the step at each rate .* 'adafactor' does not tell"
    ):
        load_recipe("demo", ["train.optimizer=adafactor", control])


def test_decay_by_hand() -> None:
    """Without a gradient a matrix shrinks by rate x decay: 0.1 x 0.2 = 0.02, half of that at half the rate."""
    factors = {"embed_in.weight": 0.99, "layers.0.weight": 0.99, "layers.0.bias": 1.0}
    factors |= {"layers.1.weight": 0.98, "final_norm.weight": 1.0, "embed_out.weight": 0.98}
    assert_only_matrices_decay(Adafactor(weight_decay=0.2), factors)


def test_moments_of_rows_and_columns_are_forgotten_whole() -> None:
    """Of a 2 x 3 matrix all of row 0 and the last column is anew: row 0 and column 2 begin at 0, nothing else."""
    mask = torch.tensor([[True, True, True], [False, False, True]])
    rows, columns, step = torch.ones(2, 1), torch.ones(1, 3), torch.tensor(5.0)
    for moment in (rows, columns, step):
        _forget(moment, mask)
    assert rows.tolist() == [[0.0], [1.0]]
    assert columns.tolist() == [[1.0, 1.0, 0.0]]
    assert float(step) == 5.0
    single = torch.ones(1, 1)
    _forget(single, torch.tensor([[True], [False]]))
    assert float(single) == 1.0


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_resumes_bit_for_bit(
        tmp_path,
        monkeypatch,
        {"kind": "adafactor", "weight_decay": 0.01},
        interventions=[{"kind": "sleep", "at": {"every_steps": 9}}],
    )
