"""Write the page of a run, with what the rules find in it."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ontogeny.core.errors import OntogenyError
from ontogeny.report.page import write_report
from ontogeny.store.run import open_run
from ontogeny.verbs.analyze import analyze_if_it_can
from ontogeny.verbs.diagnose import diagnose_run


def report(paths: Sequence[Path], *, to: Path | None = None, live: bool = False) -> Path:
    """Hold each run against all rules, analyze what it recorded, and write its page; return the page's path.

    Several runs share one page. Raises StoreError if a run cannot be read. One in which nothing can be written is shown
    with what it holds.
    """
    runs = [open_run(path) for path in paths]
    for path in paths:
        with contextlib.suppress(OntogenyError, OSError):
            diagnose_run(path)
            if not live:
                analyze_if_it_can(path)
    return write_report(runs, out=to, live=live)
