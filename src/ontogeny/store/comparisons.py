"""Where results of analyses over several runs are kept, and which runs they are of."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ontogeny.store import durable, schema

if TYPE_CHECKING:
    from ontogeny.store.run_group import RunGroup

RUNS = "runs"
"""Key of a kept result: name and weights of each run that it is of, in order."""


def folder_of(runs: "RunGroup") -> Path:
    """`comparison-<hash of the runs' names>` beside the first run. The order counts: the first is the baseline."""
    names = "\n".join(run.path.resolve().name for run in runs.runs)
    return runs.runs[0].path.parent / f"comparison-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def keep(folder: Path, kind: str, result: Mapping[str, Any], runs: "RunGroup") -> None:
    """Write a result, plain values, to `analyses/<kind>.json` of a folder, with the runs that it is of."""
    durable.make_folder(folder / schema.ANALYSES_FOLDER)
    content = {**result, RUNS: runs.identities}
    durable.write_json(folder / schema.ANALYSES_FOLDER / f"{kind}.json", content)


def kept(runs: "RunGroup") -> dict[str, dict[str, Any]]:
    """Results by kind that are kept for exactly these runs, with the weights that they have now, in this order.

    Read from the group's own folder first, then from `folder_of`.
    """
    expected = runs.identities
    results: dict[str, dict[str, Any]] = {}
    for folder in (runs.results_folder, folder_of(runs)):
        for path in sorted((folder / schema.ANALYSES_FOLDER).glob("*.json")) if folder is not None else ():
            result = durable.read_json(path)
            if result.get(RUNS) == expected:
                results.setdefault(path.stem, {key: value for key, value in result.items() if key != RUNS})
    return results
