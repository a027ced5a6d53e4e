"""Every component says what its settings mean and what it costs, and has a test file."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from ontogeny.core.component import Component
from ontogeny.core.controls import Control
from ontogeny.core.kinds import find, kinds_of
from ontogeny.core.measures import PassMeasure, StateMeasure
from ontogeny.core.recipe import Recipe

TESTS = Path(__file__).parents[1]
ROOMS = [
    "ontogeny.measures",
    "ontogeny.controls",
    "ontogeny.interventions",
    "ontogeny.optimizers",
    "ontogeny.objectives.terms",
    "ontogeny.objectives.weightings",
    "ontogeny.data.corpora",
    "ontogeny.data.orders",
    "ontogeny.models.sources",
    "ontogeny.analyses",
    "ontogeny.analyses.across",
]
KINDS = [(room, kind) for room in ROOMS for kind in kinds_of(room)]


def undescribed(model: type[BaseModel]) -> list[str]:
    """Fields without a docstring, of the model and of those inside it."""
    schema = model.model_json_schema()
    blocks = {model.__name__: schema, **schema.get("$defs", {})}
    return [
        f"{name}.{field}"
        for name, block in blocks.items()
        for field, described in block.get("properties", {}).items()
        if "description" not in described and "const" not in described
    ]


@pytest.mark.parametrize(("room", "kind"), KINDS)
def test_every_setting_is_described(room: str, kind: str) -> None:
    cls = find(room, kind)
    assert cls.__doc__
    assert undescribed(cls) == []


def test_every_key_of_a_recipe_is_described() -> None:
    assert undescribed(Recipe) == []


def test_missing_docstrings_are_found() -> None:
    class Bare(Component):
        size: int = 1

    assert undescribed(Bare) == ["Bare.size"]


@pytest.mark.parametrize("kind", kinds_of("ontogeny.measures"))
def test_every_measure_says_what_it_costs(kind: str) -> None:
    cls = find("ontogeny.measures", kind)
    assert issubclass(cls, PassMeasure | StateMeasure)
    assert cls.cost


@pytest.mark.parametrize("kind", kinds_of("ontogeny.controls"))
def test_every_control_says_what_it_costs(kind: str) -> None:
    cls = find("ontogeny.controls", kind)
    assert issubclass(cls, Control)
    assert cls.cost


@pytest.mark.parametrize(("room", "kind"), KINDS)
def test_every_kind_has_a_test_file(room: str, kind: str) -> None:
    folder = TESTS.joinpath(*room.split(".")[1:])
    assert (folder / f"test_{kind}.py").is_file()
