"""The writer of a run. It holds the run's lock; what it has accepted is durable, or kept in memory until it is."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.json_types import Json
from ontogeny.core.passages import ProbeSet
from ontogeny.core.progress import Place
from ontogeny.store import checkpoints, durable, probes, samples, schema
from ontogeny.store.interrupts import held_back
from ontogeny.store.lock import RunLock
from ontogeny.store.manifest import ManifestWriter
from ontogeny.store.metrics import MetricsWriter, Row
from ontogeny.store.run import Run, open_run

if TYPE_CHECKING:
    import xarray as xr

    from ontogeny.store.arrays import GroupWriter

FLUSH_SECONDS = 5.0
"""Rows stay in memory for at most this long, as long as more rows come."""


class RunWriter:
    """Records into one run directory. Use `create` or `attach`; close it, or use it in a ``with`` statement."""

    def __init__(self, path: Path, lock: RunLock) -> None:
        self.path = path
        self.run: Run = open_run(path)
        self._lock = lock
        self._manifest = ManifestWriter(path)
        self._groups: dict[str, GroupWriter] = {}
        self._waiting: list[Row] = []
        self._waiting_samples: dict[tuple[int, str], pa.Table] = {}
        self._flush_at = time.monotonic() + FLUSH_SECONDS
        self._metrics = self._recover()

    @classmethod
    def create(
        cls, path: str | Path, *, recipe_yaml: str, recipe: Mapping[str, object], provenance: Mapping[str, object]
    ) -> Self:
        """Start a run in a new directory, and write to it.

        Raises StoreError if the directory already holds a run, or if another process is creating one there.
        """
        folder = Path(path)
        durable.make_folder(folder)
        lock = RunLock(folder / schema.LOCK)
        try:
            if (folder / schema.PROVENANCE).exists():
                raise StoreError(f"{folder} already holds a run: choose another directory, or resume that run")
            _refuse_foreign_recipe(folder)
            durable.write_bytes(folder / schema.RECIPE_JSON, durable.json_bytes(dict(recipe)))
            durable.write_bytes(folder / schema.RECIPE_YAML, recipe_yaml.encode())
            durable.write_json(folder / schema.STATUS, {"state": "created", "updated_unix_s": time.time()})
            manifest = ManifestWriter(folder)
            manifest.add([folder / schema.RECIPE_JSON, folder / schema.RECIPE_YAML])
            manifest.save()
            durable.write_json(folder / schema.PROVENANCE, {**provenance, "format_version": schema.FORMAT_VERSION})
            return cls(folder, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def attach(cls, path: str | Path) -> Self:
        """Write to a run that exists; what a killed writer left unfinished is removed.

        Raises StoreError if it is not a run, or, naming process and host, if another writer has it.
        """
        folder = open_run(path).path
        lock = RunLock(folder / schema.LOCK)
        try:
            return cls(folder, lock)
        except BaseException:
            lock.release()
            raise

    def _recover(self) -> MetricsWriter:
        for name in (schema.PROBES_FOLDER, schema.SAMPLES_FOLDER, schema.TRAJECTORY_FOLDER):
            durable.remove_leftovers(self.path / name)
        for name in (schema.RECIPE_YAML, schema.RECIPE_JSON, schema.STATUS, schema.PROVENANCE, schema.MANIFEST):
            for leftover in self.path.glob(f".{name}.*.tmp"):
                leftover.unlink()
        checkpoints.recover(self.path / schema.CHECKPOINTS_FOLDER)
        trajectory = self.path / schema.TRAJECTORY_FOLDER
        for group in trajectory.glob("[!.]*/"):
            self._group(group.name)
        return MetricsWriter(self.path / schema.METRICS_FOLDER, self._manifest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OntogenyError as failed:
            if error is None:
                raise
            error.add_note(f"and then: {failed}")

    def close(self) -> None:
        """Flush and release the lock, which is released even if flushing fails."""
        try:
            if self._waiting or self._waiting_samples:
                self.flush()
        finally:
            self._lock.release()

    @held_back()
    def put_probes(self, probe_set: ProbeSet) -> None:
        """Store a probe set. The same set again changes nothing; another set of that name is a StoreError."""
        self._manifest.add([probes.write_probes(self.path / schema.PROBES_FOLDER, probe_set)])
        self._manifest.save()

    @held_back()
    def list_files(self, *names: str) -> None:
        """Put files, or all files below folders, on the run's manifest: they are written and do not change any more.

        `names` are relative to the run; what is not there is left out.
        """
        for name in names:
            path = self.path / name
            below = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
            self._manifest.add(file for file in below if file.is_file())
        self._manifest.save()

    def add_metric(self, step: int, name: str, scope: str, value: float) -> None:
        """Record a scalar. It is on the disk after `flush`, which is called automatically every few seconds."""
        self._waiting.append((step, time.time(), name, scope, float(value)))
        if time.monotonic() >= self._flush_at:
            self.flush()

    @property
    def metrics_rows(self) -> int:
        """Number of metrics rows on the disk, which a checkpoint stores for `rewind`."""
        return self._metrics.rows

    @held_back()
    def flush(self) -> None:
        """Make all metrics and samples durable. After a failure (RunFailedError: disk full) they are kept in memory."""
        self._flush_at = time.monotonic() + FLUSH_SECONDS
        if self._waiting:
            self._metrics.append(self._waiting)
            self._waiting = []
        for step, measure in list(self._waiting_samples):
            folder = self.path / schema.SAMPLES_FOLDER
            samples.write_samples(folder, step, measure, self._waiting_samples[step, measure], self._manifest)
            del self._waiting_samples[step, measure]
        self._metrics.merge_small()
        self._manifest.save()

    @held_back()
    def put_measure(self, group: str, place: Place, arrays: "xr.Dataset") -> None:
        """Store a measure's result at one state, in any order of states; durable on return.

        A state that is put again is replaced. Raises TypeError if the dataset breaks `schema.check`, StoreError
        naming the variable if it does not fit what the group holds, RunFailedError if the disk is full.
        """
        if not schema.is_file_name(group):
            raise StoreError(f"measure '{group}': use letters, digits, '_', '-' and '.' in its name")
        self._group(group).put(place, arrays)

    def _group(self, name: str) -> "GroupWriter":
        from ontogeny.store.arrays import GroupWriter

        if name not in self._groups:
            self._groups[name] = GroupWriter(self.path / schema.TRAJECTORY_FOLDER / name)
        return self._groups[name]

    def add_samples(self, step: int, measure: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Record all texts that the model generated for a measure at one state.

        Rows have the columns of `schema.SAMPLES`, without step and measure. They replace those of the same step and
        measure. Durable after `flush`. Raises TypeError naming a wrong or missing column.
        """
        self._waiting_samples[step, measure] = samples.to_table(step, measure, rows)

    def checkpoint(self, place: Place, extra: Mapping[str, Json] | None = None) -> AbstractContextManager[Path]:
        """Save a model state: ``with writer.checkpoint(place, extra) as folder:`` fill folder/model and folder/trainer.

        Metrics and samples are flushed first. After the block the checkpoint is durable; an exception leaves none.
        `extra` is stored in the manifest (JSON).
        """
        self.flush()
        return checkpoints.writing(self.path / schema.CHECKPOINTS_FOLDER, place, extra or {})

    def drop_checkpoints(self, steps: Collection[int]) -> None:
        """Drop the checkpoints of these states, and nothing else that was recorded there."""
        checkpoints.drop(self.path / schema.CHECKPOINTS_FOLDER, steps)

    @held_back()
    def rewind(self, step: int, metrics_rows: int) -> None:
        """Drop everything later than state `step`, and all metrics but the first `metrics_rows` rows.

        Later checkpoints are dropped first, so that the same rewind completes one that was killed. Raises StoreError if
        there are fewer rows.
        """
        self.flush()
        if metrics_rows > self.metrics_rows:
            raise StoreError(
                f"{self.path} holds {self.metrics_rows} metrics rows, {metrics_rows} belong to step {step}"
            )
        backfilled = self._backfilled_rows(step, metrics_rows)
        checkpoints.rewind(self.path / schema.CHECKPOINTS_FOLDER, step)
        for group in self._groups.values():
            group.rewind(step)
        samples.rewind(self.path / schema.SAMPLES_FOLDER, step, self._manifest)
        self._metrics.cut(metrics_rows)
        self._waiting.extend(backfilled)
        self.flush()

    def _backfilled_rows(self, step: int, metrics_rows: int) -> list[Row]:
        """Rows after the first `metrics_rows` with scalars of measures at states up to `step`: a backfill wrote them
        later, and they stay valid."""
        rows = self.run.metrics.iloc[metrics_rows:]
        of_measures = rows["name"].astype(str).str.contains("/", regex=False) & (rows["scope"] != "timing")
        kept = rows[(rows["step"] <= step) & of_measures]
        return list(kept.itertuples(index=False, name=None))

    @held_back()
    def set_status(self, **fields: object) -> None:
        """Change fields of status.json, atomically."""
        durable.write_json(self.path / schema.STATUS, {**self.run.status, **fields, "updated_unix_s": time.time()})

    @held_back()
    def update_provenance(self, **fields: object) -> None:
        """Change fields of provenance.json, atomically."""
        self._manifest.begin()
        durable.write_json(self.path / schema.PROVENANCE, {**self.run.provenance, **fields})


def _refuse_foreign_recipe(folder: Path) -> None:
    """Raise StoreError rather than overwrite a recipe.yaml that no run wrote (a run writes recipe.json, too)."""
    if (folder / schema.RECIPE_YAML).exists() and not (folder / schema.RECIPE_JSON).exists():
        raise StoreError(f"{folder / schema.RECIPE_YAML} would be overwritten: choose another directory for the run")
