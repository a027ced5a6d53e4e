"""Text of files and names, shown so that it can neither steer a terminal nor run in a spreadsheet."""

import re

# C0 and C1 controls but tab and line feed; marks that turn the direction of text; separators that terminals take for
# line ends; halves of surrogate pairs, as which Python holds bytes of a file's name that are no text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with control characters escaped, as in `\\x1b[31m`; tabs and line feeds stay."""
    return _CONTROLS.sub(lambda match: _escaped(match[0]), text)


def one_line(text: str) -> str:
    """The same for a name, which stands on one line: tabs and line feeds are escaped, too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(character: str) -> str:
    return repr(character)[1:-1] if ord(character) < 0xD800 else f"\\u{ord(character):04x}"


def cell(text: str) -> str:
    """Text for a cell of a CSV file: a quotation mark stands before what a spreadsheet would take for a formula.

    Text that is a number stays as it is.
    """
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
