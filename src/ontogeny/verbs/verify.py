"""Check the files of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ontogeny.store.manifest import has_checksums
from ontogeny.store.run import Run, open_run
from ontogeny.store.schema import MANIFEST, PROVENANCE, RECIPE_JSON
from ontogeny.store.verification import Problem, problems_of


class Verification(TypedDict):
    """What was checked, and what is wrong."""

    run: str
    checksums: bool
    """False for a run of an earlier version, whose small files carry none."""
    problems: list[dict[str, str]]
    """Each with `file`, `what` and `repair`; empty if nothing is wrong."""


def verify(path: Path) -> Verification:
    """Check every file of a run. Raises StoreError if the directory is no run; damage is in the result."""
    if not any((path / name).exists() for name in (PROVENANCE, RECIPE_JSON, MANIFEST)):
        open_run(path)  # says why it is no run
    problems = problems_of(Run(path))
    return {"run": str(path), "checksums": has_checksums(path), "problems": [problem._asdict() for problem in problems]}


def text(verification: Verification, *, repair: bool) -> str:
    """A table: file, what is wrong, and, with `repair`, what would put it right."""
    problems = [Problem(**problem) for problem in verification["problems"]]
    note = [] if verification["checksums"] else ["a run of an earlier version: not all of its files have checksums"]
    if not problems:
        return "\n".join([f"{verification['run']}: nothing is wrong", *note])
    width = max(len("file"), *(len(problem.file) for problem in problems))
    lines = [f"{'file':<{width}}  what is wrong"]
    for problem in problems:
        lines.append(f"{problem.file:<{width}}  {problem.what}")
        lines += [f"{'':<{width}}  repair: {problem.repair}"] if repair else []
    return "\n".join([*lines, _sum(problems), *note])


def _sum(problems: Sequence[Problem]) -> str:
    count = len(problems)
    return f"{count} file{'s are' if count > 1 else ' is'} lost or damaged; nothing was changed"
