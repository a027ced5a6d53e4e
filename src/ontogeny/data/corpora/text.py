"""Text files."""

import re
from collections.abc import Iterator

from pydantic import Field

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.data.documents import ReadCorpus
from ontogeny.data.files import Paths, find_files

ONE_FILE_CHARS = 2000
_BREAKS = [re.compile(pattern) for pattern in (r"(?<=\n)(?:[ \t]*\n)+", r"\n", r"(?<=[.!?])\s+", r"\s+")]


class Text(ReadCorpus):
    """Plain-text files in UTF-8, one document each. Line ends become newlines; a byte-order mark is dropped."""

    path: Paths
    """A file, a pattern such as `notes/**/*.txt`, or a list of these."""
    document_chars: int | None = Field(default=None, ge=100)
    """Cut every file into documents of about this many characters, at blank lines if there are any. By default a file
    is cut only if it is the only one, into 2000 characters each, so that it can be split by document."""

    def read(self) -> Iterator[Document]:
        """The files in order. Raises DataError for a file that is missing or not UTF-8."""
        files = find_files(self.path)
        size = self.document_chars or (ONE_FILE_CHARS if len(files) == 1 else None)
        for name, path in files:
            try:
                text = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{path}: cannot be read as UTF-8 text ({error}): save it as UTF-8") from None
            if size is None:
                yield Document(text=text, source=name)
                continue
            at = 0
            for piece in cut_text(text, size):
                yield Document(text=piece, source=f"{name}@{at}")
                at += len(piece)


def cut_text(text: str, size: int) -> list[str]:
    """Cut a text into pieces of about `size` characters and at most twice that.

    A piece ends after blank lines. If that would make it too long, it ends after a line, a sentence or a word, or else
    anywhere.
    """
    pieces: list[str] = []
    for part in _parts(text, 2 * size, 0):
        if pieces and len(pieces[-1]) < size and len(pieces[-1]) + len(part) <= 2 * size:
            pieces[-1] += part
        else:
            pieces.append(part)
    return pieces


def _parts(text: str, most: int, level: int) -> Iterator[str]:
    """The text in parts of at most `most` characters, cut at the coarsest breaks (from `level` on) that allow it."""
    if level == len(_BREAKS):
        yield from (text[i : i + most] for i in range(0, len(text), most))
        return
    start = 0
    for end in [*(match.end() for match in _BREAKS[level].finditer(text)), len(text)]:
        part = text[start:end]
        if len(part) > most:
            yield from _parts(part, most, level + 1)
        elif part:
            yield part
        start = end
