"""Half the squared distance from the start."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from ontogeny.core.errors import OntogenyError, RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.core.terms import Start
from ontogeny.objectives.terms.ewc import Ewc
from ontogeny.objectives.terms.l2_start import L2Start
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.objectives.terms.test_ewc import penalty
from tests.small_runs import tree, write_text


def test_by_hand() -> None:
    """From (1, 1) to (3, 0): 1/2 (2^2 + 1^2) = 2.5; its gradient is the difference (2, -1)."""
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    anchor = L2Start().anchor(Start(model=model, passages=(), seed=0))
    moved = torch.tensor([[3.0, 0.0]], requires_grad=True)
    value = penalty(L2Start(), {"weight": moved}, anchor)
    value.backward()
    assert value.item() == 2.5
    assert moved.grad is not None
    assert moved.grad.tolist() == [[2.0, -1.0]]
    assert penalty(L2Start(), dict(model.named_parameters()), anchor).item() == 0.0


def test_the_anchor_does_not_move_with_the_model() -> None:
    model = nn.Linear(2, 1)
    anchor = L2Start().anchor(Start(model=model, passages=(), seed=0))
    with torch.no_grad():
        model.bias.add_(2.0)
    assert penalty(L2Start(), dict(model.named_parameters()), anchor).item() == pytest.approx(2.0)  # 1/2 x 2^2


def test_another_model_is_refused() -> None:
    anchor = L2Start().anchor(Start(model=nn.Linear(2, 1), passages=(), seed=0))
    with pytest.raises(OntogenyError, match="'other'"):
        penalty(L2Start(), {"other": torch.zeros(1)}, anchor)


def _moved(folder: Path, weight: float, lr: float = 0.002) -> tuple[float, float]:
    """How far the weights went (L2), and by how much the loss on novel text changed."""
    settings = {"epochs": 30, "batch": 11, "dropout": 0.0, "lr": {"shape": "linear", "value": lr}}
    terms = ["next_token", {"kind": "l2_start", "weight": weight}]
    content = tree(folder / "words", train=settings, objective=terms, checkpoints={"epochs": [0, 30]})
    content["measures"] = ["evaluation"]
    run = open_run(execute(validate(content, "test"), runs_dir=folder / "runs"))
    loss = run.measure("evaluation").sel(probe="novel")
    return float(2 * loss["term_l2_start"][-1]) ** 0.5, float(loss["nll"][-1] - loss["nll"][0])


@pytest.mark.slow
def test_a_strong_one_holds_the_weights_and_none_lets_them_go(tmp_path: Path) -> None:
    """A model that cannot forget: everything stays, the loss on held-out text too. Without, both move."""
    write_text(tmp_path / "words")
    far, change = _moved(tmp_path, 0.0)
    assert far > 1
    assert abs(change) > 0.1
    near, unchanged = _moved(tmp_path, 1e6)
    assert near < 1e-3
    assert abs(unchanged) < 1e-4


def test_it_is_refused_beside_adapters(tmp_path: Path) -> None:
    content = tree(write_text(tmp_path / "words"), objective=["next_token", "l2_start"])
    content["train"] = {"steps": 1, "lora": {"rank": 2}}
    with pytest.raises(RecipeError, match=r"l2_start.*train\.lora freezes"):
        validate(content, "test")


@pytest.mark.parametrize(
    "weight", [-1, {"shape": "ramp", "value": -0.5}, {"shape": "piecewise", "points": [[0, 1], [1, -1]]}]
)
@pytest.mark.parametrize(("term", "more"), [(L2Start, {}), (Ewc, {"text": {"of": "a/train"}})])
def test_a_weight_below_zero_is_refused(term: type, more: dict, weight: object) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValidationError, match=r"would push the weights away from their start: write 0 \(no penalty\)"):
        term.model_validate({"weight": weight, **more})
    assert term.model_validate({"weight": 0, **more}).weight.value == 0
