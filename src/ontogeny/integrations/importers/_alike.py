"""Lines that differ only in their numbers, matched many at once by one expression: long logs consist of them."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from ontogeny.integrations.importers._source import Source

_PLAIN = r"[-+]?+\d{1,18}+(?!,\d)(?:\.\d{0,18}+)?+(?:[eE][-+]?\d{1,3}+)?+(?!\.?\d)"
_WITH_COMMAS = r"[-+]?+\d{1,3}+(?:,\d{3}){1,5}+(?!\d|,\d)(?:\.\d{0,18}+)?+(?!\.?\d)"
"""Numbers as `NUMBER_IN_LINE` has them, with bounded length."""
_NOT_FINITE = r"[-+]?(?i:nan|inf(?:inity)?)(?![\w.])"
_LONGEST = 3000
"""Characters of a line, without its numbers, that is matched in this way: longer lines are cut elsewhere."""
_LONGEST_NUMBER = 42


class LineStream:
    """The lines of a file, one after the other; what follows a line can be taken at once, while it is like that line.

    Iterating gives what `Source.lines` gives: the number and the text of each line.
    """

    def __init__(self, source: Source, without: "re.Pattern[str] | None" = None) -> None:
        r"""`without`: what is left out of lines that have a ``\r``, such as repaints that say nothing new."""
        self._source, self._without = source, without
        self._block, self._at, self._number = "", 0, 0
        self._pending = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for block in self._source.blocks():
            self._block, self._at = block, 0
            while self._at < len(block):
                end = block.find("\n", self._at)
                end = len(block) if end < 0 else end
                line, self._at = block[self._at : end], end + 1
                self._number += 1
                if self._without is not None and "\r" in line:
                    line = self._without.sub("", line)
                pieces = list(self._source.pieces(self._number, line))
                for i, piece in enumerate(pieces):
                    self._pending = len(pieces) - 1 - i
                    yield self._number, piece

    def take(self, number: int, pattern: "re.Pattern[str]") -> list[tuple[str, ...]]:
        """The groups of all lines after line `number`, of this block, up to the first that does not match.

        They are not given again. Nothing is taken if the stream has gone on beyond line `number`, or has more of it.
        """
        if number != self._number or self._pending:
            return []
        rows = []
        while match := pattern.match(self._block, self._at):
            rows.append(match.groups())
            self._at = match.end()
        self._number += len(rows)
        return rows


def pattern_of(gaps: tuple[str, ...], numbers: Sequence[str], wanted: frozenset[int]) -> "re.Pattern[str] | None":
    """The expression of all lines with these texts before, between and after their numbers, with the end of the line.

    `numbers`: those of one such line. Where it has `nan` or an infinity, or commas, others may have these, too.
    `wanted`: positions of the numbers that are groups. None if a line is too long.
    """
    if sum(map(len, gaps)) + _LONGEST_NUMBER * len(gaps) > _LONGEST:
        return None
    not_finite = frozenset(i for i, text in enumerate(numbers) if text[-1].isalpha())
    commas = frozenset(i for i, text in enumerate(numbers) if "," in text)
    return _compiled(gaps, not_finite, commas, wanted)


@lru_cache(maxsize=256)
def _compiled(
    gaps: tuple[str, ...], not_finite: frozenset[int], commas: frozenset[int], wanted: frozenset[int]
) -> "re.Pattern[str]":
    parts = [re.escape(gaps[0])]
    for position, gap in enumerate(gaps[1:]):
        number = _WITH_COMMAS if position in commas else _PLAIN
        number = f"(?:{number}|{_NOT_FINITE})" if position in not_finite else number
        parts += [f"({number})" if position in wanted else number, re.escape(gap)]
    return re.compile(rf"{''.join(parts)}\r?\n")


def column(texts: Sequence[str]) -> np.ndarray:
    """The numbers that one group has on many lines. float64 [lines]."""
    if "," in texts[0]:
        texts = [text.replace(",", "") for text in texts]
    return np.array(list(map(float, texts)))
