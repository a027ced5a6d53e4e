"""Write docs/findings/README.md from the rules: ``make docs``. A test holds that it is up to date."""

from itertools import groupby
from pathlib import Path

from ontogeny.diagnosis.rule import Rule, all_rules

PAGE = Path(__file__).parent / "findings" / "README.md"
_HEAD = """# What is looked for

Every rule answers *finding*, *clear*, or *not assessable: lacks …*. A finding is an **error** (the run is broken, or
its numbers cannot be trusted), a **warning** (act on it) or a **note** (worth knowing; never counted as an alarm).
How often each rule finds a planted fault, and how often it finds one in a healthy twin, stands in
[benchmarks.md](../benchmarks.md). The same table on the command line: `ontogeny diagnose --rules`.
What is looked for in a live training stands in [audit.md](audit.md).
"""


def text() -> str:
    """The page."""
    parts = [_HEAD]
    for family, rules in groupby(all_rules(), key=lambda rule: rule.family):
        parts.append(f"## {family.replace('_', ' ').capitalize()}\n")
        parts.append("| rule | needs | statistic | threshold |\n|---|---|---|---|")
        parts += [_row(rule) for rule in rules]
        parts.append("")
    return "\n".join(parts)


def _row(rule: Rule) -> str:
    cells = [f"[{rule.title}]({rule.id}.md)<br>`{rule.id}`", rule.needs, rule.statistic, rule.threshold]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
