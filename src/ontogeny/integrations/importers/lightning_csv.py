"""Lightning's `metrics.csv`: sparse rows with a step; metrics of `log(on_step, on_epoch)` have suffixes."""

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._table import add_rows, header_of

FORM = "Lightning metrics.csv"


def claim(source: Source) -> float:
    """It has columns `epoch` and `step`; surer if others have the suffix `_step` or `_epoch`."""
    header = header_of(source)
    if header is None or not {"epoch", "step"} <= set(header.names):
        return 0.0
    suffixed = any(name.endswith(("_step", "_epoch")) for name in header.names)
    return 0.97 if suffixed else 0.85


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the file."""
    header = header_of(source)
    if header is None:
        builder.nothing = "its header cannot be read"
    else:
        add_rows(source, header, builder, step="step")
