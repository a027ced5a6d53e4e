"""A section with a figure and content: how many different tokens each probe set holds, and how sure the model is."""

import altair as alt
import pandas as pd
from markupsafe import Markup

from ontogeny.report.figure import Figure
from ontogeny.report.section import Recorded, Section, SectionContent
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent | None:
    probes = runs.runs[0].probes
    if not probes:
        return None
    items = [
        Markup("<li>{}: {} tokens</li>").format(name, sum(map(len, probe.passages))) for name, probe in probes.items()
    ]
    return SectionContent(html=Markup("<ul>{}</ul>").format(Markup("").join(items)), data={"vocabulary": len(probes)})


def distinct_tokens(runs: RunGroup) -> Figure | None:
    """Different tokens per probe set."""
    rows = [
        {"probe": name, "distinct": len({int(i) for passage in probe.passages for i in passage.token_ids})}
        for name, probe in runs.runs[0].probes.items()
    ]
    if not rows:
        return None
    chart = alt.Chart(pd.DataFrame(rows)).mark_bar().encode(alt.X("distinct:Q"), alt.Y("probe:N"))
    return Figure(title="Different tokens", caption="Per probe set.", chart=chart, section="vocabulary")


SECTION = Section(
    title="Vocabulary",
    order=35,
    lead="Which tokens the probe sets hold.",
    needs=(Recorded(measure="token_ranks", otherwise="Ranks of tokens were not recorded."),),
    content=_content,
)
