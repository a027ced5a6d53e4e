"""From a path to verdicts, in one call: `ontogeny.diagnose`."""

from collections.abc import Mapping
from pathlib import Path

from ontogeny.diagnosis.examine import Examination, examine
from ontogeny.integrations.importing import read_history


def diagnose(path: str | Path, mapping: Mapping[str, str] | None = None) -> Examination:
    """Read a training log of any known format, or one of our runs, and apply all rules to it.

    `mapping` names columns of a table: ``{"step": "t", "loss": "objective"}``. Raises OntogenyError, in one line, if
    the file is missing or its format is not recognised. ``diagnose(path).findings`` begin with the worst. If the file
    has no training curve, ``.history.nothing`` says why.
    """
    return examine(read_history(Path(path), mapping))
