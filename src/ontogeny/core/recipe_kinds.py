"""Names and kinds that settings of a recipe are made of."""

from typing import Annotated

from pydantic import Field

from ontogeny.core.contracts import Corpus, ModelSource, Order, PassMeasure, StateMeasure, Term
from ontogeny.core.controls import Control
from ontogeny.core.interventions import Intervention
from ontogeny.core.kinds import Room
from ontogeny.core.penalties import Penalty

ORDERS = Room("ontogeny.data.orders")
TERMS = Room("ontogeny.objectives.terms")

AnyCorpus = Annotated[Corpus, Room("ontogeny.data.corpora")]
AnyOrder = Annotated[Order, ORDERS]
AnyModel = Annotated[ModelSource, Room("ontogeny.models.sources")]
AnyTerm = Annotated[Term | Penalty, TERMS]
AnyControl = Annotated[Control, Room("ontogeny.controls")]
AnyIntervention = Annotated[Intervention, Room("ontogeny.interventions")]
AnyMeasure = Annotated[PassMeasure | StateMeasure, Room("ontogeny.measures")]

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
CORPUS_SPLIT = r"^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*$"
RUN_NAME = r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$"
PATTERNS = {
    NAME: "a name of letters, digits, - and _",
    CORPUS_SPLIT: "corpus/split, for instance prose/train",
    RUN_NAME: "a name of letters, digits, -, _, . and /",
}
"""What each pattern of a recipe means, for error messages."""

Name = Annotated[str, Field(pattern=NAME)]
"""A name that may become a file's or an array's."""
Share = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
