"""Windows as a recipe has them, and settings that contradict each other."""

from typing import Any

import pytest

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_data import is_trained
from ontogeny.core.recipe_file import validate
from ontogeny.core.windows import Windows, windows_of


def recipe(take: dict[str, Any], *, replay: Any = None, probes: Any = None, **train: Any) -> Recipe:
    data = {
        "corpora": {"c": {"kind": "python_prose"}},
        "train": [{"of": "c/train", **take}],
        "length": 32,
        "replay": replay or {},
        "probes": probes or {},
    }
    return validate({"name": "x", "data": data, "model": "ladder", "train": {"steps": 1, **train}}, "here")


def mixed(percent: float, tokens: int, take: dict[str, Any] | None = None, **more: Any) -> Recipe:
    mixing = {"percentage_window": percent, "max_tokens": tokens} | more.pop("mixing", {})
    replay = more.pop("replay", {"old": {"of": "c/novel", "share": 1.0}})
    return recipe(take or {"step": "25%"}, replay=replay, mixing=mixing, **{"batch": 1, **more})


def windows(made: Recipe) -> Windows | None:
    return windows_of(made.data.train[0], made.train)


def test_lengths_and_steps() -> None:
    """A quarter of 128 is 32; half of 1024 is 512, a quarter of that 128; 0.1% of 50 rounds to 0 and becomes 1."""
    assert windows(recipe({})) is None
    assert windows(recipe({"window": 128, "step": 100})) == Windows(128, 100)
    assert windows(recipe({"window": 128, "step": "25%"})) == Windows(128, 32)
    assert windows(recipe({"window": 50, "step": "0.1%"})) == Windows(50, 1)
    assert windows(mixed(50, 1024)) == windows(mixed(50, 1024, {"step": 128, "window": 512})) == Windows(512, 128)
    assert recipe({"window": 128, "step": 100}).longest == 128
    assert recipe({"window": 16, "step": 1}).longest == 32
    assert windows(mixed(100, 64, replay={})) == Windows(64, 16)


REFUSED = [
    (lambda: recipe({"window": 64}), "data.train.0.window", "say step"),
    (lambda: recipe({"step": 64}), "data.train.0", "say window, in tokens, or train.mixing.percentage_window"),
    (lambda: recipe({"window": 64, "step": 65}), "data.train.0.step", "write 1 to 64"),
    (lambda: recipe({"window": 64, "step": "0%"}), "data.train.0.step", "write 1 to 64"),
    (lambda: recipe({"window": 64, "step": 0}), "data.train.0.step", "write 1 to 64"),
    (lambda: recipe({"window": 64, "step": "101%"}), "data.train.0.step", "write 1 to 64"),
    (lambda: recipe({"window": 64, "step": "a%"}), "data.train.0.step", "25%"),
    (lambda: recipe({"part": [0.5, 0.5]}), "data.train.0.part", "a part begins before it ends"),
    (lambda: recipe({}, mixing={"max_tokens": 64}), "train.mixing", "come together"),
    (lambda: mixed(25, 256, {"count": 3}), "data.train.0", "percentage_window needs windows: say step"),
    (lambda: mixed(25, 256, {"window": 65, "step": 1}), "data.train.0.window", "is 64 tokens, found 65"),
    (lambda: mixed(25, 256, batch=8), "train.batch", "write batch: 1, found 8"),
    (lambda: mixed(25, 256, mixing={"counts": "expected"}), "train.mixing.counts", "write counts: exact"),
    (lambda: mixed(25, 256, replay={}), "data.replay", "leaves 192 tokens of a step to replay"),
    (lambda: mixed(100, 256), "data.replay", "leave data.replay out"),
    (lambda: mixed(25, 256, replay={"o": {"of": "c/novel", "share": 0.75}}), "data.replay", "found 0.75"),
    (lambda: mixed(90, 256), "train.mixing.max_tokens", "the window leaves 26 tokens"),
    (
        lambda: recipe({"part": [0, 0.5]}, probes={"p": {"of": "c/train", "part": [0.4, 0.6]}}),
        "data.probes.p.part",
        "this part is trained on in part",
    ),
]


@pytest.mark.parametrize(("make", "key", "message"), REFUSED)
def test_contradictions_name_their_key(make: Any, key: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make()
    assert f"key '{key}" in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_is_a_probe_set_trained_on() -> None:
    trained = [{"of": "c/train", "part": [0.3, 0.6]}, {"of": "d/train"}]
    expected = {(0.3, 0.6): True, (0.4, 0.5): True, (0.0, 0.3): False, (0.6, 1.0): False, (0.2, 0.4): None}
    for part, answer in expected.items():
        assert is_trained({"of": "c/train", "part": list(part)}, trained) is answer
    assert is_trained({"of": "c/train"}, trained) is True
    assert is_trained({"of": "c/novel", "part": [0, 1]}, trained) is False
    assert is_trained({"of": "d/train", "part": [0.1, 0.2]}, trained) is True
