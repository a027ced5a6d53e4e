"""The JSON Schema of one kind of component."""

from typing import Any

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.core.kinds import find, kinds_of

ROOMS = (
    "ontogeny.measures",
    "ontogeny.data.corpora",
    "ontogeny.data.orders",
    "ontogeny.models.sources",
    "ontogeny.objectives.terms",
    "ontogeny.controls",
    "ontogeny.interventions",
    "ontogeny.optimizers",
)


def kind_schema(kind: str) -> dict[str, Any]:
    """Schema of the component of that kind, in whichever room it is. Raises OntogenyError, naming the closest."""
    for room in ROOMS:
        if kind in kinds_of(room):
            return find(room, kind).model_json_schema()
    raise OntogenyError(f"unknown kind '{kind}': {closest(kind, (k for room in ROOMS for k in kinds_of(room)))}")
