"""Any other JSON Lines: one object per entry."""

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import add_entry
from ontogeny.integrations.importers._json_lines import first_objects, objects
from ontogeny.integrations.importers._source import Source

FORM = "JSON Lines"


def claim(source: Source) -> float:
    """At least half of the first lines are JSON objects."""
    entries = first_objects(source)
    if not entries:
        return 0.0
    return 0.8 if len(entries) > 1 else 0.55


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the file."""
    for number, entry in objects(source):
        add_entry(number, entry, builder)
