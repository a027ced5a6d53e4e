"""Section: what a student learns of its teacher, and which terms of the loss pull together."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ontogeny.analyses.recorded.distillation_arms import AXES
from ontogeny.report.analyses import over_runs, verdicts
from ontogeny.report.section import Section, SectionContent
from ontogeny.report.term_weights import resting, taught
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent | None:
    item = Markup("<li>{}: not optimised at {}.</li>")
    items = [
        item.format(f"{run.name}, {term}" if len(runs.runs) > 1 else term, where)
        for run in taught(runs)
        for term, where in resting(run).items()
    ]
    parts = [
        _table(result["numbers"]) for result in over_runs(runs, "distillation") if "comparisons" in result["numbers"]
    ]
    parts += [shown] if (shown := verdicts(runs, "distillation")) else []
    parts += [Markup("<ul>{}</ul>").format(Markup("").join(items))] if items else []
    return SectionContent(html=Markup("").join(parts)) if parts else None


def _table(numbers: Mapping[str, Any]) -> Markup:
    """Verdicts on each arm against the one without a teacher: a row for each arm, a column for each cost."""
    against = [each for each in numbers["comparisons"] if each["first"] == numbers["baseline"]]
    by_place = {(each["second"], each["axis"]): each for each in against}
    head = Markup("").join(Markup("<th>at equal {}</th>").format(axis) for axis in AXES)
    rows = [
        Markup("<tr><th>{}</th>{}</tr>").format(
            arm, Markup("").join(_cell(by_place[arm, axis]) for axis in AXES if (arm, axis) in by_place)
        )
        for arm in dict.fromkeys(each["second"] for each in against)
    ]
    table = Markup('<div class="scroll"><table><tr><th>against {}</th>{}</tr>{}</table></div>')
    return table.format(numbers["baseline"], head, Markup("").join(rows)) if rows else Markup("")


def _cell(each: Mapping[str, Any]) -> Markup:
    """The verdict, and below it the difference with its interval, or why there is none."""
    difference = each["difference"]
    if each["why_not"] or difference is None or difference["low"] is None:
        return Markup("<td>{}<br><small>{}</small></td>").format(each["says"], each["why_not"])
    ends = "{value:+.4f} (95% {low:+.4f} to {high:+.4f})".format(**difference).replace("-", "−")
    return Markup("<td>{}<br><small>{}</small></td>").format(each["says"], ends)


SECTION = Section(
    title="Distillation",
    order=55,
    lead="How far the student agrees with its teacher, what each term of the loss adds, and which work against which.",
    content=_content,
)
