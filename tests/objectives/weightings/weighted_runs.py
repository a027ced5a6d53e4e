"""Small recipes with a weighting, and a session of one."""

from pathlib import Path
from typing import Any

from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.runs.materials import gather, open_training, refuse_missing
from ontogeny.train.anchors import compute_anchors
from ontogeny.train.session import Session, to_device
from tests.small_runs import tree

TERMS: list[dict[str, Any]] = [
    {"kind": "next_token", "weight": 0.5},
    {"kind": "kd", "weight": 0.5},
    {"kind": "hidden", "weight": 0.1},
    {"kind": "l2_start", "weight": 3000.0},
]
"""`hidden` has trainable parts of its own; `l2_start` pulls back to the start, against the others."""


def weighted_recipe(texts: Path, **changes: Any) -> Recipe:
    """Six steps of a student and a teacher with four terms."""
    content = tree(texts, objective=TERMS, companions={"teacher": {"kind": "ladder", "size": "pico"}})
    content["train"] = {"steps": 6, "batch": 6, "lr": {"value": 0.01}}
    content["checkpoints"] = {"every_steps": 2}
    content["measures"] = ["evaluation"]
    return validate(content | changes, "test")


def session_of(recipe: Recipe) -> Session:
    """A session at step 0."""
    materials = gather(recipe, Path("nowhere"), refuse_missing)
    anchors = compute_anchors(recipe, to_device(materials.model), materials.prepared, None)
    return open_training(materials, Path("nowhere"), anchors)
