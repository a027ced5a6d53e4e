"""Analyze what was recorded of a run."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from ontogeny.core.analyses import ROOM, Analysis, Result, plain
from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.kinds import find, kinds_of
from ontogeny.core.recipe_file import apply_overrides, validate_component
from ontogeny.store import durable, schema
from ontogeny.store.run import open_run


def analyze(path: Path, kinds: Sequence[str], settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Carry out analyses, keep them in the run, and return them by kind; if none is named, all that it can answer.

    Raises OntogenyError for an unknown kind or setting, StoreError if the run lacks what one needs.
    """
    run = open_run(path)
    found: dict[str, dict[str, Any]] = {}
    lacking: dict[str, StoreError] = {}
    for kind in kinds or _that_take(settings):
        analysis = cast(Analysis, validate_component(ROOM, apply_overrides({"kind": kind}, settings)))
        try:
            result = analysis.analyze(run)
        except StoreError as lack:
            if kinds:
                raise
            lacking[kind] = lack
            continue
        except Exception as error:  # a training of hours must not lose its page to one analysis
            if kinds:
                raise
            result = _failed(kind, path, error)
        of = getattr(analysis, "of", "generation")
        name = kind if of == "generation" else f"{kind}-{of}"
        found[name] = {**plain(result), "settings": analysis.model_dump(mode="json")}
        durable.make_folder(path / schema.ANALYSES_FOLDER)
        durable.write_json(path / schema.ANALYSES_FOLDER / f"{name}.json", found[name])
    if not found:
        raise next(iter(lacking.values()))
    nothing: dict[str, Any] = {"sentences": [], "reading": "", "numbers": {}}
    return found | {kind: {"verdict": f"not assessable: {lack}", **nothing} for kind, lack in lacking.items()}


def analyze_if_it_can(path: Path) -> None:
    """All analyses of a run that recorded what they need; nothing otherwise."""
    for settings in ([], ["of=reconstruction"]):
        with suppress(StoreError):
            analyze(path, [], settings)


def _failed(kind: str, path: Path, error: Exception) -> Result:
    said = f"{type(error).__name__}: {error}"
    return Result(
        verdict=f"failed, which is a defect of ontogeny ({said})",
        sentences=(),
        numbers={},
        reading=f"ontogeny --debug analyze {path} --kind {kind}  shows where.",
    )


def _that_take(settings: Sequence[str]) -> list[str]:
    """The kinds of analyses that have all these settings; all kinds where none has, so that the error names one."""
    asked = {setting.partition("=")[0] for setting in settings}
    every = list(kinds_of(ROOM))
    return [kind for kind in every if asked <= set(find(ROOM, kind).model_fields)] or every


def text(found: dict[str, dict[str, Any]]) -> str:
    """As a person reads it."""
    lines: list[str] = []
    for kind, one in found.items():
        lines += [f"{kind}: {one['verdict']}", *(f"  - {sentence}" for sentence in one["sentences"])]
        lines += [f"  how to read it: {one['reading']}"] if one["reading"] else []
        lines.append("")
    if not lines:
        raise OntogenyError("nothing was analyzed")
    return "\n".join(lines).rstrip()
