"""Components that a recipe names by kind."""

from typing import Annotated

from ontogeny.core.contracts import Corpus, ModelSource, Order, PassMeasure, StateMeasure
from ontogeny.core.controls import Control
from ontogeny.core.interventions import Intervention
from ontogeny.core.kinds import Room
from ontogeny.core.terms import Term

ORDERS = Room("ontogeny.data.orders")
TERMS = Room("ontogeny.objectives.terms")

AnyCorpus = Annotated[Corpus, Room("ontogeny.data.corpora")]
AnyOrder = Annotated[Order, ORDERS]
AnyModel = Annotated[ModelSource, Room("ontogeny.models.sources")]
AnyTerm = Annotated[Term, TERMS]
AnyControl = Annotated[Control, Room("ontogeny.controls")]
AnyIntervention = Annotated[Intervention, Room("ontogeny.interventions")]
AnyMeasure = Annotated[PassMeasure | StateMeasure, Room("ontogeny.measures")]
