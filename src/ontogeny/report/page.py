"""One self-contained HTML page of one run or several: it loads nothing, and all it shows comes from the store."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.report.exports import plain_text, summary, write_pictures
from ontogeny.report.figure import Figure, draw_all
from ontogeny.report.opening import opening_of
from ontogeny.report.origin import utc_time
from ontogeny.report.remaining_scalars import remaining_scalars
from ontogeny.report.rendering import inline_json, render_page, static, vega
from ontogeny.report.section import Section, SectionContent, all_sections
from ontogeny.report.sentences import how_to_add
from ontogeny.report.theme import chart_config
from ontogeny.store import durable
from ontogeny.store.comparisons import folder_beside
from ontogeny.store.export import with_plain_text
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from ontogeny.store.run import Run

RELOAD_SECONDS = 6
MANY_RUNS = 6
"""With more runs on one page, a figure shows at most MOST_PANELS of its panels."""
MOST_PANELS = 12


def write_report(runs: "Sequence[Run]", out: Path | None = None, live: bool = False) -> Path:
    """Write the page of one run, or of several laid over each other; return its path.

    `out`: a file ending in .html, or a directory for report.html; by default the run's directory, for several runs
    `comparison-<hash>` beside the first. `live`: the page reloads itself, and nothing else is written; otherwise
    figures/*.svg and *.png, summary.csv and report.txt are written beside it. Files are replaced atomically.

    Raises OntogenyError without any run, StoreError if a run is damaged or the disk is full.
    """
    if not runs:
        raise OntogenyError("report: name at least one run directory")
    path = _path_of(runs, out)
    group = RunGroup(runs, results_folder=path.parent)
    durable.make_folder(path.parent)
    figures = draw_all(group)
    if (remaining := remaining_scalars(group, figures.values())) is not None:
        figures["more"] = remaining
    durable.write_bytes(path, render(group, figures, live).encode())
    if not live:
        durable.write_bytes(path.parent / "report.txt", plain_text(group).encode())
        durable.write_bytes(
            path.parent / "summary.csv",
            with_plain_text(summary(group)).to_csv(index=False, float_format="%.7g").encode(),
        )
        write_pictures(path.parent / "figures", figures)
    return path


def render(runs: RunGroup, figures: Mapping[str, Figure], live: bool) -> str:
    """The page as text. Raises LookupError for a figure whose section does not exist."""
    sections = list(_shown_sections(runs, figures))
    contents = [section.content for section in sections if section.content is not None]
    charts = {id: spec for section in sections for figure in section.figures for id, spec in figure.charts.items()}
    data = {
        "charts": charts,
        "chartConfig": chart_config(),
        "reloadSeconds": RELOAD_SECONDS if live else 0,
        **{key: value for content in contents for key, value in content.data.items()},
    }
    scripts = ["page.js", *(name for content in contents for name in content.scripts), "live.js"]
    return render_page(
        "page.html.j2",
        written=utc_time(time.time()),
        opening=opening_of(runs),
        sections=sections,
        page_data=inline_json(data),
        live=live,
        reload_seconds=RELOAD_SECONDS,
        scripts=[static(name) for name in scripts],
        vega=vega(),
    )


@dataclass(kw_only=True)
class ShownFigure:
    """A figure for the template."""

    title: str
    caption: str
    panels: list[tuple[str, str]]
    """(title, id of the element that holds the chart)."""
    charts: Mapping[str, object]
    """Vega-Lite specifications by that id."""
    wide: bool
    """Does it take both columns of the page?"""


@dataclass(frozen=True, kw_only=True)
class ShownSection:
    """A section for the template."""

    id: str
    title: str
    lead: str
    content: SectionContent | None
    figures: list[ShownFigure]
    missing: list[tuple[str, str]]
    """(what was not recorded, the command that adds it)."""


def _shown_sections(runs: RunGroup, figures: Mapping[str, Figure]) -> Iterator[ShownSection]:
    """Sections that have something to show, in the order of the page."""
    sections = all_sections()
    for name, figure in figures.items():
        if figure.section not in sections:
            raise LookupError(f"figure {name}: no section '{figure.section}': {closest(figure.section, sections)}")
    for id, section in sections.items():
        shown = [
            _shown_figure(name, figure, many=len(runs.runs) > MANY_RUNS)
            for name, figure in figures.items()
            if figure.section == id
        ]
        _widen(shown)
        content = section.content(runs) if section.content else None
        missing = _missing(section, runs)
        if shown or content or missing:
            yield ShownSection(
                id=id,
                title=section.title,
                lead=section.lead if shown or content else "",
                content=content,
                figures=shown,
                missing=missing,
            )


def _missing(section: Section, runs: RunGroup) -> list[tuple[str, str]]:
    return [
        (need.otherwise, how_to_add(runs.runs[0], need.measure))
        for need in section.needs
        if all(run.group_of(need.measure) not in run.measures for run in runs.runs)
    ]


def _shown_figure(name: str, figure: Figure, *, many: bool) -> ShownFigure:
    """Panels and caption; with many runs the first panels only, since there may be one per run."""
    kept = list(figure.panels.items())[: MOST_PANELS if many else None]
    panels = [(title, f"chart-{name}-{i}") for i, (title, _) in enumerate(kept)]
    responsive = {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    charts = {
        id: {**chart.to_dict(validate=False), **responsive} for (_, id), (_, chart) in zip(panels, kept, strict=True)
    }
    left = len(figure.panels) - len(kept)
    more = f" {left} more panels stand on the runs' own pages." if left else ""
    return ShownFigure(
        title=figure.title, caption=figure.caption + more, panels=panels, charts=charts, wide=len(panels) > 1
    )


def _widen(figures: Sequence[ShownFigure]) -> None:
    """Figures stand in two columns; a figure without a neighbour takes both."""
    alone: ShownFigure | None = None
    for figure in figures:
        if figure.wide and alone:
            alone.wide = True
        alone = None if figure.wide or alone else figure
    if alone:
        alone.wide = True


def _path_of(runs: "Sequence[Run]", out: Path | None) -> Path:
    if out is None:
        folder = runs[0].path if len(runs) == 1 else folder_beside([run.path for run in runs])
        return folder / "report.html"
    return out if out.suffix == ".html" else out / "report.html"
