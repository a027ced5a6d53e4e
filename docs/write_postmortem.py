"""Write the table of docs/audit.md that says which fault explains which symptom, by a run of the story (2 minutes).

Not a part of ``make docs``: its numbers differ between machines in their last digits. A slow test holds the faults,
the findings and the symptoms.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ontogeny.integrations.audit.stories.story import tell_story

PAGE = Path(__file__).parent / "audit.md"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]]) + "\n"


def main() -> None:
    """Carry out the story, and replace the table."""
    told = tell_story("postmortem/identical_evaluations", lambda line: sys.stderr.write(line + "\n") and None).table
    if told is None:
        raise SystemExit("the story has no table")
    text = PAGE.read_text()
    marked = r"(<!-- symptoms -->\n).*?(<!-- end -->)"
    PAGE.write_text(re.sub(marked, lambda mark: mark[1] + table(told.columns, told.rows) + mark[2], text, flags=re.S))


if __name__ == "__main__":
    main()
