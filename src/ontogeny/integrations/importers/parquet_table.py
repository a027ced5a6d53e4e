"""Parquet: the history of a W&B run, or any other table."""

from typing import TYPE_CHECKING

from ontogeny.integrations.importers._builder import MOST_LABELS, Builder
from ontogeny.integrations.importers._entries import EPOCH_KEYS, STEP_KEYS, TIME_KEYS
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._table import TABLE_OF_RUNS, Header, is_table_of_runs
from ontogeny.store.parquet_bounds import excess

if TYPE_CHECKING:
    import pyarrow as pa

FORM = "Parquet table"
_BATCH_ROWS = 65_536
MOST_VALUES = 20_000_000
"""Rows times columns of a table that is read."""


def claim(source: Source) -> float:
    """It begins with Parquet's magic bytes."""
    return 1.0 if source.head.startswith(b"PAR1") else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are counted from 1. Columns of numbers are metrics; others are skipped."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    builder.row_word = "row"
    try:
        file = pq.ParquetFile(source.path, memory_map=False)
        schema = file.schema_arrow
        types = {column.name: column.type for column in schema}
        names = [name for name, kind in types.items() if pa.types.is_floating(kind) or pa.types.is_integer(kind)]
        if is_table_of_runs(Header(tuple(schema.names), ",")) and builder.step_label is None:
            builder.nothing = TABLE_OF_RUNS
            return
        if why := excess(file.metadata, MOST_VALUES):
            builder.nothing = f"the file {why}: it is no log of a training"
            return
        row = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names[:MOST_LABELS]):
            if row * len(names) > MOST_VALUES:
                raise ValueError("it holds more rows than it says")
            _add(row, batch, names[:MOST_LABELS], builder)
            row += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        builder.note(f"the file is damaged: {str(error).splitlines()[0][:200]}", partial=True)
        if not len(builder):
            builder.nothing = "the Parquet file is damaged or truncated: nothing in it can be read"


def _add(first: int, batch: "pa.RecordBatch", names: list[str], builder: Builder) -> None:
    columns = {name: batch.column(name).to_pylist() for name in names}
    step = builder.step_label or next((key for key in STEP_KEYS if key in columns), None)
    epoch = next((key for key in EPOCH_KEYS if key in columns), None)
    time = next((key for key in TIME_KEYS if key in columns), None)
    axes = {key: columns.pop(key) for key in (step, epoch, time) if key is not None and key in columns}
    for i in range(batch.num_rows):
        values = {name: float(column[i]) for name, column in columns.items() if column[i] is not None}
        place = [axes[key][i] if key in axes else None for key in (step, epoch, time)]
        if values:
            builder.add(first + i + 1, values, step=place[0], epoch=place[1], time_unix_s=place[2])
