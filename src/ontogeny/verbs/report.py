"""Write the page of a run or of several, with findings and analyses."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ontogeny.core.errors import OntogenyError
from ontogeny.report.page import write_report
from ontogeny.store.comparisons import is_comparison
from ontogeny.store.run import open_run
from ontogeny.verbs.analyze import analyze_if_it_can
from ontogeny.verbs.diagnose import diagnose_run


def report(paths: Sequence[Path], *, to: Path | None = None, live: bool = False) -> Path:
    """Diagnose and analyze each run, and write its page; return the page's path.

    Several runs share one page. Raises StoreError if a run cannot be read. A run in which nothing can be written is
    shown with what it holds.
    """
    if len(paths) > 1:  # RUNS/* names earlier comparisons and sweeps, too
        paths = [path for path in paths if not is_comparison(path)]
    runs = [open_run(path) for path in paths]
    diagnose_and_analyze(paths, live=live)
    return write_report(runs, out=to, live=live)


def diagnose_and_analyze(paths: Sequence[Path], *, live: bool = False) -> None:
    """Write findings and, unless the run is live, analyses into each run; nothing where that is not possible."""
    for path in paths:
        with contextlib.suppress(OntogenyError, OSError):
            diagnose_run(path)
            if not live:
                analyze_if_it_can(path)
