"""Printed logs of three columns: step, name and value (``250 val 6.1696``)."""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import NUMBER, number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import lines, sample, share

FORM = "printed log (step, name, value)"
_LINE = re.compile(rf"(\d+) ([A-Za-z]\w*) ({NUMBER})")


def claim(source: Source) -> float:
    """Nearly all lines have these three columns."""
    if not source.is_text:
        return 0.0
    matches = [_LINE.fullmatch(line.strip()) is not None for line in sample(source)]
    return share(source, matches) if matches and sum(matches) > 0.8 * len(matches) else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are lines."""
    others = 0
    for number, line in lines(source):
        match = _LINE.fullmatch(line.strip())
        value = number_of(match[3]) if match else None
        if match is None or value is None:
            others += 1
            continue
        builder.add(number, {match[2]: value}, step=number_of(match[1]))
    if others:
        builder.note(f"{others} lines do not have three columns", partial=True)
