"""Components that a recipe names by kind."""

from typing import Annotated

from ontogeny.core.controls import Control
from ontogeny.core.corpora import Corpus
from ontogeny.core.interventions import Intervention
from ontogeny.core.kinds import Room
from ontogeny.core.measures import PassMeasure, StateMeasure
from ontogeny.core.model_sources import ModelSource
from ontogeny.core.optimizers import Optimizer
from ontogeny.core.orders import Order
from ontogeny.core.terms import Term
from ontogeny.core.weightings import Weighting

ORDERS = Room("ontogeny.data.orders")
TERMS = Room("ontogeny.objectives.terms")
WEIGHTINGS = Room("ontogeny.objectives.weightings")
OPTIMIZERS = Room("ontogeny.optimizers", default_kind="adamw")
"""Recipes written before there were other kinds say none."""

AnyCorpus = Annotated[Corpus, Room("ontogeny.data.corpora")]
AnyOrder = Annotated[Order, ORDERS]
AnyModel = Annotated[ModelSource, Room("ontogeny.models.sources")]
AnyTerm = Annotated[Term, TERMS]
AnyWeighting = Annotated[Weighting, WEIGHTINGS]
AnyControl = Annotated[Control, Room("ontogeny.controls")]
AnyIntervention = Annotated[Intervention, Room("ontogeny.interventions")]
AnyOptimizer = Annotated[Optimizer, OPTIMIZERS]
AnyMeasure = Annotated[PassMeasure | StateMeasure, Room("ontogeny.measures")]
