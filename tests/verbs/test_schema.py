"""Every kind that a recipe can name has a schema to print."""

import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.verbs.schema import kind_schema


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("token_nll", "probes"),
        ("dreamed", "temperature"),
        ("cyclic", None),
        ("ladder", "size"),
        ("ewc", "text"),
        ("target_decrease", "target"),
        ("sleep", "share"),
    ],
)
def test_of_every_room(kind: str, key: str | None) -> None:
    found = kind_schema(kind)
    assert found["type"] == "object"
    assert key is None or key in found["properties"]


def test_an_unknown_kind_names_the_closest() -> None:
    with pytest.raises(OntogenyError, match=r"'slep'.*sleep"):
        kind_schema("slep")
