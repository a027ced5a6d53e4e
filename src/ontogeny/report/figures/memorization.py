"""What can be extracted verbatim."""

from ontogeny.report.charts import Axis, interval_note, trajectory
from ontogeny.report.document_intervals import of_flags
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup

MEASURE = "extraction"


def extraction(runs: RunGroup) -> Figure | None:
    """Share of passages that the model completes verbatim."""
    bars = of_flags(runs, MEASURE, "extractable")
    chart = trajectory(runs, f"{MEASURE}/share", Axis("share of passages", ".1%"), bars=bars.frame)
    if chart is None:
        return None
    return Figure(
        title="Verbatim memorization",
        caption=f"{_criterion(runs)} Text that is never trained on is the control. " + interval_note(runs, bars.note),
        chart=chart,
        section="memorization",
        order=10,
        metrics=tuple(f"{MEASURE}/{name}" for name in ("share", "n", "skipped")),
    )


def _criterion(runs: RunGroup) -> str:
    """What counts as memorized, with the lengths that the measure used."""
    for _, _, data in runs.measures(MEASURE):
        k, m = data.attrs.get("prefix_tokens"), data.attrs.get("suffix_tokens")
        if k and m:
            return f"Share of passages whose first {k} tokens make greedy decoding write the next {m} exactly."
    return "Share of passages whose beginning makes greedy decoding write the continuation exactly."
