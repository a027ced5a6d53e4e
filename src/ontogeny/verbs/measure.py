"""The verb `measure`: measures on checkpoints that exist."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe import looks_at_probes
from ontogeny.core.recipe_file import apply_overrides, validate, validate_component
from ontogeny.runs.backfill import backfill
from ontogeny.runs.foreign_checkpoints import measure_series, parse_stations
from ontogeny.store.run import open_run
from ontogeny.verbs.console import listening
from ontogeny.verbs.report import report

if TYPE_CHECKING:
    from ontogeny.core.origin import Origin

_DEFAULT_KINDS = ("evaluation", "token_nll", "weight_drift")


def measure_run(
    path: Path, kinds: Sequence[str], settings: Sequence[str], at: Sequence[int] | None, *, quiet: bool
) -> Path:
    """Backfill measures over a run's checkpoints and rewrite its page."""
    if not kinds:
        from ontogeny.core.kinds import kinds_of

        raise OntogenyError(f"say which measure: --kind {'|'.join(kinds_of('ontogeny.measures'))}")
    measures = [validate_component("ontogeny.measures", tree) for tree in _component_trees(kinds, settings)]
    on_probes = [measure.group for measure in measures if looks_at_probes(measure)]
    if on_probes and not open_run(path).probes:
        raise OntogenyError(f"{path}: '{on_probes[0]}' looks at probe sets, and the run has none")
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
    """Make a run from checkpoints that were trained elsewhere, and write its page.

    Probe sets are text files given as NAME=FILE; by default Python's own prose and code.
    """
    stations = parse_stations(specs)
    tree = _series_tree(stations[0].name, stations[0].origin, _corpora(probes))
    recipe_settings = [setting for setting in settings if setting.startswith(("data.", "name="))]
    measure_settings = [setting for setting in settings if setting not in recipe_settings]
    tree["measures"] = [*_component_trees(kinds or _DEFAULT_KINDS, measure_settings)]
    recipe = validate(apply_overrides(tree, recipe_settings), "the recipe made from --checkpoints")
    path = to or runs_dir / f"{recipe.name}-{recipe.recipe_hash[:8]}"
    with listening(quiet=quiet) as listen:
        measure_series(recipe, stations, to=path, listen=listen)
    report([path])
    return path


def _corpora(probes: Sequence[str]) -> dict[str, JsonValue]:
    """The corpora of the recipe, by name."""
    if not probes:
        return {"prose": {"kind": "python_prose"}, "code": {"kind": "python_code"}}
    corpora: dict[str, JsonValue] = {}
    for probe in probes:
        name, equals, file = probe.partition("=")
        if not equals:
            raise OntogenyError(f"--probe {probe}: write NAME=FILE, for instance notes=notes.txt")
        if not Path(file).exists():
            raise OntogenyError(f"--probe {probe}: no such file '{file}'")
        corpora[name] = {"kind": "text", "path": file}
    return corpora


def _series_tree(name: str, origin: "Origin", corpora: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A recipe without measures. `name` is that of the first checkpoint."""
    return {
        "name": "series",
        "about": f"Checkpoints made elsewhere, from {name} on.",
        "data": {
            "corpora": corpora,
            "splits": {"all": 1.0},
            "probes": {corpus: {"of": f"{corpus}/all", "at_most": 32, "spread": True} for corpus in corpora},
        },
        "model": {"kind": "pretrained", "path": origin.path, "revision": origin.revision},
    }


def _component_trees(kinds: Sequence[str], settings: Sequence[str]) -> list[dict[str, JsonValue]]:
    """Each kind with its settings: ``prefix_tokens=8``, or ``extraction.prefix_tokens=8`` if there are several."""
    for i, kind in enumerate(kinds):
        if kind in kinds[:i]:
            raise OntogenyError(f"--kind {kind} stands twice: name each measure once")
    by_kind: dict[str, list[str]] = {kind: [] for kind in kinds}
    for setting in settings:
        kind, dot, rest = setting.partition(".")
        if dot and kind in by_kind and "=" not in kind:
            by_kind[kind].append(rest)
        elif len(by_kind) == 1:
            by_kind[kinds[0]].append(setting)
        else:
            raise OntogenyError(f"{setting}: say whose setting it is, for instance {kinds[0]}.{setting}")
    return [apply_overrides({"kind": kind}, settings) for kind, settings in by_kind.items()]
