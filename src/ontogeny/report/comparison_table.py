"""Groups of runs in one table: loss at the end, its change, and what can be extracted."""

from dataclasses import dataclass

from ontogeny.report.changes import change, extracted
from ontogeny.report.sentences import number, percent, signed
from ontogeny.statistics.estimates import Estimate
from ontogeny.store.run_group import RunGroup


@dataclass(frozen=True, kw_only=True)
class Glance:
    """A table: `rows` hold a label, the number of seeds, and a (value, small print) pair per column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[tuple[str, str], ...]], ...]


def glance(runs: RunGroup) -> Glance | None:
    """One row per group of runs; None for a single group."""
    if len(runs.bands) < 2:
        return None
    rows = []
    for band in runs.bands:
        cells = []
        for probe in runs.probe_names:
            one = change(band, probe) if probe in band.runs[0].probes else None
            cells.append(
                ("–", "")
                if one is None
                else (number(one.last), f"{signed(one.difference.value)}{_ends(one.difference)}")
            )
        for probe in runs.probe_names:
            found = extracted(band, probe) if probe in band.runs[0].probes else None
            cells.append(("–", "") if found is None else (percent(found.last.value), ""))
        rows.append((band.label, len(band.runs), tuple(cells)))
    columns = [f"{probe}, loss" for probe in runs.probe_names] + [f"{probe}, verbatim" for probe in runs.probe_names]
    kept = [i for i in range(len(columns)) if any(cells[i][0] != "–" for _, _, cells in rows)]
    return Glance(
        columns=tuple(columns[i] for i in kept),
        rows=tuple((label, n, tuple(cells[i] for i in kept)) for label, n, cells in rows),
    )


def _ends(estimate: Estimate) -> str:
    what = "" if estimate.how else "range "
    return f" ({what}{signed(estimate.ends[0])} to {signed(estimate.ends[1])})" if estimate.ends else ""
