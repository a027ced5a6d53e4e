import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from ontogeny.core.recipe import Recipe

BASE: dict[str, Any] = {
    "name": "small",
    "data": {
        "corpora": {"prose": "python_prose", "code": {"kind": "python_code"}},
        "train": [{"of": "prose/train"}],
        "probes": {"train": {"of": "prose/train", "count": 4}, "general": {"of": "code/novel", "count": 4}},
    },
    "model": {"kind": "ladder", "size": "pico"},
    "train": {"steps": 3},
    "measures": ["evaluation", {"kind": "token_nll", "probes": ["train"]}],
}

Change = Callable[[dict[str, Any]], Any]


def recipe(change: Change = lambda tree: None) -> Recipe:
    tree = copy.deepcopy(BASE)
    change(tree)
    return Recipe.model_validate_json(json.dumps(tree))


def test_defaults_are_written_out() -> None:
    written = recipe().as_json()
    assert written["train"]["order"]["kind"] == "shuffled"
    assert [term["kind"] for term in written["objective"]] == ["next_token"]
    assert written["train"]["lr"] == 0.001
    assert Recipe.model_validate_json(json.dumps(written)) == recipe()


def test_the_same_recipe_said_otherwise_has_the_same_hash() -> None:
    def otherwise(tree: dict[str, Any]) -> None:
        tree["data"]["corpora"]["prose"] = {"kind": "python_prose"}
        tree["train"] |= {"batch": 8, "lr": {"shape": "constant", "value": 1e-3}, "clip": 1}
        tree["measures"][0] = {"kind": "evaluation"}

    assert recipe(otherwise).recipe_hash == recipe().recipe_hash


SHAPES_NOTHING: dict[str, Change] = {
    "name": lambda tree: tree.update(name="other"),
    "about": lambda tree: tree.update(about="why"),
    "probes": lambda tree: tree["data"]["probes"].update(more={"of": "prose/novel"}),
    "overlap": lambda tree: tree["data"].update(allow_overlap=True),
    "checkpoints": lambda tree: tree.update(checkpoints={"every_steps": 1}),
    "measures": lambda tree: tree["measures"].pop(),
}
SHAPES_WEIGHTS: dict[str, Change] = {
    "seed": lambda tree: tree["train"].update(seed=1),
    "steps": lambda tree: tree["train"].update(steps=4),
    "lr": lambda tree: tree["train"].update(lr=2e-3),
    "order": lambda tree: tree["train"].update(order="sequential"),
    "size": lambda tree: tree["model"].update(size="nano"),
    "what is trained on": lambda tree: tree["data"].update(train=[{"of": "code/train"}]),
    "splits": lambda tree: tree["data"].update(splits={"train": 0.5, "novel": 0.5}),
    "corpora": lambda tree: tree["data"]["corpora"].pop("code") and tree["data"]["probes"].pop("general"),
    "vocabulary": lambda tree: tree.update(tokenizer={"vocab_size": 300}),
    "dropout": lambda tree: tree["train"].update(dropout=0.1),
}


@pytest.mark.parametrize("what", SHAPES_NOTHING)
def test_looking_does_not_change_the_train_hash(what: str) -> None:
    changed = recipe(SHAPES_NOTHING[what])
    assert changed.recipe_hash != recipe().recipe_hash
    assert changed.train_hash == recipe().train_hash


@pytest.mark.parametrize("what", SHAPES_WEIGHTS)
def test_what_shapes_the_weights_changes_both_hashes(what: str) -> None:
    changed = recipe(SHAPES_WEIGHTS[what])
    assert changed.recipe_hash != recipe().recipe_hash
    assert changed.train_hash != recipe().train_hash


def test_a_recipe_that_only_looks() -> None:
    def only_look(tree: dict[str, Any]) -> None:
        del tree["train"], tree["data"]["train"]

    assert recipe(only_look).train is None


IMPOSSIBLE: dict[str, tuple[Change, tuple[str | int, ...], str]] = {
    "steps without end": (
        lambda t: t["train"].update(steps=10**15),
        ("train", "steps"),
        "at most 10,000,000,000 steps",
    ),
    "two lengths": (lambda t: t["train"].update(epochs=1), ("train",), "exactly one of steps, epochs, tokens"),
    "no length": (lambda t: t["train"].pop("steps"), ("train",), "exactly one of steps, epochs, tokens"),
    "uneven micro-batches": (
        lambda t: t["train"].update(batch=8, accumulate=3),
        ("train", "accumulate"),
        "batch 8 cannot be cut into 3 equal micro-batches",
    ),
    "nothing to train on": (lambda t: t["data"].pop("train"), (), "train and data.train come together"),
    "nothing that trains": (lambda t: t.pop("train"), (), "train and data.train come together"),
    "shares above 1": (
        lambda t: t["data"].update(splits={"train": 0.9, "novel": 0.2}),
        ("data", "splits"),
        "the shares add up to 1.1, more than 1: ",
    ),
    "min_length above length": (
        lambda t: t["data"].update(length=8),
        ("data", "min_length"),
        "min_length 16 is more than length 8",
    ),
    "unknown corpus": (
        lambda t: t["data"]["train"].append({"of": "pros/train"}),
        ("data", "train", 1, "of"),
        "unknown corpus 'pros': did you mean 'prose'?",
    ),
    "unknown split": (
        lambda t: t["data"]["probes"].update(x={"of": "prose/nvoel"}),
        ("data", "probes", "x", "of"),
        "unknown split 'nvoel': did you mean 'novel'?",
    ),
    "count and at_most": (
        lambda t: t["data"]["train"].append({"of": "prose/train", "count": 1, "at_most": 2}),
        ("data", "train", 1),
        "say either count or at_most",
    ),
    "probe named as a scope": (
        lambda t: t["data"]["probes"].update(timing={"of": "prose/novel"}),
        ("data", "probes", "timing"),
        "'timing' is a scope of the metrics table: rename the probe set",
    ),
    "measure of one name twice": (
        lambda t: t["measures"].append("evaluation"),
        ("measures", 2),
        "a second one is called 'evaluation': give one of them a name of its own",
    ),
    "term twice": (
        lambda t: t.update(objective=["next_token", "next_token"]),
        ("objective", 1),
        "a second one is called 'next_token'",
    ),
    "unknown probe set": (
        lambda t: t["measures"].append({"kind": "token_nll", "name": "more", "probes": ["train", "generl"]}),
        ("measures", 2, "probes", 1),
        "unknown probe set 'generl': did you mean 'general'?",
    ),
    "unknown tokenizer corpus": (
        lambda t: t.update(tokenizer={"vocab_size": 300, "corpora": ["pros"]}),
        ("tokenizer", "corpora", 0),
        "unknown corpus 'pros': did you mean 'prose'?",
    ),
    "tokenizer loaded and trained": (
        lambda t: t.update(tokenizer={"vocab_size": 300, "path": "there"}),
        ("tokenizer",),
        "say either path (load it) or vocab_size (train it), not both",
    ),
    "nothing to look at": (
        lambda t: t["data"].pop("probes") and t.update(measures=["weight_drift", "evaluation"]),
        ("measures", 1),
        "'evaluation' looks at probe sets, and there is none: name passages in data.probes",
    ),
    "falling below zero": (
        lambda t: t["train"].update(lr={"shape": "piecewise", "points": [[0, 1e-3], [1, -1e-4]]}),
        ("train", "lr"),
        "a learning rate is at least 0, found -0.0001",
    ),
    "path as a name": (lambda t: t.update(name="a/../../b"), ("name",), "pattern"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_combinations_say_where_and_why(what: str) -> None:
    change, location, message = IMPOSSIBLE[what]
    with pytest.raises(ValidationError) as caught:
        recipe(change)
    faults = [(item["loc"], item["msg"]) for item in caught.value.errors()]
    assert [fault[0] for fault in faults] == [location]
    assert message in faults[0][1]


@pytest.mark.parametrize("lr", [-1, {"shape": "ramp", "value": -1e-3, "final": 2}])
def test_a_learning_rate_is_never_negative(lr: Any) -> None:
    with pytest.raises(ValidationError, match="a learning rate is at least 0"):
        recipe(lambda tree: tree["train"].update(lr=lr))
    assert recipe(lambda tree: tree["train"].update(lr=0)).train is not None


def test_a_context_of_one_token_predicts_nothing() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        recipe(lambda tree: tree["model"].update(context_length=0))


@pytest.mark.parametrize("kind", ["token_nll", "generation", "gradient_norms"])
def test_an_empty_list_of_probe_sets_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        recipe(lambda tree: tree.update(measures=[{"kind": kind, "probes": []}]))


def test_what_looks_at_weights_alone_needs_no_probe_set() -> None:
    def only_weights(tree: dict[str, Any]) -> None:
        del tree["data"]["probes"]
        tree["measures"] = ["weight_drift"]

    assert [measure.group for measure in recipe(only_weights).measures] == ["weight_drift"]


def test_two_of_one_kind_with_names_of_their_own() -> None:
    twice = recipe(lambda tree: tree["measures"].append({"kind": "token_nll", "name": "again"}))
    assert [measure.group for measure in twice.measures] == ["evaluation", "token_nll", "again"]
