"""A chat as one text, with the character ranges that the assistant wrote."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ontogeny.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Spans = tuple[tuple[int, int], ...]
Messages = Sequence[Mapping[str, str]]


def render(messages: Messages, tokenizer: "PreTrainedTokenizerFast", source: str) -> tuple[str, Spans, bool]:
    """Text, half-open character ranges written by the assistant, and whether the text closes itself.

    With the tokenizer's chat template, which closes turns itself: a range runs from behind the generation prompt to the
    end of the turn's end marker. Without one, every turn is the line `role: content`; the range begins at the
    space behind the colon and ends with the line, and the row is to be closed by the end-of-text token.
    Raises DataError, naming the row, if the template refuses it or does not render turn by turn.
    """
    if tokenizer.chat_template is None:
        return (*_plain(messages), False)
    from jinja2 import TemplateError

    try:
        return (*_templated(messages, tokenizer), True)
    except (TemplateError, TypeError, ValueError) as error:
        raise DataError(f"{source}: the tokenizer's chat template refuses this chat ({error})") from None


def _plain(messages: Messages) -> tuple[str, Spans]:
    text = ""
    spans: list[tuple[int, int]] = []
    for message in messages:
        text += f"{message['role']}:"
        start = len(text)
        text += f" {message['content']}\n"
        if message["role"] == "assistant":
            spans.append((start, len(text)))
    return text, tuple(spans)


def _templated(messages: Messages, tokenizer: "PreTrainedTokenizerFast") -> tuple[str, Spans]:
    rows = [dict(message) for message in messages]

    def rendered(count: int, prompt: bool) -> str:
        return str(tokenizer.apply_chat_template(rows[:count], tokenize=False, add_generation_prompt=prompt))

    text = rendered(len(rows), False)
    spans: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        if row["role"] != "assistant":
            continue
        before = rendered(i, True) if i else ""
        if not text.startswith(before):
            raise ValueError(f"what stands before message {i} changes with what follows; write prompt/completion rows")
        through = rendered(i + 1, False)
        if text.startswith(through):
            spans.append((len(before), len(through.rstrip())))
        else:  # a template that rewrites earlier turns, for instance by dropping their reasoning
            spans.append(_find(row["content"].strip(), text, len(before), tokenizer.eos_token or ""))
    return text, tuple(spans)


def _find(content: str, text: str, start: int, end_marker: str) -> tuple[int, int]:
    """From `start` to the end of the content and of an end marker right behind it."""
    at = text.find(content, start)
    if at < 0:
        raise ValueError("a message does not appear in the rendered text; write prompt/completion rows")
    end = at + len(content)
    return start, end + len(end_marker) * text.startswith(end_marker, end)
