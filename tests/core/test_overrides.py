from typing import Any

import pytest

from ontogeny.core.errors import RecipeError
from ontogeny.core.overrides import apply_override
from ontogeny.core.yaml_tree import Origins

FILE = "f.yaml, line 1"


DIGITS = "9" * 5000
"""Python reads no number of so many (4,300)."""


def changed(tree: dict[str, Any], *overrides: str) -> dict[str, Any]:
    for override in overrides:
        apply_override(tree, override, {})
    return tree


@pytest.mark.parametrize(
    ("before", "override", "after"),
    [
        ({"a": {"b": 1}}, "a.b=2", {"a": {"b": 2}}),
        ({}, "a.b.c=2", {"a": {"b": {"c": 2}}}),
        ({"a": None}, "a.b=2", {"a": {"b": 2}}),
        ({}, "a=3e-4", {"a": 3e-4}),
        ({}, "a=on", {"a": "on"}),
        ({}, "a=", {"a": ""}),
        ({}, "a=null", {"a": None}),
        ({}, "a=x=y", {"a": "x=y"}),
        ({}, "a=[1, x]", {"a": [1, "x"]}),
        ({"a": {"b": 1}}, "a={c: 2}", {"a": {"c": 2}}),
        ({}, "a=*.txt", {"a": "*.txt"}),  # no YAML (an alias without an anchor), so it is text
        ({"m": "ladder"}, "m.size=mini", {"m": {"kind": "ladder", "size": "mini"}}),
        ({"lr": 0.1}, "lr.shape=cosine", {"lr": {"value": 0.1, "shape": "cosine"}}),
        ({"l": [1, 2]}, "l.1=3", {"l": [1, 3]}),
        ({"l": ["x", {"kind": "y", "p": 1}]}, "l.y.p=2", {"l": ["x", {"kind": "y", "p": 2}]}),
        ({"l": ["x", {"kind": "y"}]}, "l.x.p=2", {"l": [{"kind": "x", "p": 2}, {"kind": "y"}]}),
        (
            {"l": [{"kind": "y"}, {"kind": "y", "name": "z"}]},
            "l.z.p=2",
            {"l": [{"kind": "y"}, {"kind": "y", "name": "z", "p": 2}]},
        ),
        ({"l": [{"of": "a/b"}]}, "l.0.of=c/d", {"l": [{"of": "c/d"}]}),
    ],
)
def test_overrides_by_hand(before: dict[str, Any], override: str, after: dict[str, Any]) -> None:
    assert changed(before, override) == after


@pytest.mark.parametrize(
    ("before", "override", "after"),
    [
        ({"train": {"epochs": 3, "batch": 8}}, "train.steps=5", {"train": {"steps": 5, "batch": 8}}),
        ({"train": {"epochs": 3}}, "train.steps=null", {"train": {"epochs": 3, "steps": None}}),
        ({"train": {"epochs": 3}}, "train.batch=5", {"train": {"epochs": 3, "batch": 5}}),
        ({"data": {"train": [{"count": 3}]}}, "data.train.0.at_most=5", {"data": {"train": [{"at_most": 5}]}}),
        (
            {"data": {"probes": {"x": {"at_most": 3}}}},
            "data.probes.x.count=5",
            {"data": {"probes": {"x": {"count": 5}}}},
        ),
        ({"checkpoints": {"every_epochs": 1}}, "checkpoints.steps=[1]", {"checkpoints": {"steps": [1]}}),
        (
            {"measures": [{"kind": "cloze", "at": {"epochs": [1]}}]},
            "measures.cloze.at.log_spaced=9",
            {"measures": [{"kind": "cloze", "at": {"log_spaced": 9}}]},
        ),
        ({"at": {"epochs": [1]}}, "at.steps=[1]", {"at": {"steps": [1]}}),
        ({"model": {"epochs": 1}}, "model.steps=1", {"model": {"epochs": 1, "steps": 1}}),  # only where they exclude
    ],
)
def test_of_keys_that_exclude_each_other_the_override_stays(
    before: dict[str, Any], override: str, after: dict[str, Any]
) -> None:
    assert changed(before, override) == after


def test_later_overrides_win() -> None:
    assert changed({}, "a.b=1", "a={c: 1}", "a.d=2") == {"a": {"c": 1, "d": 2}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seed", "override 'train.seed': write KEY=VALUE, for instance train.seed=3"),
        ("=3", "override '=3': write KEY=VALUE"),
        ("a..b=3", "override 'a..b=3': write KEY=VALUE"),
        ("l.tokn=3", "override l.tokn=3: the list holds no 'tokn': did you mean 'token'?"),
        ("l.9=3", "override l.9=3: the list holds no '9'"),
        (f"l.{DIGITS}=3", f"override l.{DIGITS}=3: the list holds no '{DIGITS}'"),
        ("flag.x=3", "override flag.x=3: 'flag' is True, and nothing can stand below that"),
        ("a=[1", "override a=[1, line 1: not YAML"),
        ("a={b: 1, b: 2}", "override a={b: 1, b: 2}, line 1, key 'b': the key stands twice"),
    ],
)
def test_faults_name_the_override(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        changed({"l": ["token"], "flag": True}, override)
    assert str(caught.value).startswith(message)


def test_origins_tell_what_came_from_the_override() -> None:
    tree: dict[str, Any] = {"a": {"b": {"c": 1}, "d": 2}, "l": ["x"]}
    origins: Origins = {
        ("a",): FILE,
        ("a", "b"): FILE,
        ("a", "b", "c"): FILE,
        ("a", "d"): FILE,
        ("l",): FILE,
        ("l", 0): FILE,
    }
    apply_override(tree, "a.b={e: 1}", origins)
    apply_override(tree, "l.x.p=1", origins)
    set_b, set_l = "override a.b={e: 1}", "override l.x.p=1"
    assert origins == {
        ("a",): FILE,
        ("a", "b"): set_b,  # and nothing below it any more
        ("a", "d"): FILE,
        ("l",): FILE,
        ("l", 0): set_l,  # the bare kind became a mapping
        ("l", 0, "p"): set_l,
    }


def test_overrides_of_the_recipe_that_the_model_starts_from() -> None:
    start = {"model": {"kind": "from_run", "recipe": "x", "overrides": ["train.seed=1", "train.steps=5"]}}
    after = changed(start, "base.model.size=nano", "base.train.seed=2", "base.data.train=[{of: a/b}]")
    assert after["model"]["overrides"] == ["train.steps=5", "model.size=nano", "train.seed=2", "data.train=[{of: a/b}]"]


def test_a_recipe_that_starts_from_none_has_no_base() -> None:
    for tree in ({}, {"model": "ladder"}, {"model": {"kind": "from_run", "run": "runs/x"}}):
        with pytest.raises(RecipeError, match=r"override base.train.seed=1: base.KEY is a key of the recipe that"):
            changed(tree, "base.train.seed=1")
