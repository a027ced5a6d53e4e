"""Rows of named fields as documents: plain text, a prompt with its completion, or a chat."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from string import Formatter
from typing import Self

from pydantic import model_validator

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError, closest
from ontogeny.data.documents import ReadCorpus, which_repeat
from ontogeny.data.grams import GRAM_WORDS, words_of


class RowCorpus(ReadCorpus):
    """A corpus of rows. By default a row's fields decide its shape: `text`, or `prompt` and `completion`, or
    `messages`; naming a field in the recipe overrides this. A name with braces is a template: `"{speaker}: {text}"`.
    """

    text: str | None = None
    """Field (or template) of plain text, all of which is trained on; by default `text`."""
    prompt: str | None = None
    """Field (or template) of the prompt, which is not trained on; by default `prompt`."""
    completion: str | None = None
    """Field (or template) of the completion, which is trained on and directly follows the prompt; by default
    `completion`."""
    messages: str | None = None
    """Field of a chat, a list of {role, content}; the assistant's turns are trained on; by default `messages`."""
    group_by: str | None = None
    """Consecutive rows of plain text with the same value in this field form one document, a line each. Here,
    `deduplicate: paragraphs` treats a row of 13 words or more like a paragraph; shorter rows may repeat."""

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        shapes = [self.text is not None, bool(self.prompt or self.completion), self.messages is not None]
        if sum(shapes) > 1:
            raise ValueError("name the fields of one shape: text, or prompt and completion, or messages")
        if self.group_by is not None and any(shapes[1:]):
            raise ValueError("group_by joins rows of plain text; prompts and chats stay one row each")
        return self

    @abstractmethod
    def rows(self) -> Iterable[tuple[str, str, object]]:
        """For each row: its source (a short name), where it is, in words for error messages, and the row itself.

        Raises DataError if they cannot be read.
        """

    def read(self) -> Iterable[Document]:
        """One document per row, or per group of rows. Raises DataError naming the place of a bad row."""
        if self.group_by is None:
            return (self._document(*row) for row in self.rows())
        return self._read_groups(self.group_by)

    def _read_groups(self, field: str) -> Iterator[Document]:
        rows = [(_value(row, field, place), self._document(source, place, row)) for source, place, row in self.rows()]
        for _, document in rows:
            if document.completion_spans is not None or document.messages:
                raise DataError(f"{document.source}: group_by joins rows of plain text, and this is another shape")
        if self.deduplicate == "paragraphs":
            long = [i for i, (_, row) in enumerate(rows) if len(words_of(row.text)) >= GRAM_WORDS]
            repeated = which_repeat([rows[i][1].text for i in long])
            dropped = {i for i, again in zip(long, repeated, strict=True) if again}
            rows = [row for i, row in enumerate(rows) if i not in dropped]
        for _, group in groupby(rows, key=lambda row: row[0]):
            documents = [document for _, document in group]
            yield Document(text="\n".join(d.text for d in documents), source=documents[0].source)

    def _document(self, source: str, place: str, row: object) -> Document:
        shape = self._shape(row, place)
        if shape == "messages":
            return Document(text="", source=source, messages=_messages(row, self.messages or "messages", place))
        if shape == "text":
            return Document(text=_fill_in(row, self.text or "text", place), source=source)
        prompt = _fill_in(row, self.prompt or "prompt", place)
        text = prompt + _fill_in(row, self.completion or "completion", place)
        return Document(text=text, source=source, completion_spans=((len(prompt), len(text)),))

    def _shape(self, row: object, place: str) -> str:
        if not isinstance(row, Mapping):
            raise DataError(f"{place}: a row must be a mapping with named fields, not {type(row).__name__}")
        if self.text is not None:
            return "text"
        if self.messages is not None:
            return "messages"
        if self.prompt is not None or self.completion is not None:
            return "prompt"
        fits = [shape for shape in ("text", "messages") if row.get(shape) is not None]
        fits += ["prompt"] if row.get("prompt") is not None and row.get("completion") is not None else []
        if len(fits) != 1:
            shapes = "several of text, messages, prompt" if fits else "none of text, messages, prompt with completion"
            raise DataError(
                f"{place}: the row has {shapes} (fields: {', '.join(map(str, row))}): name the field to use"
            )
        return fits[0]


def _value(row: object, field: str, place: str) -> object:
    if not isinstance(row, Mapping) or row.get(field) is None:
        fields = map(str, row) if isinstance(row, Mapping) else ()
        raise DataError(f"{place}: the row has no field '{field}': {closest(field, fields)}")
    return row[field]


def _fill_in(row: object, name: str, place: str) -> str:
    """The text of a field, or of a template of fields."""
    if "{" not in name:
        value = _value(row, name, place)
        if not isinstance(value, str):
            raise DataError(f"{place}: field '{name}' must be text, not {type(value).__name__}")
        return value
    try:
        parts = [(literal, field) for literal, field, _, _ in Formatter().parse(name)]
    except ValueError as error:
        raise DataError(f"template '{name}': {error}") from None
    return "".join(literal + (str(_value(row, field, place)) if field else "") for literal, field in parts)


def _messages(row: object, field: str, place: str) -> tuple[Mapping[str, str], ...]:
    messages = _value(row, field, place)
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{place}: field '{field}' must be a list of messages, each {{role, content}}")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not all(
            isinstance(message.get(key), str) for key in ("role", "content")
        ):
            raise DataError(f"{place}: message {i} of '{field}' must have role and content, both text")
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError(f"{place}: no message of '{field}' has the role assistant, so nothing would be trained on")
    return tuple({"role": message["role"], "content": message["content"]} for message in messages)
