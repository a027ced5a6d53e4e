"""Groups of runs in one table: loss at the end, its change, and what can be extracted."""

from dataclasses import dataclass

from ontogeny.report.loss_changes import extracted, loss_change
from ontogeny.report.sentences import nats, percent, signed
from ontogeny.statistics.estimates import UNPAIRED, Estimate
from ontogeny.store.run_group import Band, RunGroup

ABSENT = ("–", "")


@dataclass(frozen=True, kw_only=True)
class ComparisonTable:
    """`rows` hold a band's label, its number of seeds, and a (value, small print) pair per column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[tuple[str, str], ...]], ...]


def comparison_table(runs: RunGroup) -> ComparisonTable | None:
    """One row per band; None for a single band. Columns that no band has a value for are left out."""
    if len(runs.bands) < 2:
        return None
    columns = [f"{probe}, loss" for probe in runs.probe_names] + [f"{probe}, verbatim" for probe in runs.probe_names]
    table = [
        [*(_loss(band, probe) for probe in runs.probe_names), *(_verbatim(band, probe) for probe in runs.probe_names)]
        for band in runs.bands
    ]
    kept = [i for i in range(len(columns)) if any(row[i] != ABSENT for row in table)]
    return ComparisonTable(
        columns=tuple(columns[i] for i in kept),
        rows=tuple(
            (band.label, len(band.runs), tuple(row[i] for i in kept))
            for band, row in zip(runs.bands, table, strict=True)
        ),
    )


def _loss(band: Band, probe: str) -> tuple[str, str]:
    change = loss_change(band, probe) if probe in band.runs[0].probes else None
    if change is None:
        return ABSENT
    return nats(change.last), f"{signed(change.difference.value)}{_interval(change.difference)}"


def _verbatim(band: Band, probe: str) -> tuple[str, str]:
    share = extracted(band, probe) if probe in band.runs[0].probes else None
    if share is None:
        return ABSENT
    ends = f" ({percent(share.last.ends[0])} to {percent(share.last.ends[1])})" if share.last.ends else ""
    return percent(share.last.value), f"{share.last.basis}{ends}"


def _interval(estimate: Estimate) -> str:
    kind = "" if estimate.how else "range "
    rests_on = f"; {estimate.basis}, not paired" if estimate.how == UNPAIRED else f"; {estimate.basis}"
    return f" ({kind}{signed(estimate.ends[0])} to {signed(estimate.ends[1])}{rests_on})" if estimate.ends else ""
