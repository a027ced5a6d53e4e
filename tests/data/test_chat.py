import copy
from typing import Any

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.chat import render

CHAT = (
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "one?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "two?"},
    {"role": "assistant", "content": "2"},
)
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<assistant>{% endif %}"


def with_template(tokenizer: Any, template: str) -> Any:
    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    return own


def supervised(text: str, spans: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[a:b] for a, b in spans]


def test_plain_turns_are_lines(byte_tokenizer: Any) -> None:
    text, spans, closed = render(CHAT, byte_tokenizer, "r")
    assert text == "system: be short\nuser: one?\nassistant: 1\nuser: two?\nassistant: 2\n"
    assert supervised(text, spans) == [" 1\n", " 2\n"]
    assert not closed


def test_template_spans_hold_the_answers_with_their_end_marker(byte_tokenizer: Any) -> None:
    text, spans, closed = render(CHAT, with_template(byte_tokenizer, PLAIN + PROMPT), "r")
    assert text.startswith("<system>be short<end>\n<user>one?<end>\n<assistant>1<end>\n")
    assert supervised(text, spans) == ["1<end>", "2<end>"]
    assert closed


def test_a_template_that_rewrites_earlier_answers(byte_tokenizer: Any) -> None:
    """As reasoning models' templates do: only the last answer keeps what stands before it."""
    template = (
        "{% for m in messages %}<{{ m.role }}>{% if loop.last and m.role == 'assistant' %}(thought){% endif %}"
        "{{ m.content }}<|endoftext|>\n{% endfor %}" + PROMPT
    )
    text, spans, _ = render(CHAT, with_template(byte_tokenizer, template), "r")
    assert supervised(text, spans) == ["1<|endoftext|>", "(thought)2<|endoftext|>"]


def test_a_template_whose_past_changes_is_refused(byte_tokenizer: Any) -> None:
    counting = with_template(byte_tokenizer, "{{ messages | length }} turns:" + PLAIN + PROMPT)
    with pytest.raises(DataError, match=r"^rows:3: .*changes with what follows; write prompt/completion rows"):
        render(CHAT, counting, "rows:3")


def test_a_template_that_refuses_the_chat_names_the_row(byte_tokenizer: Any) -> None:
    strict = with_template(byte_tokenizer, "{{ raise_exception('no system role') }}")
    with pytest.raises(DataError, match=r"^rows:3: the tokenizer's chat template refuses this chat \(no system role\)"):
        render(CHAT, strict, "rows:3")
