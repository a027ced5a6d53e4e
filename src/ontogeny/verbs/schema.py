"""The JSON Schema of one kind of component."""

from pydantic import JsonValue

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.core.kinds import find, kinds_of

ROOMS = (
    "ontogeny.measures",
    "ontogeny.data.corpora",
    "ontogeny.data.orders",
    "ontogeny.models.sources",
    "ontogeny.objectives.terms",
    "ontogeny.objectives.weightings",
    "ontogeny.controls",
    "ontogeny.interventions",
    "ontogeny.optimizers",
)


def kind_schema(kind: str) -> dict[str, JsonValue]:
    """The schema of a kind of component of any room. Raises OntogenyError that names the closest kind."""
    for room in ROOMS:
        if kind in kinds_of(room):
            return find(room, kind).model_json_schema()
    kinds = (known for room in ROOMS for known in kinds_of(room))
    raise OntogenyError(f"unknown kind '{kind}': {closest(kind, kinds)}")
