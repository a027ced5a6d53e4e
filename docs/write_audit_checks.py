"""Write docs/findings/audit.md, and the tables of docs/audit.md, from the checks: ``make docs``. A test holds them."""

import re
from itertools import groupby
from pathlib import Path

from ontogeny.integrations.audit.check import Check, all_checks
from ontogeny.integrations.audit.session import WATCHED

HERE = Path(__file__).parent
PAGE = HERE / "audit.md"
FINDINGS = HERE / "findings" / "audit.md"
_HEAD = """# What an audit says

Every check of [an audit](../audit.md), with what to make of its finding. A check answers *finding*, *clear*, or *not
assessable: needs …*. Which faults each was tested with, and who else tells of them, stands in
[audit_faults.md](audit_faults.md).
"""


def findings() -> str:
    """The page with a section for each check."""
    parts = [_HEAD]
    for family, checks in _families():
        parts.append(f"## {family}\n")
        parts += [_section(one) for one in checks]
    return "\n".join(parts)


def _section(one: Check) -> str:
    return (
        f'### <a id="{one.id}"></a>{one.title}\n\n`{one.id}`\n\n'
        f"- **Needs** {one.needs}.\n- **A finding** where {one.threshold}.\n- **Costs** {one.cost}.\n"
        f"- **What else it can be** {one.otherwise}.\n- **Refuted by** {one.refuted_by}.\n"
        f"- **What to do** {one.remedy}.\n"
    )


def page(text: str) -> str:
    """The page of the audit with its tables as they should be."""
    for name, table in {"checks": _checks(), "watched": _watched()}.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda found, t=table: found[1] + t + found[2], text, flags=re.S
        )
    return text


def _checks() -> str:
    rows = ["| check | needs | costs |\n|---|---|---|"]
    for family, checks in _families():
        rows.append(f"| **{family}** | | |")
        rows += [_row(f"[`{one.id}`](findings/audit.md#{one.id})", one.needs, one.cost) for one in checks]
    return "\n".join(rows) + "\n"


def _watched() -> str:
    rows = [_row(f"`{name}`", meaning) for name, meaning in WATCHED.items()]
    return "\n".join(["| name | what |\n|---|---|", *rows]) + "\n"


def _families() -> list[tuple[str, list[Check]]]:
    return [(family.capitalize(), list(checks)) for family, checks in groupby(all_checks(), key=lambda one: one.family)]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    FINDINGS.write_text(findings(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
