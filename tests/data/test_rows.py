from typing import Any

import pytest
from pydantic import ValidationError

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.data.rows import RowCorpus

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]


class Rows(RowCorpus):
    given: tuple[Any, ...]

    def rows(self) -> list[tuple[str, str, Any]]:
        return [(f"f:{i}", f"f, line {i}", row) for i, row in enumerate(self.given, start=1)]


def read(*rows: Any, **settings: Any) -> list[Document]:
    return list(Rows(given=rows, **settings).documents())


def error(*rows: Any, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(*rows, **settings)
    return str(caught.value)


def test_shapes_are_told_from_the_fields() -> None:
    text, pair, chat = read({"text": "a", "id": 1}, {"prompt": "q", "completion": "aé"}, {"messages": CHAT})
    assert (text.text, text.completion_spans, text.source) == ("a", None, "f:1")
    assert (pair.text, pair.completion_spans) == ("qaé", ((1, 3),))  # characters, not bytes
    assert (chat.text, chat.messages) == ("", tuple(CHAT))


def test_a_named_field_settles_the_shape() -> None:
    row = {"text": "a", "messages": CHAT, "body": "b"}
    assert read(row, text="body")[0].text == "b"
    assert read(row, messages="messages")[0].messages == tuple(CHAT)
    assert read({"q": "1", "completion": "2"}, prompt="q")[0].completion_spans == ((1, 2),)


def test_templates_fill_in_fields() -> None:
    row = {"who": "ANN", "text": "hi", "n": 3}
    assert read(row, text="{who}: {text} ({n}) {{}}")[0].text == "ANN: hi (3) {}"
    (pair,) = read({"d": "long", "s": "short"}, prompt="{d}\nIn short:", completion=" {s}")
    assert pair.text == "long\nIn short: short"
    assert pair.text[slice(*pair.completion_spans[0])] == " short"  # type: ignore[index]


def test_rows_of_a_group_become_one_document() -> None:
    rows = [{"e": "x", "text": "1"}, {"e": "x", "text": "2"}, {"e": "y", "text": "3"}, {"e": "x", "text": "4"}]
    found = read(*rows, group_by="e")
    assert [d.text for d in found] == ["1\n2", "3", "4"]  # consecutive ones only
    assert [d.source for d in found] == ["f:1", "f:3", "f:4"]


def test_long_rows_of_a_group_are_dropped_when_they_repeat_and_short_ones_stay() -> None:
    long = "welcome back to another evening of the same long story that we tell you week by week"
    rows = [{"e": e, "text": text} for e in "xy" for text in (long, "yes", f"of {e}")]
    found = read(*rows, group_by="e", deduplicate="paragraphs")
    assert [d.text for d in found] == [f"{long}\nyes\nof x", "yes\nof y"]


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ("a", {}, "f, line 1: a row must be a mapping with named fields, not str"),
        ({"body": "a"}, {}, "f, line 1: the row has none of text, messages, prompt with completion (fields: body)"),
        (
            {"text": "a", "prompt": "b", "completion": "c"},
            {},
            "f, line 1: the row has several of text, messages, prompt",
        ),
        ({"prompt": "a", "completion": None}, {}, "f, line 1: the row has none of"),
        ({"texts": "a"}, {"text": "text"}, "f, line 1: the row has no field 'text': did you mean 'texts'?"),
        ({"text": 3}, {}, "f, line 1: field 'text' must be text, not int"),
        ({"text": "a"}, {"text": "{who}"}, "f, line 1: the row has no field 'who'"),
        ({"text": "a"}, {"text": "{who"}, "template '{who'"),
        ({"messages": []}, {}, "f, line 1: field 'messages' must be a list of messages"),
        ({"messages": [{"role": "user"}]}, {}, "f, line 1: message 0 of 'messages' must have role and content"),
        ({"messages": [{"role": "user", "content": [1]}]}, {}, "f, line 1: message 0 of 'messages' must have"),
        ({"messages": CHAT[:1]}, {}, "f, line 1: no message of 'messages' has the role assistant"),
        ({"e": 1, "messages": CHAT}, {"group_by": "e"}, "group_by joins rows of plain text"),
        ({"text": "a"}, {"group_by": "e"}, "f, line 1: the row has no field 'e'"),
    ],
)
def test_a_bad_row_is_named(row: Any, settings: dict[str, str], message: str) -> None:
    assert message in error(row, **settings)


def test_impossible_settings() -> None:
    with pytest.raises(ValidationError, match="name the fields of one shape"):
        Rows(given=(), text="a", messages="b")
    with pytest.raises(ValidationError, match="group_by joins rows of plain text"):
        Rows(given=(), prompt="a", group_by="b")


def test_repeated_rows_can_be_dropped() -> None:
    row = {"prompt": "q", "completion": "a"}
    assert len(read(row, row)) == 2
    assert len(read(row, row, deduplicate="documents")) == 1
