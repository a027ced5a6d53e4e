import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.core.errors import RecipeError
from ontogeny.core.yaml_tree import read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("off", "off"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("3e-4", 3e-4),
        ("3.e-4", 3e-4),
        ("1_000", 1000),
        ("0o17", 15),
        ("0x1f", 31),
        ("-0x1F", -31),
        ("017", 17),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        ('"3"', "3"),
        ("'on'", "on"),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("_", "_"),
        ("=", "="),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("&x [1]", [1]),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = read_yaml(f"key: {text}", "here")[0]["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(read_yaml("key: .nan", "here")[0]["key"])


def test_keys_are_words_as_written() -> None:
    assert read_yaml("{on: 1, 3: 2, null: 3}", "here")[0] == {"on": 1, "3": 2, "null": 3}


def test_empty_text() -> None:
    assert read_yaml("# nothing\n", "here")[0] is None


def test_every_key_knows_its_line() -> None:
    origins = read_yaml("a: 1\nb:\n  - x\n  - c: 2\n\n    d: 3\n", "f.yaml")[1]
    lines = {".".join(map(str, key)): origin for key, origin in origins.items() if key}
    assert lines == {
        "a": "f.yaml, line 1",
        "b": "f.yaml, line 2",
        "b.0": "f.yaml, line 3",
        "b.1": "f.yaml, line 4",
        "b.1.c": "f.yaml, line 4",
        "b.1.d": "f.yaml, line 6",
    }


def test_aliases_stand_for_their_anchor() -> None:
    assert read_yaml("a: &x {b: 1}\nc: *x\n", "f")[0] == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1", "f.yaml, line 2: not YAML: "),
        ("a: 1\n\tb: 2\n", "f.yaml, line 2: not YAML: "),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "f.yaml, line 4, key 'b.c': the key stands twice"),
        ("a: 1\n---\nb: 2\n", "f.yaml, line 2: not YAML: "),
        ("a: *x\n", "f.yaml, line 1: not YAML: found undefined alias 'x'"),
        (
            "a: 1\nb: !!python/object:os.system x\n",
            "f.yaml, line 2: the tag 'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("a: !mine 3\n", "f.yaml, line 1: the tag '!mine'"),
        ("? [1, 2]\n: 3\n", "f.yaml, line 1: a key must be a word"),
        ("a: &x [*x]\n", "f.yaml, line 1: nested more than 40 deep"),
        ("a: \x00\n", "f.yaml: not YAML: special characters are not allowed"),
    ],
)
def test_faults_name_file_and_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "f.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


WORDS = st.from_regex(r"[\w-]+", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4))


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(WORDS, TREES, max_size=4))
def test_what_is_written_is_read_again(tree: dict[str, Any]) -> None:
    assert (read_yaml(write_yaml(tree), "here")[0] or {}) == tree


def test_short_leaves_stand_on_one_line() -> None:
    assert write_yaml({"a": [1, 2], "b": {"c": {"d": 1.0}}}) == "a: [1, 2]\nb:\n  c: {d: 1.0}\n"


def test_aliases_count_as_what_they_stand_for() -> None:
    """Nine anchors, each ten times the one before: 10^9 values in 200 characters. Seven stand for too many already."""
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    started = time.process_time()
    with pytest.raises(RecipeError, match=r"laughs, line \d+: more than 100,000 values, each alias counted"):
        read_yaml(text, "laughs")
    assert time.process_time() - started < 10  # measured: well below 1; all of them would take an hour
    few = "\n".join(text.splitlines()[:5])
    assert len(read_yaml(few, "few")[0]["a4"]) == 10


@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 50_000, "- " * 50_000 + "x", "? " * 20_000])
def test_depth_costs_one_line_and_little_time(text: str) -> None:
    started = time.process_time()
    with pytest.raises(RecipeError):
        read_yaml(text, "deep")
    assert time.process_time() - started < 10


@pytest.mark.parametrize("number", ["1" * 101, "0x" + "f" * 100_000, "1." + "0" * 200, "-" + "9" * 5000])
def test_numbers_of_many_digits_are_refused(number: str) -> None:
    with pytest.raises(RecipeError, match=r"f, line 1: a number of [\d,]+ digits: at most 100 are read"):
        read_yaml(f"key: {number}", "f")
    assert read_yaml(f"key: '{number}'", "f")[0] == {"key": number}  # as text it is fine
    assert read_yaml("key: " + "1" * 100, "f")[0] == {"key": int("1" * 100)}


def test_a_text_that_is_no_recipe_is_refused_by_its_length() -> None:
    with pytest.raises(RecipeError, match="at most 300,000 characters, this has 300,001"):
        read_yaml("a" * 300_001, "long")


@pytest.mark.parametrize("escape", ["\\0", "\\ud800"])
def test_what_no_path_can_hold_is_refused_with_its_line(escape: str) -> None:
    with pytest.raises(RecipeError, match=r"here, line 2: the character .* cannot stand in a recipe"):
        read_yaml(f'a: 1\nb: "x{escape}"', "here")
    assert read_yaml('b: "x\\n\\u00e9"', "here")[0] == {"b": "x\n\u00e9"}
