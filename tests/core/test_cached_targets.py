"""What a cache of a teacher's targets holds, what it takes on disk, and which recipes it is refused to."""

from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.cached_targets import CachedTargets, TargetForm, form_of
from ontogeny.core.errors import OntogenyError, RecipeError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from tests.small_runs import tree

ELEVEN = tuple(3.0 - 0.2 * i for i in range(11))
STAIRS = {"shape": "piecewise", "points": [[0, 3.0], [1, 1.0]], "stairs": 3}


def recipe(cached: dict[str, Any], *terms: dict[str, Any], **changes: Any) -> Recipe:
    """A student whose terms (by default kd over the 8 most probable ids, at T = 3, 2 and 1) read a cached teacher."""
    kd = {"kind": "kd", "compared": "top_k", "top_k": 8, "temperature": STAIRS}
    content = tree(Path("texts"), companions={"teacher": {"kind": "ladder", "size": "pico"}}, measures=["evaluation"])
    content["objective"] = [{"kind": "next_token"}, *(terms or (kd,))]
    content["train"] = {**content["train"], "cached_targets": cached, **changes}
    return validate(content, "test")


def kd(**settings: Any) -> dict[str, Any]:
    return {"kind": "kd", **settings}


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        # 64 ids and 64 logits of 2 bytes, 11 rests of 4
        (TargetForm(top_k=64, temperatures=ELEVEN, vocabulary=65_536), 64 * 2 + 64 * 2 + 11 * 4),
        # one id more, and ids take 4 bytes
        (TargetForm(top_k=64, temperatures=ELEVEN, vocabulary=65_537), 64 * 4 + 64 * 2 + 11 * 4),
        (TargetForm(top_k=256, temperatures=(1.0,), vocabulary=2048), 256 * 4 + 4),
        # 64 ids and the entropy
        (TargetForm(samples=64, temperatures=(1.0,), vocabulary=2048), 64 * 2 + 4),
    ],
)
def test_bytes_of_a_token_by_hand(form: TargetForm, taken: int) -> None:
    assert form.row.itemsize == taken


def test_300_bytes_are_the_limit_unless_another_is_stated() -> None:
    assert form_of(CachedTargets(top_k=64), ELEVEN).row.itemsize == 300
    with pytest.raises(ValueError, match=r"top_k 64 at 11 temperatures takes 428 bytes .*at_most_bytes: 428"):
        form_of(CachedTargets(top_k=64), ELEVEN, vocabulary=100_000)
    with pytest.raises(ValueError, match="top_k 256 at 1 temperature takes 1,028 bytes"):
        form_of(CachedTargets(top_k=256), [1.0])
    assert form_of(CachedTargets(top_k=256, at_most_bytes=1028), [1.0]).row.itemsize == 1028


def test_temperatures_are_those_that_terms_read_unless_they_are_stated() -> None:
    assert form_of(CachedTargets(top_k=8), [3.0, 1.0, 3.0]).temperatures == (
        1.0,
        3.0,
    )  # in one order, whatever terms name first
    stated = form_of(CachedTargets(top_k=8, temperatures=(1.0, 2.0, 3.0)), [0.1 * 30])
    assert stated.temperatures == (1.0, 2.0, 3.0)
    assert stated.place(0.1 * 30) == 2  # 3.0000000000000004
    with pytest.raises(OntogenyError, match=r"hold temperature 1, 2, 3, and 2\.5 is asked for"):
        stated.place(2.5)


def test_a_recipe_says_what_is_kept() -> None:
    form = recipe({"teacher": {"top_k": 8}}).target_form("teacher", vocabulary=300)
    assert form == TargetForm(top_k=8, temperatures=(1.0, 2.0, 3.0), vocabulary=300)
    drawn = recipe({"teacher": {"samples": 16, "seed": 3}}, kd(compared="full", temperature=2.0))
    assert drawn.target_form("teacher", 300) == TargetForm(samples=16, seed=3, temperatures=(2.0,), vocabulary=300)


def test_a_cache_shapes_the_weights_and_has_a_hash_of_its_own() -> None:
    without, with_cache = recipe({}), recipe({"teacher": {"top_k": 8}})
    assert without.train_hash != with_cache.train_hash
    assert "cached_targets" not in without.as_json()["train"]


REFUSED: list[tuple[dict[str, Any], list[dict[str, Any]], str]] = [
    ({"teacher": {}}, [], "exactly one of top_k and samples"),
    ({"teacher": {"top_k": 8, "samples": 8}}, [], "exactly one of top_k and samples"),
    ({"teacher": {"top_k": 8, "seed": 1}}, [], "only to samples"),
    ({"teacher": {"top_k": 8, "temperatures": [3.0, 3.0]}}, [], "named twice"),
    ({"teacher": {"samples": 8, "temperatures": [3.0, 1.0]}}, [], "at one temperature"),
    ({"teacher": {"top_k": 8, "temperatures": [3.0, 1.0]}}, [], "hold temperature 1, 3, and 2 is asked for: add it"),
    (
        {"teacher": {"samples": 8, "temperatures": [1.0]}},
        [kd(compared="full", temperature=2.0)],
        "and 2 is asked for: write that one, or leave temperatures out",
    ),
    ({"teacher": {"top_k": 100}}, [kd(compared="top_k", top_k=100, temperature=1.0)], "takes 404 bytes"),
    ({"techer": {"top_k": 8}}, [], "unknown companion 'techer': did you mean 'teacher'"),
    ({"teacher": {"top_k": 8}}, [kd(compared="full", temperature=1.0)], "write compared: top_k, top_k: 8"),
    ({"teacher": {"top_k": 8}}, [kd(temperature=1.0)], "compares all ids: write compared: top_k, top_k: 8"),
    ({"teacher": {"top_k": 8}}, [kd(compared="top_k", top_k=9, temperature=1.0)], "compares the 9 most probable ids"),
    ({"teacher": {"top_k": 8}}, [kd(compared="top_k", top_k=8)], "another temperature at every step"),
    ({"teacher": {"samples": 8}}, [kd(temperature=1.0)], "write compared: full"),
    ({"teacher": {"samples": 8}}, [kd(compared="full", temperature=STAIRS)], "the loss terms read 3"),
    ({"teacher": {"samples": 8}}, [kd(compared="full", temperature=1.0, divergence="reverse")], "no unbiased estimate"),
    ({"teacher": {"top_k": 8}}, [{"kind": "hidden"}], "'hidden' reads more of its companion"),
    ({"teacher": {"top_k": 8}}, [{"kind": "uld"}], "'uld' reads more of its companion"),
]


@pytest.mark.parametrize(("cached", "terms", "why"), REFUSED)
def test_refused_in_one_line(cached: dict[str, Any], terms: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe(cached, *terms)
    assert why in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_own_text_is_in_no_cache() -> None:
    with pytest.raises(RecipeError, match=r"leave out one of train\.on_policy and train\.cached_targets"):
        recipe({"teacher": {"top_k": 8}}, on_policy={"share": 0.5, "prompt": 4})


def test_a_mixture_of_teachers_is_in_no_cache() -> None:
    both = kd(teachers={"teacher": 0.5, "other": 0.5}, compared="top_k", top_k=8, temperature=1.0)
    content = recipe({}).as_json()
    content["companions"]["other"] = {"kind": "ladder", "size": "nano"}
    content["objective"] = [both]
    content["train"]["cached_targets"] = {"teacher": {"top_k": 8}}
    with pytest.raises(RecipeError, match="mixes several teachers"):
        validate(content, "test")


def test_a_companion_that_no_term_reads_is_in_no_cache() -> None:
    content = recipe({}).as_json()
    content["objective"] = [{"kind": "next_token"}]
    content["train"] |= {"order": {"kind": "by_difficulty", "by": "teacher"}}
    assert validate(content, "test").companions
    content["train"]["cached_targets"] = {"teacher": {"top_k": 8}}
    with pytest.raises(RecipeError, match="no loss term reads the companion 'teacher'"):
        validate(content, "test")
