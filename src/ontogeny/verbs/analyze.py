"""Analyze what was recorded of a run, or compare several."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ontogeny.core.analyses import (
    ROOM,
    ROOM_ACROSS,
    Analysis,
    AnalysisAcross,
    PlainResult,
    Result,
    failed,
    not_assessable,
    plain_result,
)
from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.kinds import find, kinds_of
from ontogeny.core.recipe_file import apply_overrides, validate_component
from ontogeny.store import comparisons, durable, schema
from ontogeny.store.run import open_run
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from ontogeny.core.component import Component


def analyze(path: Path, kinds: Sequence[str], settings: Sequence[str]) -> dict[str, PlainResult]:
    """Carry out analyses, keep them in the run, and return them by kind; if none is named, all that it can answer.

    Raises OntogenyError for an unknown kind or setting, StoreError if the run lacks what a named one needs.
    """
    _require_kinds(kinds, ROOM, other=ROOM_ACROSS, hint="name two runs or more")
    run = open_run(path)

    def keep(analysis: "Component", result: PlainResult) -> str:
        of = getattr(analysis, "of", "generation")
        name = analysis.kind if of == "generation" else f"{analysis.kind}-{of}"
        durable.make_folder(path / schema.ANALYSES_FOLDER)
        durable.write_json(path / schema.ANALYSES_FOLDER / f"{name}.json", result)
        return name

    results, lacking = _carry_out(
        ROOM, kinds, settings, lambda analysis: cast(Analysis, analysis).analyze(run), keep, command=str(path)
    )
    if not results:
        raise next(iter(lacking.values()))
    return results | {kind: plain_result(not_assessable(lack)) for kind, lack in lacking.items()}


def analyze_if_it_can(path: Path) -> None:
    """All analyses of a run that recorded what they need; nothing otherwise."""
    for settings in ([], ["of=reconstruction"]):
        with suppress(StoreError):
            analyze(path, [], settings)


def analyze_across(
    paths: Sequence[Path], kinds: Sequence[str], settings: Sequence[str], to: Path | None = None
) -> dict[str, PlainResult]:
    """Compare runs, and keep the results in `to`, by default `comparison-<hash of their names>` beside the first.

    If no kind is named, all that these runs can answer. Raises OntogenyError for an unknown kind or setting, StoreError
    if the runs lack what a named one needs.
    """
    _require_kinds(kinds, ROOM_ACROSS, other=ROOM, hint="name one run")
    runs = RunGroup([open_run(path) for path in paths if not comparisons.is_comparison(path)])
    try:
        return compare(runs, kinds, settings, to or comparisons.folder_of(runs))
    except StoreError as lack:
        raise StoreError(f"not assessable: {lack}") from None


def compare(
    runs: RunGroup, kinds: Sequence[str], settings: Sequence[str], folder: Path, made: Sequence[AnalysisAcross] = ()
) -> dict[str, PlainResult]:
    """Carry out analyses over runs, keep their results in a folder, and return them by kind.

    `made`: analyses with settings of their own, in place of the default of their kind.
    """
    by_kind = {analysis.kind: analysis for analysis in made}

    def keep(analysis: "Component", result: PlainResult) -> str:
        comparisons.keep(folder, analysis.kind, result, runs)
        return analysis.kind

    results, lacking = _carry_out(
        ROOM_ACROSS,
        kinds,
        settings,
        lambda analysis: cast(AnalysisAcross, analysis).analyze(runs),
        keep,
        command=" ".join(str(run.path) for run in runs.runs),
        made=by_kind,
    )
    return results | {kind: plain_result(not_assessable(lack)) for kind, lack in lacking.items()}


def _carry_out(
    room: str,
    kinds: Sequence[str],
    settings: Sequence[str],
    analyze_with: "Callable[[Component], Result]",
    keep: "Callable[[Component, PlainResult], str]",
    *,
    command: str,
    made: "Mapping[str, Component] | None" = None,
) -> tuple[dict[str, PlainResult], dict[str, StoreError]]:
    """Results by the name under which they are kept, and by kind what is lacking for others."""
    results: dict[str, PlainResult] = {}
    lacking: dict[str, StoreError] = {}
    for kind in kinds or _that_take(room, settings):
        analysis: Component = (made or {}).get(kind) or validate_component(
            room, apply_overrides({"kind": kind}, settings)
        )
        try:
            result = analyze_with(analysis)
        except StoreError as lack:
            if kinds:
                raise
            lacking[kind] = lack
            continue
        except Exception as error:  # a training of hours must not lose its page to one analysis
            if kinds:
                raise
            result = failed(kind, command, error)
        content: PlainResult = {**plain_result(result), "settings": analysis.model_dump(mode="json")}
        results[keep(analysis, content)] = content
    return results, lacking


def _require_kinds(kinds: Sequence[str], room: str, *, other: str, hint: str) -> None:
    """Raise OntogenyError for a kind of the other room: of one run, or over several."""
    for kind in kinds:
        if kind in kinds_of(other) and kind not in kinds_of(room):
            subject = "compares several runs" if other == ROOM_ACROSS else "is an analysis of one run"
            raise OntogenyError(f"--kind {kind}: it {subject}: {hint}")


def _that_take(room: str, settings: Sequence[str]) -> list[str]:
    """The kinds of analyses that have all these settings; all kinds where none has, so that the error names one."""
    keys = {setting.partition("=")[0] for setting in settings}
    every = list(kinds_of(room))
    return [kind for kind in every if keys <= set(find(room, kind).model_fields)] or every


def text(results: dict[str, PlainResult]) -> str:
    """As a person reads it."""
    lines: list[str] = []
    for kind, result in results.items():
        lines.append(f"{kind}: {result['verdict']}")
        lines += ["  - " + sentence.replace("\n", "\n    ") for sentence in result["sentences"]]
        lines += [f"  how to read it: {result['reading']}"] if result["reading"] else []
        lines.append("")
    if not lines:
        raise OntogenyError("nothing was analyzed")
    return "\n".join(lines).rstrip()
