"""Section: passages, with the NLL, rank and entropy of every token at every checkpoint."""

from collections.abc import Sequence

from ontogeny.report.passage_reader import MOST_CELLS, PassageReader, build_reader
from ontogeny.report.rendering import render_template
from ontogeny.report.section import Recorded, Section, SectionContent
from ontogeny.store.run_group import RunGroup

MOST_RUNS = 4
"""Runs whose passages can be read on one page: the first of each band."""


def _content(runs: RunGroup) -> SectionContent | None:
    shown = [band.runs[0] for band in runs.bands][:MOST_RUNS]
    readers = [reader for run in shown if (reader := build_reader(run, MOST_CELLS // len(shown))) is not None]
    if not readers:
        return None
    return SectionContent(
        html=render_template("reader.html.j2", readers=readers),
        data={"firstChoice": _first_choice(readers)},
        scripts=("reader.js",),
    )


def _first_choice(readers: Sequence[PassageReader]) -> list[tuple[int, str, int]]:
    """(run, probe set, passage) of the two panes: two passages of one run, or one passage in two runs."""
    left, right = readers[0].first_choice
    return [(0, *left), (1, *left)] if len(readers) > 1 else [(0, *left), (0, *right)]


SECTION = Section(
    title="Passages",
    order=20,
    lead="The same texts at every checkpoint.",
    needs=(Recorded(measure="token_nll", otherwise="NLL, rank and entropy of every token were not recorded."),),
    content=_content,
)
