"""Results of analyses, as the page and the text show them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ontogeny.core.analyses import ROOM, ROOM_ACROSS, Analysis, failed, not_assessable, one_line, plain_result
from ontogeny.core.errors import StoreError
from ontogeny.core.kinds import find, kinds_of
from ontogeny.report.rendering import render_template
from ontogeny.report.section import all_sections
from ontogeny.store import comparisons

if TYPE_CHECKING:
    from markupsafe import Markup

    from ontogeny.core.analyses import AnalysisAcross, PlainResult, ShownResult
    from ontogeny.store.run_group import RunGroup


LEFT_OVER = "dynamics"
"""Section of the verdicts of analyses that are not installed here, or whose section does not exist."""


def verdicts(runs: "RunGroup", section: str) -> "Markup | None":
    """The verdicts that stand in a section: over the runs, then those of each run; None where there is none."""
    shown = over_runs(runs, section)
    for run in runs.runs:
        name = run.name if len(runs.runs) > 1 else ""
        own = [(kind, result) for kind, result in in_order(run.analyses) if _section_of(ROOM, kind) == section]
        shown += [{**result, "kind": kind, "run": name} for kind, result in own]
    return render_template("analyses.html.j2", analyses=shown) if shown else None


def _section_of(room: str, kind: str) -> str:
    base = kind.partition("-")[0]  # a second analysis of a kind is kept as <kind>-<what>
    if base not in kinds_of(room):
        return LEFT_OVER
    section = cast("type[Analysis | AnalysisAcross]", find(room, base)).section
    return section if section in all_sections() else LEFT_OVER


def in_order(analyses: "Mapping[str, PlainResult]") -> "list[tuple[str, PlainResult]]":
    """Analyses of a run by `Analysis.order`, the order in which questions arise; then by name."""
    return sorted(analyses.items(), key=lambda item: (_order_of(item[0]), item[0]))


def _order_of(kind: str) -> float:
    """A result that is no kind by name, such as that of an analysis which is not installed here, comes last."""
    return cast(type[Analysis], find(ROOM, kind)).order if kind in kinds_of(ROOM) else Analysis.order


def over_runs(runs: "RunGroup", section: str | None = None) -> "list[ShownResult]":
    """Results over several runs that have what it takes: kind, run ("3 runs"), verdict, sentences, reading, numbers.

    Of all analyses, or of those that stand in a section of the page.
    Those that are kept for exactly these runs are read; others are computed with their default settings, and kept
    nowhere. An analysis that fails says so in its verdict, since a page must not be lost to it. Empty for one run.
    """
    if len(runs.runs) < 2:
        return []
    kept = comparisons.kept(runs)
    shown: list[ShownResult] = []
    for kind in kinds_of(ROOM_ACROSS):
        if section is not None and _section_of(ROOM_ACROSS, kind) != section:
            continue
        result = kept.get(kind) or _computed(kind, runs)
        if result["numbers"] or not result["verdict"].startswith("not assessable"):  # judged, whatever came of it
            sentences = [one_line(sentence) for sentence in result["sentences"]]
            shown.append({**result, "sentences": sentences, "kind": kind, "run": f"{len(runs.runs)} runs"})
    return shown


def _computed(kind: str, runs: "RunGroup") -> "PlainResult":
    try:
        result = cast("AnalysisAcross", find(ROOM_ACROSS, kind)()).analyze(runs)
    except StoreError as lack:
        result = not_assessable(lack)
    except Exception as error:  # noqa: BLE001 - a page of many runs is not lost to one analysis
        result = failed(kind, " ".join(str(run.path) for run in runs.runs), error)
    return plain_result(result)
