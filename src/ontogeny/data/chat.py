"""A chat rendered as one text, with the character ranges of the assistant's messages."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ontogeny.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Spans = tuple[tuple[int, int], ...]
Messages = Sequence[Mapping[str, str]]


def render(messages: Messages, tokenizer: "PreTrainedTokenizerFast", source: str) -> tuple[str, Spans, bool]:
    """Text, half-open character ranges of the assistant's messages, and whether the text closes itself.

    With the tokenizer's chat template, the text closes itself: a range runs from the end of the generation prompt to
    the end of the turn's end marker. Without one, every turn is a line `role: content`; the range begins at the space
    after the colon and ends with the line, and the caller has to add the end-of-text token.
    Raises DataError, naming the row, if the template refuses the chat or does not render it turn by turn.
    """
    if tokenizer.chat_template is None:
        return (*_render_plain(messages), False)
    from jinja2 import TemplateError

    try:
        return (*_render_template(messages, tokenizer), True)
    except (TemplateError, TypeError, ValueError) as error:
        raise DataError(f"{source}: the tokenizer's chat template refuses this chat ({error})") from None


def _render_plain(messages: Messages) -> tuple[str, Spans]:
    text = ""
    spans: list[tuple[int, int]] = []
    for message in messages:
        text += f"{message['role']}:"
        start = len(text)
        text += f" {message['content']}\n"
        if message["role"] == "assistant":
            spans.append((start, len(text)))
    return text, tuple(spans)


def _render_template(messages: Messages, tokenizer: "PreTrainedTokenizerFast") -> tuple[str, Spans]:
    rows = [dict(message) for message in messages]

    def render_first(count: int, prompt: bool) -> str:
        return str(tokenizer.apply_chat_template(rows[:count], tokenize=False, add_generation_prompt=prompt))

    text = render_first(len(rows), False)
    spans: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        if row["role"] != "assistant":
            continue
        before = render_first(i, True) if i else ""
        if not text.startswith(before):
            raise ValueError(f"what stands before message {i} changes with what follows; write prompt/completion rows")
        through = render_first(i + 1, False)
        if text.startswith(through):
            spans.append((len(before), len(through.rstrip())))
        else:  # a template that rewrites earlier turns, for instance by dropping their reasoning
            spans.append(_find_content(row["content"].strip(), text, len(before), tokenizer.eos_token or ""))
    return text, tuple(spans)


def _find_content(content: str, text: str, start: int, end_marker: str) -> tuple[int, int]:
    """Range from `start` to the end of the content, or of an end marker that follows it immediately."""
    position = text.find(content, start)
    if position < 0:
        raise ValueError("a message does not appear in the rendered text; write prompt/completion rows")
    end = position + len(content)
    return start, end + len(end_marker) * text.startswith(end_marker, end)
