"""Open a run and read it: its recipe, metrics, probe sets, arrays, samples, checkpoints and findings.

Reading needs no lock, executes nothing, and works while a run is being written: every property reads the present state.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import StoreError, closest
from ontogeny.core.json_types import JsonObject
from ontogeny.core.passages import ProbeSet
from ontogeny.store import checkpoints, durable, lock, metrics, probes, samples, schema, slots
from ontogeny.store.manifest import Listed

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ontogeny.core.analyses import PlainResult

Checkpoint = checkpoints.Checkpoint


def open_run(path: str | Path) -> "Run":
    """Open a run directory for reading.

    Raises StoreError if it is not a run, naming what is missing and any runs below it, or if its format is another.
    """
    folder = Path(path)
    if not os.path.isdir(folder):  # False, too, for what can be no path: of Path, it raises OSError
        raise StoreError(f"{folder}: no such directory")
    if not (folder / schema.PROVENANCE).is_file():
        depths = (f"*/{schema.PROVENANCE}", f"*/*/{schema.PROVENANCE}")
        below = sorted(path.parent for depth in depths for path in folder.glob(depth))
        hint = f"; runs below it: {', '.join(map(str, below))}" if below else ""
        raise StoreError(f"{folder} is not a run: it has no {schema.PROVENANCE}{hint}")
    run = Run(folder)
    check_format(run)
    return run


def check_format(run: "Run") -> None:
    """Raise StoreError if a run's provenance names no format, or one that this version does not read."""
    version = run.provenance.get("format_version")
    if version is None:
        raise StoreError(f"{run.path / schema.PROVENANCE} is damaged: it has no format_version")
    if version != schema.FORMAT_VERSION:
        raise StoreError(
            f"{run.path} has format {version}, this version reads {schema.FORMAT_VERSION}: update ontogeny"
        )


def read_verdicts(path: Path) -> list[JsonObject]:
    """The verdicts in `findings.json` or `audit.json`; earlier versions wrote a bare list. Raises StoreError."""
    content = durable.read_json(path)
    verdicts: object = content.get(schema.VERDICTS) if isinstance(content, dict) else content
    if not isinstance(verdicts, list) or not all(isinstance(verdict, dict) for verdict in verdicts):
        raise StoreError(f"{path} is damaged: it holds no list of verdicts")
    return verdicts


class Run:
    """A run directory, read only. Use `open_run`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._probes = probes.StoredProbes(path / schema.PROBES_FOLDER)
        self._metrics: tuple[tuple[str, ...], pd.DataFrame] | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.resolve().name

    @property
    def recipe(self) -> JsonObject:
        """The complete recipe, defaults included, as it was validated."""
        path = self.path / schema.RECIPE_JSON
        recipe: JsonObject = durable.parse_json(path, Listed(self.path).read(path))
        return recipe

    @property
    def recipe_yaml(self) -> str:
        """The recipe's text. Raises StoreError if it is missing or damaged."""
        path = self.path / schema.RECIPE_YAML
        try:
            return Listed(self.path).read(path).decode()
        except UnicodeDecodeError as error:
            raise StoreError(f"{path} is damaged: {error}") from None

    @property
    def provenance(self) -> JsonObject:
        """What was run, on which data and machine, with which versions."""
        return durable.read_object(self.path / schema.PROVENANCE)

    @property
    def status(self) -> JsonObject:
        """How far the run got. Its state is `interrupted` if its process was killed.

        Empty in a run of an earlier version that has no status.
        """
        path = self.path / schema.STATUS
        must_be_there = durable.is_there(self.path / schema.MANIFEST)
        status = durable.read_object(path) if must_be_there or durable.is_there(path) else {}
        if status and not isinstance(status.get("state"), str):
            raise StoreError(f"{path} is damaged: it names no state")
        if status.get("state") == "running" and lock.holder_is_gone(self.path / schema.LOCK):
            return {**status, "state": "interrupted", "message": "its process ended without a word"}
        return status

    @property
    def findings(self) -> list[JsonObject]:
        """Findings of the last diagnosis, then those of an audit of the live training; empty if there was neither."""
        files = (self.path / schema.FINDINGS, self.path / schema.AUDIT)
        return [finding for path in files if durable.is_there(path) for finding in read_verdicts(path)]

    def verify_files(self, folder: str) -> None:
        """Raise StoreError naming the first file below a folder of the run that is lost or changed.

        Checked is what the run's manifest lists: `tokenizer`, `base`, `remembered`, `written`.
        """
        Listed(self.path).verify(folder)

    @property
    def analyses(self) -> "dict[str, PlainResult]":
        """Results of analyses, by kind: verdict, sentences, reading, numbers, settings; empty if there are none."""
        folder = self.path / schema.ANALYSES_FOLDER
        return {path.stem: durable.read_json(path) for path in sorted(folder.glob("*.json"))}

    @property
    def metrics(self) -> "pd.DataFrame":
        """All scalars in written order: step, time_unix_s, name, scope, value."""
        return self._scalars().copy()

    def _scalars(self) -> "pd.DataFrame":
        """The metrics, read again only when their parts have changed. The frame is shared: do not change it."""
        folder = self.path / schema.METRICS_FOLDER
        names = metrics.part_names(folder)
        if self._metrics is None or self._metrics[0] != names:
            self._metrics = names, metrics.to_frame(metrics.read_rows(folder))
        return self._metrics[1]

    def series(self, name: str, scope: str | None = None) -> "pd.DataFrame":
        """One scalar over time: step, value, scope; in all scopes, or in one. Empty if it was never recorded."""
        scalars = self._scalars()
        chosen = scalars["name"] == name
        if scope is not None:
            chosen &= scalars["scope"] == scope
        return scalars.loc[chosen, ["step", "value", "scope"]].reset_index(drop=True)

    def summary(self) -> "pd.DataFrame":
        """The last value of every scalar: scope, name, step, value, sorted by scope and name."""
        last = self._scalars().drop_duplicates(["scope", "name"], keep="last")
        return last.sort_values(["scope", "name"], ignore_index=True)[["scope", "name", "step", "value"]]

    @property
    def probes(self) -> Mapping[str, ProbeSet]:
        """Probe sets by name, each read on first use."""
        return self._probes

    @property
    def measures(self) -> list[str]:
        """Names of the measures that have recorded something. Raises StoreError if one has lost its `slots.json`."""
        names = []
        for group in (self.path / schema.TRAJECTORY_FOLDER).glob("[!.]*/"):
            if (group / schema.SLOTS).exists():
                names.append(group.name)
            else:
                slots.refuse_lost_slots(group)
        return sorted(names)

    def measure(self, group: str) -> "xr.Dataset":
        """What a measure recorded, lazily: axis `checkpoint` sorted by step, with the coordinates of each state.

        Raises StoreError naming the closest measure if there is none of that name.
        """
        if group not in self.measures:
            raise StoreError(f"{self.path} has no measure '{group}': {closest(group, self.measures)}")
        from ontogeny.store import arrays

        return arrays.open_group(self.path / schema.TRAJECTORY_FOLDER / group)

    @property
    def samples(self) -> "pd.DataFrame":
        """Texts that the model generated, by step: the columns of `store.schema.SAMPLES`."""
        return samples.read_samples(self.path / schema.SAMPLES_FOLDER).to_pandas()

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Saved model states, by step. `Checkpoint.verify` checks their hashes."""
        return checkpoints.list_checkpoints(self.path / schema.CHECKPOINTS_FOLDER)
