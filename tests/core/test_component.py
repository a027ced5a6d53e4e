import json
from typing import Any

import pytest
from pydantic import ValidationError

from ontogeny.core.component import Component, Settings, refusal


class Block(Settings):
    count: int = 1
    """How many."""
    share: float = 0.5
    names: tuple[str, ...] = ()
    model: str | None = None


class Thing(Component):
    size: int = 3


@pytest.mark.parametrize(
    "values",
    [
        {"count": "3"},
        {"count": True},
        {"count": 3.0},
        {"share": "0.5"},
        {"share": True},
        {"names": "abc"},
        {"names": [1]},
        {"model": 3},
        {"unknown": 1},
    ],
)
def test_nothing_is_converted_silently(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Block.model_validate_json(json.dumps(values))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_are_finite(number: str) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Block.model_validate_json(f'{{"share": {number}}}')


def test_a_whole_number_is_a_number() -> None:
    assert Block.model_validate_json('{"share": 3, "names": ["a"]}') == Block(share=3.0, names=("a",))


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Block().count = 2  # type: ignore[misc]


def test_docstring_of_a_field_is_its_description() -> None:
    assert Block.model_json_schema()["properties"]["count"]["description"] == "How many."


def test_kind_is_the_name_of_the_module_and_is_written_first() -> None:
    assert Thing.kind == "test_component"
    assert list(Thing().model_dump(mode="json").items()) == [("kind", "test_component"), ("size", 3)]


def test_refusal_lies_where_it_says() -> None:
    error = refusal("no {way}", "names", 0)
    assert [(item["loc"], item["msg"]) for item in error.errors()] == [(("names", 0), "no {way}")]
