"""ms-swift's `logging.jsonl`: the step is written as `"global_step/max_steps": "601/2161"`."""

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import add_entry
from ontogeny.integrations.importers._json_lines import first_objects, objects
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source

FORM = "ms-swift logging.jsonl"

_STEP = "global_step/max_steps"
_PROGRESS = (_STEP, "percentage", "elapsed_time", "remaining_time", "memory(GiB)", "train_speed(iter/s)")


def claim(source: Source) -> float:
    """Any of its first objects has `global_step/max_steps`."""
    entries = first_objects(source)
    return 0.98 if any(_STEP in entry for entry in entries) else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the file. The last object summarises the run, has no step and is left out."""
    for number, entry in objects(source):
        now, _, total = str(entry.get(_STEP, "")).partition("/")
        step, planned = number_of(now), number_of(total)
        if step is None:
            continue
        builder.configure("max_steps", planned)
        add_entry(number, {key: value for key, value in entry.items() if key not in _PROGRESS}, builder, step=step)
