"""The loss of each example under the model that training starts from, or a companion, for orders that sort by it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.core.passages import ProbeSet
from ontogeny.core.recipe import Recipe
from ontogeny.data.prepare import Prepared
from ontogeny.looking.forward_passes import forward_probe_set
from ontogeny.looking.guard import looking
from ontogeny.models.body_and_head import BodyAndHead
from ontogeny.models.companions import Companion
from ontogeny.store import durable, schema
from ontogeny.store.manifest import Listed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_TOKENS = 4096


def example_nll(
    recipe: Recipe, run: Path, model: "PreTrainedModel", prepared: Prepared, companions: Mapping[str, Companion]
) -> np.ndarray | None:
    """Mean NLL per token of every example, float64 [n], if the recipe's order needs it; else None.

    Computed before training and kept in the run; read from there when a run is continued. Raises StoreError if it was
    kept and is lost or damaged, DataError for a judge whose NLL per token is of other tokens.
    """
    if recipe.train is None or not recipe.train.order.needs_nll:
        return None
    if (judge := recipe.train.order.judge) is not None:
        if companions[judge].tokenizer is not None:
            raise DataError(
                f"train.order: '{judge}' reads the text in tokens of its own, so its loss per token is of others than "
                "the student's: name a companion with the same tokenizer, or leave out by"
            )
        model = companions[judge].model
    kept, listed = run / schema.ORDER, Listed(run)
    if not kept.exists() and schema.ORDER not in listed.entries:
        durable.write_json(kept, {"nll": _measured(model, prepared).tolist()})
    return np.array(durable.parse_json(kept, listed.read(kept))["nll"], dtype=np.float64)


def _measured(model: "PreTrainedModel", prepared: Prepared) -> np.ndarray:
    examples = ProbeSet(name="examples", passages=prepared.examples)
    mean_nll = np.zeros(len(examples))
    with looking(model):
        for batch in forward_probe_set(BodyAndHead(model), examples, frozenset({"nll"}), BATCH_TOKENS):
            nll = batch.nll.double().cpu().numpy()
            mean_nll[batch.rows] = np.nansum(nll, axis=1) / np.maximum(np.isfinite(nll).sum(axis=1), 1)
    return mean_nll
