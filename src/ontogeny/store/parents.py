"""Where the runs lie that a run's models come from: its base, its companions."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ontogeny.core.analyses import RecordedRun

_PARENTS_FOLDER = "parents_folder"
"""Key in the provenance: the folder below which parent runs were looked for, relative to the run's own directory."""


def relative_parents_folder(path: Path, runs_dir: Path) -> dict[str, str]:
    """What the provenance of a run at `path` says of where its parents are; empty if they lie beside it."""
    if path.resolve().parent == runs_dir.resolve():
        return {}
    return {_PARENTS_FOLDER: os.path.relpath(runs_dir.resolve(), path.resolve())}


def parents_folder(run: "RecordedRun") -> Path:
    """Where a run's parents are looked for again: where they were when it began, else beside it."""
    relative = run.provenance.get(_PARENTS_FOLDER)
    if isinstance(relative, str) and (run.path.resolve() / relative).is_dir():
        return Path(os.path.normpath(run.path.resolve() / relative))
    return run.path.parent
