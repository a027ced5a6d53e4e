"""Section: texts that the model generated."""

from ontogeny.report.rendering import render_template
from ontogeny.report.samples import MOST_CHARACTERS, rounding_notes, samples_of
from ontogeny.report.section import Recorded, Section, SectionContent
from ontogeny.store.run_group import RunGroup

MOST_RUNS = 4
"""Runs whose texts can be read on one page: the first of each band."""


def _content(runs: RunGroup) -> SectionContent | None:
    shown = [band.runs[0] for band in runs.bands][:MOST_RUNS]
    selected = [samples_of(run, MOST_CHARACTERS // len(shown)) for run in shown]
    samples = [samples for samples, _ in selected if samples]
    if not samples:
        return None
    notes = [note for run in shown for note in rounding_notes(run)] + [note for _, notes in selected for note in notes]
    return SectionContent(
        html=render_template("samples.html.j2", notes=notes), data={"samples": samples}, scripts=("samples.js",)
    )


SECTION = Section(
    title="Samples",
    order=90,
    lead="What the model writes after the same prompt, at several checkpoints side by side.",
    needs=(Recorded(measure="generation", otherwise="Generated text was not recorded."),),
    content=_content,
)
