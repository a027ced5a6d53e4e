"""One self-contained HTML page of one run or several: it loads nothing, and all it shows comes from the store."""

import functools
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.version import __version__
from ontogeny.report import origin
from ontogeny.report.analyses import in_order, over_runs
from ontogeny.report.comparison_table import glance
from ontogeny.report.exports import plain_text, summary, write_pictures
from ontogeny.report.figure import Figure, draw_all
from ontogeny.report.findings_text import number
from ontogeny.report.reader import MOST_CELLS, Reader, build
from ontogeny.report.remaining_scalars import remaining
from ontogeny.report.samples import MOST_CHARACTERS, samples_of
from ontogeny.report.sentences import how_to_add, sentences
from ontogeny.report.theme import DARK, LIGHT, chart_config, css_variables
from ontogeny.store import durable
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from ontogeny.store.run import Run

RELOAD_SECONDS = 6
MOST_READERS = 4
MOST_POINTS = 6
"""Points that a finding rests on, as far as the page lists them."""

MANY = 6
"""Runs on one page, above which what is said and drawn of each is shown in part."""
MOST_PANELS = 12


@dataclass(frozen=True, kw_only=True)
class SectionPlan:
    """A section of the page: which figures go there, and which measures it is about."""

    id: str
    title: str
    lead: str = ""
    measures: tuple[tuple[str, str], ...] = ()
    """(kind, what it would show): named where it was not recorded."""
    template: str = ""


PLAN = (
    SectionPlan(id="findings", title="Findings", template="findings.html.j2"),
    SectionPlan(
        id="reader",
        title="Passages",
        template="reader.html.j2",
        lead="The same texts, looked at again at every checkpoint.",
        measures=(("token_nll", "NLL, rank and entropy of every token were"),),
    ),
    SectionPlan(id="curves", title="Curves", measures=(("evaluation", "The loss of the probe sets was"),)),
    SectionPlan(id="memorization", title="Memorization", measures=(("extraction", "Verbatim memorization was"),)),
    SectionPlan(
        id="forgetting",
        title="Forgetting",
        lead="What the model knew before and knows now, on the same items; in words under the analyses.",
    ),
    SectionPlan(
        id="dynamics",
        title="Memorization and the layers",
        template="analyses.html.j2",
        lead="What the layers' compression does while passages are memorized, and whether it can be told from chance.",
    ),
    SectionPlan(
        id="tasks",
        title="Tasks",
        lead="Made from the probe sets themselves; chance and what is asked are in the captions.",
        measures=(("cloze", "Accuracy on last words was"), ("continuation", "Accuracy on continuations was")),
    ),
    SectionPlan(
        id="weights",
        title="Weights",
        measures=(
            ("weight_drift", "How far the weights moved was"),
            ("gradient_norms", "Gradient norms by block were"),
        ),
    ),
    SectionPlan(
        id="generation",
        title="Samples",
        template="samples.html.j2",
        lead="What the model writes after the same prompt, at several checkpoints side by side.",
        measures=(("generation", "Generated text was"),),
    ),
    SectionPlan(id="time", title="Time"),
    SectionPlan(id="more", title="More numbers"),
    SectionPlan(id="origin", title="Origin", template="provenance.html.j2"),
)


def write_report(runs: "Sequence[Run]", out: Path | None = None, live: bool = False) -> Path:
    """Write the page of one run, or of several laid over each other; return its path.

    `out`: a file ending in .html, or a directory for report.html; by default the run's directory, for several runs
    `comparison` beside the first. `live`: the page reloads itself, and nothing else is written; otherwise
    figures/*.svg and *.png, summary.csv and report.txt are written beside it. Files are replaced atomically.

    Raises OntogenyError without any run, StoreError if a run is damaged or the disk is full.
    """
    if not runs:
        raise OntogenyError("report: name at least one run directory")
    path = _where(runs, out)
    group = RunGroup(runs, results_folder=path.parent)
    durable.make_folder(path.parent)
    figures = draw_all(group)
    rest = remaining(group, figures.values())
    if rest is not None:
        figures["more"] = rest
    durable.write_bytes(path, render(group, figures, live).encode())
    if not live:
        durable.write_bytes(path.parent / "report.txt", plain_text(group).encode())
        durable.write_bytes(
            path.parent / "summary.csv", summary(group).to_csv(index=False, float_format="%.7g").encode()
        )
        write_pictures(path.parent / "figures", figures)
    return path


def render(runs: RunGroup, figures: Mapping[str, Figure], live: bool) -> str:
    """The page as text."""
    shown = [band.runs[0] for band in runs.bands][:MOST_READERS]
    readers = [reader for run in shown if (reader := build(run, MOST_CELLS // len(shown))) is not None]
    written = [samples_of(run, MOST_CHARACTERS // len(shown)) for run in shown]
    samples = [one for one, _ in written if one]
    charts: dict[str, Any] = {}
    sections = _sections(runs, figures, charts, bool(readers), bool(samples))
    data = {
        "charts": charts,
        "chartConfig": chart_config(),
        "samples": samples,
        "firstChoice": _first_choice(readers),
        "reloadSeconds": RELOAD_SECONDS if live else 0,
    }
    first = runs.runs[0]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            version=__version__,
            written=origin.moment(time.time()),
            title=_title(runs),
            kicker=_kicker(runs),
            about=first.recipe.get("about") or "" if len(runs.bands) == 1 else "",
            opening=[{"label": band.label, "n": len(band.runs), "sentences": sentences(band)} for band in runs.bands],
            glance=glance(runs),
            facts=origin.facts(first) if len(runs.runs) == 1 else _facts_of_many(runs),
            resting=_resting(runs),
            alarms=[message for run in runs.runs for message in origin.alarms(run)],
            sections=sections,
            readers=readers,
            sample_notes=[note for _, notes in written for note in notes],
            origins=[
                {
                    "name": run.name,
                    "groups": origin.groups(run),
                    "recipe": run.recipe_yaml,
                    "everything": origin.everything(run),
                }
                for run in runs.runs
            ],
            **_findings(runs),
            analyses=_analyses(runs),
            page_data=_inline_json(data),
            live=live,
            reload_seconds=RELOAD_SECONDS,
            light=css_variables(LIGHT),
            dark=css_variables(DARK),
            css=_static("page.css"),
            scripts=[_static(name) for name in ("page.js", "reader.js", "samples.js", "live.js")],
            vega=_vega(),
        )
    )


def _sections(
    runs: RunGroup, figures: Mapping[str, Figure], charts: dict[str, Any], has_reader: bool, has_samples: bool
) -> list[dict[str, Any]]:
    """What each section shows; specifications of charts go into `charts` by the id of their place."""
    filled = {"reader": has_reader, "generation": has_samples, "origin": True}
    filled["dynamics"] = bool(_analyses(runs))
    filled["findings"] = any(run.findings for run in runs.runs)
    sections = []
    for plan in PLAN:
        drawn = [
            {"title": figure.title, **_panels(name, figure, charts, many=len(runs.runs) > MANY)}
            for name, figure in figures.items()
            if figure.section == plan.id
        ]
        missing = [
            {"what": what, "how": how_to_add(runs.runs[0], kind)}
            for kind, what in plan.measures
            if all(run.group_of(kind) not in run.measures for run in runs.runs)
        ]
        _widen(drawn)
        use_template = plan.template and filled.get(plan.id, False)
        if drawn or missing or use_template:
            lead = plan.lead if drawn or use_template else ""
            sections.append(
                {
                    "id": plan.id,
                    "title": plan.title,
                    "lead": lead,
                    "figures": drawn,
                    "missing": missing,
                    "template": plan.template if use_template else "",
                }
            )
    return sections


def _widen(drawn: list[dict[str, Any]]) -> None:
    """Figures stand in two columns; one with several panels, or without a neighbour, takes both."""
    alone: dict[str, Any] | None = None
    for figure in drawn:
        figure["wide"] = len(figure["panels"]) > 1
        if figure["wide"]:
            if alone:
                alone["wide"] = True
            alone = None
        else:
            alone = None if alone else figure
    if alone:
        alone["wide"] = True


def _panels(name: str, figure: Figure, charts: dict[str, Any], *, many: bool) -> dict[str, Any]:
    """A figure's panels and its caption; of many runs not all of what is drawn run by run."""
    panels: list[dict[str, str]] = []
    shown = list(figure.panels.items())[: MOST_PANELS if many else None]
    for i, (title, chart) in enumerate(shown):
        place = f"chart-{name}-{i}"
        spec = chart.to_dict(validate=False)
        charts[place] = {**spec, "width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
        panels.append({"title": title, "id": place})
    left = len(figure.panels) - len(shown)
    more = f" {left} more panels stand on the runs' own pages." if left else ""
    return {"caption": figure.caption + more, "panels": panels}


def _first_choice(readers: Sequence[Reader]) -> list[tuple[int, str, int]]:
    """(run, probe set, passage) of the two panes: two passages of one run, or one passage in two runs."""
    if not readers:
        return []
    left, right = readers[0].first_choice
    return [(0, *left), (1, *left)] if len(readers) > 1 else [(0, *left), (0, *right)]


def _title(runs: RunGroup) -> str:
    if len(runs.runs) == 1:
        return str(runs.runs[0].recipe.get("name") or runs.runs[0].name)
    return runs.bands[0].label if len(runs.bands) == 1 else f"{len(runs.runs)} runs"


def _kicker(runs: RunGroup) -> str:
    if len(runs.runs) == 1:
        return runs.runs[0].name
    seeds = f"{len(runs.runs)} runs that differ in the seed" if len(runs.bands) == 1 else ""
    return seeds or ", ".join(f"{band.label} (n = {len(band.runs)})" for band in runs.bands)


def _resting(runs: RunGroup) -> str:
    """What the intervals of the opening do and do not speak about."""
    if any(len(band.runs) > 1 for band in runs.bands):
        return (
            "Intervals over seeds speak about training with this recipe; intervals over passages about one run alone."
        )
    return "Intervals are over passages and speak about this one run; a claim about training needs several seeds."


def _facts_of_many(runs: RunGroup) -> list[tuple[str, str]]:
    """Of several runs, what they have in common."""
    tables = [dict(origin.facts(run)) for run in runs.runs]
    common = [(label, value) for label, value in tables[0].items() if all(one.get(label) == value for one in tables)]
    return [("Runs", str(len(runs.runs))), *common]


def _findings(runs: RunGroup) -> dict[str, Any]:
    """Findings by severity; how many rules were clear or could not be assessed."""
    everything = [{**one, "run": run.name if len(runs.runs) > 1 else ""} for run in runs.runs for one in run.findings]
    order = {"error": 0, "warning": 1, "note": 2}
    found = sorted(
        (one for one in everything if one.get("verdict") == "finding"), key=lambda one: order.get(one["severity"], 3)
    )
    counts = {
        verdict: sum(one.get("verdict") == verdict for one in everything) for verdict in ("clear", "not assessable")
    }
    others = [
        f"{count} rules {'were clear' if verdict == 'clear' else 'could not be assessed'}"
        for verdict, count in counts.items()
        if count
    ]
    return {"findings": [_card(one) for one in found], "other_findings": f"{' and '.join(others)}." if others else ""}


def _card(finding: Mapping[str, Any]) -> dict[str, Any]:
    """A finding as it was stored, ready to be shown."""
    statement = str(finding.get("statement", ""))
    return {
        "severity": finding["severity"],
        "certainty": finding.get("certainty", ""),
        "run": finding["run"],
        "rule": finding.get("rule", ""),
        "statement": statement[:1].upper() + statement[1:],
        "numbers": [(key.replace("_", " "), number(value)) for key, value in finding.get("numbers", {}).items()],
        "rows": [
            f"{one['label']}: "
            + ", ".join(
                f"{number(value)} at step {step:,}"
                for step, value in list(zip(one["steps"], one["values"], strict=True))[:MOST_POINTS]
            )
            for one in finding.get("evidence", ())
        ],
        **{key: finding.get(key, "") for key in ("remedy", "otherwise", "refuted_by", "threshold")},
    }


def _analyses(runs: RunGroup) -> list[dict[str, Any]]:
    """Verdicts and sentences of every analysis over the runs; then of every run."""
    shown = over_runs(runs)
    for run in runs.runs:
        for kind, one in in_order(run.analyses):
            shown.append({**one, "kind": kind, "run": run.name if len(runs.runs) > 1 else ""})
    return shown


def _inline_json(data: Any) -> Any:
    """JSON that may stand in a script element: no character of it can end the element; NaN becomes null."""
    from markupsafe import Markup

    text = json.dumps(_without_nan(data), ensure_ascii=False, separators=(",", ":"), default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@functools.cache
def _environment() -> Any:
    import jinja2

    folder = Path(__file__).parent / "templates"
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


@functools.cache
def _static(name: str) -> Any:
    from markupsafe import Markup

    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


@functools.cache
def _vega() -> Any:
    """Vega, Vega-Lite and Vega-Embed as one script, made once per process (about a second)."""
    import vl_convert
    from markupsafe import Markup

    script = vl_convert.javascript_bundle().replace("</script", "<\\/script")  # type: ignore[call-arg]
    return Markup(f"{{{script}}}")


def _where(runs: "Sequence[Run]", out: Path | None) -> Path:
    if out is None:
        folder = runs[0].path if len(runs) == 1 else runs[0].path.parent / "comparison"
        return folder / "report.html"
    return out if out.suffix == ".html" else out / "report.html"
