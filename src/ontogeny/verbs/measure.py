"""The verb that looks afterwards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe import looks_at_probes
from ontogeny.core.recipe_file import apply_overrides, validate, validate_component
from ontogeny.runs.backfill import backfill
from ontogeny.runs.foreign_checkpoints import measure_series, parse_stations
from ontogeny.store.run import open_run
from ontogeny.verbs.console import listening
from ontogeny.verbs.report import report

_DEFAULT_KINDS = ("evaluation", "token_nll", "weight_drift")


def measure_run(
    path: Path, kinds: Sequence[str], settings: Sequence[str], at: Sequence[int] | None, *, quiet: bool
) -> Path:
    """Backfill measures over a run's checkpoints and rewrite its page."""
    if not kinds:
        from ontogeny.core.kinds import kinds_of

        raise OntogenyError(f"say which measure: --kind {'|'.join(kinds_of('ontogeny.measures'))}")
    measures = [validate_component("ontogeny.measures", tree) for tree in _component_trees(kinds, settings)]
    blind = [measure.group for measure in measures if looks_at_probes(measure)]
    if blind and not open_run(path).probes:
        raise OntogenyError(f"{path}: '{blind[0]}' looks at probe sets, and the run has none")
    with listening(quiet=quiet) as listen:
        backfill(path, measures, steps=at, listen=listen)
    report([path])
    return path


def measure_checkpoints(
    specs: Sequence[str],
    probes: Sequence[str],
    kinds: Sequence[str],
    settings: Sequence[str],
    *,
    to: Path | None,
    runs_dir: Path,
    quiet: bool,
) -> Path:
    """Make a run of checkpoints made elsewhere, and write its page.

    Probe sets are text files given as NAME=FILE; without any, Python's own prose and code.
    """
    stations = parse_stations(specs)
    tree = _series_tree(stations[0].name, stations[0].origin, _corpora(probes))
    of_recipe = [setting for setting in settings if setting.startswith(("data.", "name="))]
    tree["measures"] = _component_trees(kinds or _DEFAULT_KINDS, [s for s in settings if s not in of_recipe])
    recipe = validate(apply_overrides(tree, of_recipe), "the recipe made from --checkpoints")
    path = to or runs_dir / f"{recipe.name}-{recipe.recipe_hash[:8]}"
    with listening(quiet=quiet) as listen:
        measure_series(recipe, stations, to=path, listen=listen)
    report([path])
    return path


def _corpora(probes: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not probes:
        return {"prose": {"kind": "python_prose"}, "code": {"kind": "python_code"}}
    found: dict[str, dict[str, Any]] = {}
    for probe in probes:
        name, equals, file = probe.partition("=")
        if not equals:
            raise OntogenyError(f"--probe {probe}: write NAME=FILE, for instance notes=notes.txt")
        if not Path(file).exists():
            raise OntogenyError(f"--probe {probe}: no such file '{file}'")
        found[name] = {"kind": "text", "path": file}
    return found


def _series_tree(name: str, origin: Any, corpora: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "series",
        "about": f"Checkpoints made elsewhere, from {name} on.",
        "data": {
            "corpora": corpora,
            "splits": {"all": 1.0},
            "probes": {corpus: {"of": f"{corpus}/all", "at_most": 32} for corpus in corpora},
        },
        "model": {"kind": "pretrained", "path": origin.path, "revision": origin.revision},
    }


def _component_trees(kinds: Sequence[str], settings: Sequence[str]) -> list[dict[str, Any]]:
    """Each kind with its settings: ``prefix_tokens=8``, or ``extraction.prefix_tokens=8`` where there are several."""
    for i, kind in enumerate(kinds):
        if kind in kinds[:i]:
            raise OntogenyError(f"--kind {kind} stands twice: name each measure once")
    own: dict[str, list[str]] = {kind: [] for kind in kinds}
    for setting in settings:
        kind, dot, rest = setting.partition(".")
        if dot and kind in own and "=" not in kind:
            own[kind].append(rest)
        elif len(own) == 1:
            own[kinds[0]].append(setting)
        else:
            raise OntogenyError(f"{setting}: say whose setting it is, for instance {kinds[0]}.{setting}")
    return [apply_overrides({"kind": kind}, settings) for kind, settings in own.items()]
