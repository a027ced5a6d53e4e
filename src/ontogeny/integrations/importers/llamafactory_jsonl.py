"""LLaMA-Factory's `trainer_log.jsonl`: progress and losses, one object per log; old versions write nulls."""

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import add_entry
from ontogeny.integrations.importers._json_lines import first_objects, objects
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source

FORM = "LLaMA-Factory trainer_log.jsonl"

_PROGRESS = ("total_steps", "percentage", "throughput", "total_tokens", "cur_time", "elapsed_time", "remaining_time")


def claim(source: Source) -> float:
    """All its first objects have `current_steps` and `total_steps`."""
    entries = first_objects(source)
    return 0.98 if entries and all({"current_steps", "total_steps"} <= entry.keys() for entry in entries) else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the file. Records of progress only are skipped; a file of nothing else is no curve."""
    records = 0
    for number, entry in objects(source):
        records += 1
        total = number_of(entry.get("total_steps"))
        builder.configure("max_steps", total)
        add_entry(number, {key: value for key, value in entry.items() if key not in _PROGRESS}, builder)
    if records and not len(builder):
        builder.nothing = f"none of its {records} records has a loss or another metric: progress only"
