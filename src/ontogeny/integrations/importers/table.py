"""Any other table: CSV or TSV with a header, one row per entry."""

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import understand
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._table import TABLE_OF_RUNS, add_rows, header_of, is_table_of_runs

FORM = "table (CSV)"


def claim(source: Source) -> float:
    """It has a header, and rows with as many cells; surer if a column is a loss."""
    header = header_of(source)
    if header is None:
        return 0.0
    meanings = [meaning for name in header.names if (meaning := understand(name)) is not None]
    return 0.8 if any(meaning.name == "loss" for meaning in meanings) else 0.5


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the file. A table with one row per run is no curve."""
    header = header_of(source)
    if header is None:
        builder.nothing = "its header cannot be read"
    elif is_table_of_runs(header) and builder.step_label is None:
        builder.nothing = TABLE_OF_RUNS
    else:
        add_rows(source, header, builder)
