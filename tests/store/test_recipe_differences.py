"""Which settings tell runs apart, from recipes made by hand."""

from types import SimpleNamespace
from typing import Any

from ontogeny.store.recipe_differences import all_seeds_of, labels, levels


def run(**recipe: Any) -> SimpleNamespace:
    return SimpleNamespace(name="r", recipe={"name": "tiny", **recipe})


def train(**settings: Any) -> SimpleNamespace:
    return run(train={"seed": 0, "lr": {"value": 0.1}, "steps": 10} | settings)


def test_settings_that_differ_are_factors_in_the_order_of_the_recipe() -> None:
    grid = [[train(lr={"value": lr}, steps=steps)] for steps in (10, 20) for lr in (0.1, 0.001)]
    found, inseparable = levels(grid)
    assert found[:3] == [
        {"train.lr.value": "0.1", "train.steps": "10"},
        {"train.lr.value": "0.001", "train.steps": "10"},
        {"train.lr.value": "0.1", "train.steps": "20"},
    ]
    assert inseparable == {}
    assert labels(grid)[1] == "lr 0.001, steps 10"


def test_settings_that_change_together_are_one_factor() -> None:
    """Warm-up follows the steps one to one; the schedule's name is known from the steps, not the other way round."""
    runs = [
        [run(train={"warmup": steps // 10, "steps": steps}, about=str(steps), schedule=name)]
        for steps, name in ((10, "short"), (20, "long"), (40, "long"))
    ]
    found, inseparable = levels(runs)
    assert found == [{"train.warmup": "1"}, {"train.warmup": "2"}, {"train.warmup": "4"}]
    assert inseparable == {"train.warmup": ("train.steps", "schedule")}


def test_a_missing_key_is_a_level_and_lists_are_walked() -> None:
    """A term that one recipe lacks: its kind is known from its weight, which has more levels."""
    terms = [[], [{"kind": "ewc", "weight": 1}], [{"kind": "ewc", "weight": 2}]]
    found, inseparable = levels([[run(objective={"terms": entries})] for entries in terms])
    assert [one["objective.terms.0.weight"] for one in found] == ["none", "1", "2"]
    assert "objective.terms.0.kind" in inseparable["objective.terms.0.weight"]


def test_settings_of_the_base_are_called_as_a_sweep_calls_them() -> None:
    def from_run(*overrides: str) -> SimpleNamespace:
        return run(model={"kind": "from_run", "overrides": list(overrides)})

    sizes = [[from_run(f"model.size={size}", "train.seed=3")] for size in ("pico", "nano")]
    assert levels(sizes)[0] == [{"base.model.size": "pico"}, {"base.model.size": "nano"}]
    assert all_seeds_of(sizes[0][0]) == "0, base 3"


def test_one_configuration_has_no_levels() -> None:
    assert levels([[train(), train(seed=1)]]) == ([{}], {})
