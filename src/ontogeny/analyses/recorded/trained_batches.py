"""What a ledger recorded of sampled training batches, as one table."""

from dataclasses import dataclass, replace

import numpy as np

from ontogeny.core.analyses import RecordedRun
from ontogeny.core.errors import StoreError
from ontogeny.statistics.estimates import counted


@dataclass(frozen=True, kw_only=True)
class TrainedBatches:
    """B sampled batches at C checkpoints (the first is before training), each trained on R times in a row."""

    step: np.ndarray
    """int64 [C]: of the checkpoints."""
    trained_at: np.ndarray
    """int64 [B]: step of a batch's (last) update; that step turns state `trained_at` into state `trained_at` + 1."""
    nll: np.ndarray
    """float64 [C, B]: mean NLL per supervised token, nats."""
    before: np.ndarray
    """float64 [R, B]: just before each repeat's update."""
    after: np.ndarray
    """float64 [R, B]: just after it."""
    novel: np.ndarray | None
    """float64 [C]: mean NLL of never-trained text of the same corpora at the checkpoints; None if there is none."""
    epochs: float
    """Epochs of training in all: beyond one, passages come again in other batches."""
    place: np.ndarray | None = None
    """float64 [B]: mean place of a batch's new passages in the order of the data; None in ledgers without it."""
    content: np.ndarray | None = None
    """int64 [B]: equal for batches with the same passages; None in ledgers without it."""

    @property
    def count(self) -> int:
        """B."""
        return len(self.trained_at)


def trained_batches_of(run: RecordedRun, name: str = "ledger") -> TrainedBatches:
    """Read it from the measure of that name. Raises StoreError naming what the run lacks."""
    if name not in run.measures:
        raise StoreError(
            f"{run.path} has no measure '{name}': add {{kind: ledger, share: 0.1}} to the recipe's measures"
        )
    ledger = run.measure(name)
    order = np.argsort(ledger.step.values)
    steps = ledger.step.values[order]
    if len(steps) < 2 or steps[0] != 0:
        raise StoreError(f"{run.path}: the ledger needs two checkpoints, the first at step 0")
    repeats = int((run.recipe.get("train") or {}).get("repeats", 1))
    before, after = (run.series(f"{name}_{side}", "train").set_index("step")["value"] for side in ("before", "after"))
    numbers = [n for n in ledger.batch.values.tolist() if n * repeats + repeats - 1 in after.index]
    trained = np.isin(ledger.batch.values, numbers)
    updates = np.array(numbers, dtype=np.int64) * repeats + np.arange(repeats)[:, None]

    def of_new_passages(variable: str) -> np.ndarray | None:
        return ledger[variable].values[0][trained] if variable in ledger else None

    return TrainedBatches(
        step=steps,
        trained_at=updates[-1],
        nll=ledger["nll"].values[order][:, trained].astype(np.float64),
        before=np.array([before.loc[row].to_numpy() for row in updates], dtype=np.float64),
        after=np.array([after.loc[row].to_numpy() for row in updates], dtype=np.float64),
        novel=_novel(run, steps),
        epochs=float(ledger.epoch.values.max()),
        place=of_new_passages("place"),
        content=of_new_passages("content"),
    )


def finite(batches: TrainedBatches) -> tuple[TrainedBatches, list[str]]:
    """The batches in the order of training, without those whose loss is no number somewhere; sentences on what was left
    out. `novel` is dropped if it is no number at some checkpoint.
    """
    order = np.argsort(batches.trained_at, kind="stable")
    sound = np.isfinite(np.concatenate([batches.nll, batches.before, batches.after])).all(axis=0)
    kept, sentences = order[sound[order]], []
    if not sound.all():
        lost = np.sort(batches.trained_at[~sound])
        where = ", ".join(str(step) for step in lost[:5]) + (", ..." if len(lost) > 5 else "")
        rows = batches.step[~np.isfinite(batches.nll).all(axis=1)]
        checkpoints = f"; at the checkpoints of steps {rows[0]} to {rows[-1]}" if len(rows) else ""
        sentences.append(
            f"left out: {len(lost)} of {counted(batches.count, 'batch')}, whose loss is no number (trained on at steps "
            f"{where}{checkpoints})"
        )
    novel = batches.novel
    if novel is not None and not np.isfinite(novel).all():
        lost = batches.step[~np.isfinite(novel)]
        sentences.append(
            f"net of novel text: not assessable: its loss is no number at {len(lost)} of {len(batches.step)} "
            f"checkpoints (steps {lost[0]} to {lost[-1]})"
        )
        novel = None
    chosen = replace(
        batches,
        trained_at=batches.trained_at[kept],
        nll=batches.nll[:, kept],
        before=batches.before[:, kept],
        after=batches.after[:, kept],
        novel=novel,
        place=None if batches.place is None else batches.place[kept],
        content=None if batches.content is None else batches.content[kept],
    )
    return chosen, sentences


def _novel(run: RecordedRun, steps: np.ndarray) -> np.ndarray | None:
    """Mean NLL of the held-out text of the corpora that are trained on, at the checkpoints."""
    data = run.recipe.get("data") or {}
    trained = {str(take.get("of")) for take in data.get("train") or ()}
    corpora = {split.partition("/")[0] for split in trained}
    curves = []
    for name, take in (data.get("probes") or {}).items():
        split = str(take.get("of"))
        if split.partition("/")[0] not in corpora or split in trained:
            continue
        series = run.series("evaluation/nll", name)
        if not series.empty:
            by_step = series.drop_duplicates("step").set_index("step")["value"]
            curves.append(by_step.reindex(steps).to_numpy(dtype=float))
    return np.mean(curves, axis=0) if curves else None
