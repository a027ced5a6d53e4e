"""Where results of analyses over several runs are kept, and which runs they are of."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.store import durable, schema

if TYPE_CHECKING:
    from ontogeny.core.analyses import PlainResult
    from ontogeny.store.run_group import RunGroup


def folder_of(runs: "RunGroup") -> Path:
    """`comparison-<hash of the runs' names>` beside the first run. The order counts: the first is the baseline."""
    names = "\n".join(run.path.resolve().name for run in runs.runs)
    return runs.runs[0].path.parent / f"comparison-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def keep(folder: Path, kind: str, result: "PlainResult", runs: "RunGroup") -> None:
    """Write a result, plain values, to `analyses/<kind>.json` of a folder, with the runs that it is of."""
    durable.make_folder(folder / schema.ANALYSES_FOLDER)
    content: PlainResult = {**result, "runs": runs.identities}
    durable.write_json(folder / schema.ANALYSES_FOLDER / f"{kind}.json", content)


def kept(runs: "RunGroup") -> "dict[str, PlainResult]":
    """Results by kind that are kept for exactly these runs, with the weights that they have now, in this order.

    Read from the group's own folder first, then from `folder_of`.
    """
    expected = runs.identities
    results: dict[str, PlainResult] = {}
    for folder in (runs.results_folder, folder_of(runs)):
        for path in sorted((folder / schema.ANALYSES_FOLDER).glob("*.json")) if folder is not None else ():
            result: PlainResult = durable.read_json(path)
            if result.get("runs") == expected:
                results.setdefault(path.stem, result)
    return results
