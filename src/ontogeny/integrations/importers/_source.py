"""A log file: its bytes, its lines, its JSON. Bounded in memory; notes say what could not be read."""

import codecs
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TextIO

from pydantic import JsonValue

from ontogeny.core.errors import DataError, OntogenyError

HEAD_BYTES = 65_536
MOST_BYTES = 1 << 30
"""Larger files are refused: they are no training logs."""
LONGEST_LINE = 1 << 20
"""Characters of a line that are read."""
SAMPLE_LINES = 4000
"""Lines at the beginning, and as many at the end, by which text formats are recognised."""
_LONG, _TAIL_BYTES = 16 << 20, 2 << 20
"""Of a file of so many bytes, the sample's last lines are sought in its last bytes only."""
_BLOCK = 1 << 20
_MOST_CUTS = 20
_LONGEST_TOKEN = 1000
"""Characters before the end of the head in which a fault of its JSON may come from the cut."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class NotReadableError(OntogenyError):
    """A file cannot be read as a log; the message says why."""


class Source:
    """A file on disk. `notes` says what could not be read; `partial` is true if there is any such part."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = name or path.name
        self.notes: list[str] = []
        self.partial = False
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from None
        if self.size > MOST_BYTES:
            raise NotReadableError(f"{path} has {self.size / 2**30:.1f} GiB: give only the log, of at most 1 GiB")

    @cached_property
    def head(self) -> bytes:
        """The first 64 KiB."""
        try:
            with self.path.open("rb") as file:
                return file.read(HEAD_BYTES)
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}") from None

    @property
    def data(self) -> bytes:
        """All bytes; read anew each time, so that they do not stay in memory."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}") from None

    @cached_property
    def encoding(self) -> str | None:
        """Encoding of the text; None if the file is binary."""
        for mark, name in _MARKS:
            if self.head.startswith(mark):
                return name
        if b"\0" in self.head:
            # In UTF-16 without a mark, nearly every second byte of Latin text is 0: the odd ones in little endian.
            odd_zeros, even_zeros = self.head[1::2].count(0), self.head[0::2].count(0)
            half = max(len(self.head) // 4, 1)
            if odd_zeros > half and even_zeros < half // 8:
                return "utf-16-le"
            if even_zeros > half and odd_zeros < half // 8:
                return "utf-16-be"
            return "utf-8" if _is_text_with_zeros(self.head) else None
        return "utf-8"

    @property
    def is_text(self) -> bool:
        """Is the file text, in any encoding?"""
        return self.encoding is not None

    @cached_property
    def text(self) -> str:
        """The whole text; bytes that cannot be decoded become U+FFFD, and a note says how many."""
        data = self.data
        text = data.decode(self.encoding or "utf-8", errors="replace")
        broken = text.count("\ufffd") - data.count("\ufffd".encode())
        if broken > 0:
            self.note(f"{broken} bytes are not valid {self.encoding}", partial=True)
        return text

    def lines(self) -> Iterator[tuple[int, str]]:
        r"""Number (from 1) and text (without colour codes) of every line that is not blank; ``\r`` ends a line, too.

        Numbers are those that an editor shows: all repaints of a progress bar have the number of the file's line that
        contains them.
        """
        for number, line in enumerate(self.open_text("\n"), 1):
            for piece in self.pieces(number, line.rstrip("\n")):
                yield number, piece

    def pieces(self, number: int, line: str) -> Iterator[str]:
        r"""The texts that a line holds: parted at ``\r``, without colour codes, cut to 1 Mi characters, none blank."""
        for part in line.split("\r") if "\r" in line else (line,):
            piece = part
            if len(piece) > LONGEST_LINE:
                self.note(f"line {number} has {len(piece):,} characters: only the beginning was read", partial=True)
                piece = piece[:LONGEST_LINE]
            if "\x1b" in piece:
                piece = _ANSI.sub("", piece)
            if piece and not piece.isspace():
                yield piece

    def blocks(self) -> Iterator[str]:
        """The text in pieces of about 1 Mi characters, each of whole lines. NUL bytes are left out."""
        yield from self._cleaned(_whole_lines)

    def open_text(self, newline: str | None) -> Iterator[str]:
        """Lines with their ends, read one after the other; `newline` as in `open`. NUL bytes are left out."""
        yield from self._cleaned(iter, newline)

    def _cleaned(self, texts_of: Callable[[TextIO], Iterator[str]], newline: str | None = "\n") -> Iterator[str]:
        """Texts read from the file, without NUL bytes; a note says how many bytes cannot be decoded."""
        broken = 0
        try:
            with self.path.open(encoding=self.encoding or "utf-8", errors="replace", newline=newline) as file:
                for text in texts_of(file):
                    if "\ufffd" in text:
                        broken += text.count("\ufffd")
                    if "\0" in text:
                        self.note("NUL bytes were left out")
                        text = text.replace("\0", "")  # noqa: PLW2901
                    yield text
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}") from None
        if broken:
            self.note(f"{broken} bytes are not valid {self.encoding}", partial=True)

    @cached_property
    def sample(self) -> list[str]:
        """Lines from the beginning and from the end, by which a format is recognised."""
        lines = (line for _, line in self.lines())
        first = list(islice(lines, SAMPLE_LINES))
        if self.size < _LONG or not (self.encoding or "").startswith("utf-8"):
            return [*first, *deque(lines, SAMPLE_LINES)]
        return [*first, *deque(self._last_lines(), SAMPLE_LINES)]

    def _last_lines(self) -> Iterator[str]:
        """The lines in the last 2 MiB of a long file."""
        with self.path.open("rb") as file:
            file.seek(-_TAIL_BYTES, 2)
            file.readline()
            text = file.read().decode("utf-8", errors="replace").replace("\0", "")
        for line in text.split("\n"):
            yield from self.pieces(0, line)

    @cached_property
    def json(self) -> JsonValue:
        """The whole file as one JSON value, bare NaN and Infinity allowed; None if it is not JSON.

        Of a truncated file, the complete part, with a note and `partial` set.
        """
        if self._begins_as_lines or self._begins_as_no_json:
            return None
        text = self.text.lstrip("\ufeff \t\r\n")
        if not text.startswith(("{", "[")):
            return None
        try:
            return json.loads(text)
        except RecursionError:
            self.note("its JSON is nested too deeply for a log", partial=True)
            return None
        except json.JSONDecodeError as error:
            return self._salvage(text, error.pos)
        except ValueError:  # a number with more digits than Python converts
            return None

    @property
    def _begins_as_lines(self) -> bool:
        """Is the first line a whole JSON object, and not the only one? Then the file is not one JSON value."""
        first, end, rest = self.head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
        if not end or not rest.lstrip().startswith(b"{"):
            return False
        try:
            return isinstance(json.loads(first), dict)
        except (ValueError, RecursionError):
            return False

    @property
    def _begins_as_no_json(self) -> bool:
        """Is there a fault in the head, before the end of any object? Then nothing can be salvaged."""
        text = self.head.decode(self.encoding or "utf-8", errors="replace").lstrip("\ufeff \t\r\n")
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            is_cut = error.pos > len(text) - _LONGEST_TOKEN or error.msg.startswith("Unterminated")
            return not is_cut and "}" not in text[: error.pos]
        except (ValueError, RecursionError):
            return False
        return False

    def _salvage(self, text: str, at: int) -> JsonValue:
        """The complete part of a JSON text with a fault at `at`: cut after the last complete object and closed."""
        if text[at:].strip() and not _is_truncation(text, at):
            return None
        for end in _last_ends(text, at):
            closing = _closing(text[:end])
            if closing is None:
                continue
            try:
                salvaged: JsonValue = json.loads(text[:end] + closing)
            except (ValueError, RecursionError):
                continue
            line = text.count("\n", 0, end) + 1
            self.note(f"the JSON is damaged after line {line}: only the part before was read", partial=True)
            return salvaged
        return None

    def note(self, text: str, *, partial: bool = False) -> None:
        """Record what a reader of the history must know about the file, once."""
        self.partial = self.partial or partial
        if text not in self.notes:
            self.notes.append(text)


def _whole_lines(file: TextIO) -> Iterator[str]:
    while text := file.read(_BLOCK):
        yield text + file.readline()


_FEW_ZEROS = re.compile(rb"(?<!\0)\0{1,7}(?!\0)")


def _is_text_with_zeros(head: bytes) -> bool:
    """Is it text with holes, runs of 8 or more NUL bytes? A log that was cut while it was written to has such."""
    if _FEW_ZEROS.search(head):
        return False
    rest = head.replace(b"\0", b"")[:4096]
    return sum(32 <= byte < 127 or byte in b"\t\r\n\x1b" for byte in rest) >= 0.98 * len(rest)


def _is_truncation(text: str, at: int) -> bool:
    """Can the text before the fault be the beginning of a longer JSON value? (Not in JSON Lines: each is complete.)"""
    before = text[:at].rstrip()
    return bool(before) and _closing(before) not in ("", None)


def _last_ends(text: str, at: int) -> Iterator[int]:
    """Positions after objects that end before the fault, the last first."""
    end = at
    for _ in range(_MOST_CUTS):
        end = text.rfind("}", 0, end)
        if end < 0:
            return
        yield end + 1


_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A string, also one that the text ends in; or a bracket."""


def _closing(text: str) -> str | None:
    """The brackets that close those still open at the end of a JSON text; None if the brackets do not match."""
    stack: list[str] = []
    for match in _STRUCTURE.finditer(text):
        token = match[0]
        if token == "{":
            stack.append("}")
        elif token == "[":
            stack.append("]")
        elif token in ("]", "}") and (not stack or stack.pop() != token):
            return None
    return "".join(reversed(stack))
