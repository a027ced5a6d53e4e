"""Where results of analyses over several runs are kept, and which runs they are of."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.store import durable, schema

if TYPE_CHECKING:
    from ontogeny.core.analyses import PlainResult
    from ontogeny.store.run_group import RunGroup


def folder_of(runs: "RunGroup") -> Path:
    """`comparison-<hash of the runs' places>` beside the first run. The order counts: the first is the baseline."""
    return folder_beside([run.path for run in runs.runs])


def folder_beside(runs: Sequence[Path]) -> Path:
    """The same, of run directories: places are relative to that of the first, so that all may be moved together."""
    beside = runs[0].resolve().parent
    places = "\n".join(os.path.relpath(run.resolve(), beside) for run in runs)
    return runs[0].parent / f"comparison-{hashlib.sha256(places.encode()).hexdigest()[:8]}"


def is_comparison(folder: Path) -> bool:
    """Is it a folder of several runs, a comparison or a sweep, and no run?"""
    return not (folder / schema.PROVENANCE).exists() and (
        folder.name.startswith("comparison") or (folder / "sweep.json").exists()
    )


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
