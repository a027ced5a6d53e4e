"""What the page begins with: its title, what the runs learned, forgot and memorized, and the facts."""

from dataclasses import dataclass

from ontogeny.report.comparison_table import ComparisonTable, comparison_table
from ontogeny.report.origin import alarms, facts
from ontogeny.report.sentences import Sentence, sentences
from ontogeny.store.run_group import RunGroup


@dataclass(frozen=True, kw_only=True)
class BandSummary:
    """The sentences on one band of runs."""

    label: str
    seeds: int
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The page's header."""

    title: str
    kicker: str
    """A line above the title: which runs these are."""
    about: str
    comparison: ComparisonTable | None
    """Of several bands."""
    bands: tuple[BandSummary, ...]
    scope: str
    """What the intervals of the sentences speak about."""
    facts: tuple[tuple[str, str], ...]
    alarms: tuple[str, ...]


def opening_of(runs: RunGroup) -> Opening:
    """The header of the page of these runs."""
    return Opening(
        title=_title(runs),
        kicker=_kicker(runs),
        about=runs.runs[0].recipe.get("about") or "" if len(runs.bands) == 1 else "",
        comparison=comparison_table(runs),
        bands=tuple(
            BandSummary(label=band.label, seeds=len(band.runs), sentences=sentences(band)) for band in runs.bands
        ),
        scope=_scope(runs),
        facts=tuple(_facts(runs)),
        alarms=tuple(alarm for run in runs.runs for alarm in alarms(run)),
    )


def _title(runs: RunGroup) -> str:
    if len(runs.runs) == 1:
        return str(runs.runs[0].recipe.get("name") or runs.runs[0].name)
    return runs.bands[0].label if len(runs.bands) == 1 else f"{len(runs.runs)} runs"


def _kicker(runs: RunGroup) -> str:
    if len(runs.runs) == 1:
        return runs.runs[0].name
    if len(runs.bands) == 1:
        return f"{len(runs.runs)} runs that differ in the seed"
    return ", ".join(f"{band.label} (n = {len(band.runs)})" for band in runs.bands)


def _scope(runs: RunGroup) -> str:
    if any(len(band.runs) > 1 for band in runs.bands):
        return (
            "Intervals over seeds speak about training with this recipe; intervals over documents about one run alone."
        )
    return "Intervals are over documents and speak about this one run; a claim about training needs several seeds."


def _facts(runs: RunGroup) -> list[tuple[str, str]]:
    """The facts of one run, or those that several have in common."""
    first, *others = (facts(run) for run in runs.runs)
    if not others:
        return first
    common = [fact for fact in first if all(fact in rows for rows in others)]
    return [("Runs", str(len(runs.runs))), *common]
