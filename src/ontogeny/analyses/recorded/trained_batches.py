"""What a ledger recorded, laid side by side."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ontogeny.core.errors import StoreError


@dataclass(frozen=True, kw_only=True)
class TrainedBatches:
    """B sampled batches at C checkpoints (the first is before training), each trained on R times in a row."""

    step: np.ndarray
    """int64 [C]: of the checkpoints."""
    trained_at: np.ndarray
    """int64 [B]: step of a batch's (last) update, which leads to state `trained_at` + 1."""
    nll: np.ndarray
    """float64 [C, B]: mean NLL per supervised token, nats."""
    before: np.ndarray
    """float64 [R, B]: just before each repeat's update."""
    after: np.ndarray
    """float64 [R, B]: just after it."""
    novel: np.ndarray | None
    """float64 [C]: mean NLL of never-trained text of the same corpora at the checkpoints; None if none was seen."""
    epochs: float
    """Epochs of training in all: beyond one, passages come again in other batches."""
    place: np.ndarray | None = None
    """float64 [B]: mean place of a batch's new passages in the order of the data; None in ledgers without it."""
    content: np.ndarray | None = None
    """int64 [B]: equal for batches with the same passages; None in ledgers without it."""

    @property
    def batches(self) -> int:
        """How many."""
        return len(self.trained_at)


def trained_batches_of(run: Any, name: str = "ledger") -> TrainedBatches:
    """Read it. Raises StoreError naming what the run lacks."""
    if name not in run.measures:
        raise StoreError(
            f"{run.path} has no measure '{name}': add {{kind: ledger, share: 0.1}} to the recipe's measures"
        )
    seen = run.measure(name)
    order = np.argsort(seen.step.values)
    steps = seen.step.values[order]
    if len(steps) < 2 or steps[0] != 0:
        raise StoreError(f"{run.path}: the ledger needs two checkpoints, the first at step 0")
    around = {one: run.series(f"{name}_{one}", "train").set_index("step")["value"] for one in ("before", "after")}
    repeats = int((run.recipe.get("train") or {}).get("repeats", 1))
    numbers = [n for n in seen.batch.values.tolist() if n * repeats + repeats - 1 in around["after"].index]
    rows = {
        one: np.array([[values.loc[n * repeats + r] for n in numbers] for r in range(repeats)], dtype=np.float64)
        for one, values in around.items()
    }
    place = np.isin(seen.batch.values, numbers)
    return TrainedBatches(
        step=steps,
        trained_at=np.array(numbers, dtype=np.int64) * repeats + repeats - 1,
        nll=seen["nll"].values[order][:, place].astype(np.float64),
        before=rows["before"],
        after=rows["after"],
        novel=_novel(run, steps),
        epochs=float(seen.epoch.values.max()),
        place=seen["place"].values[0][place] if "place" in seen else None,
        content=seen["content"].values[0][place] if "content" in seen else None,
    )


def finite(book: TrainedBatches) -> tuple[TrainedBatches, list[str]]:
    """Its batches in the order of training, without those whose loss is no number somewhere; what was left out.

    Without `novel`, if that is no number at some checkpoint.
    """
    order = np.argsort(book.trained_at, kind="stable")
    sound = np.isfinite(np.concatenate([book.nll, book.before, book.after])).all(axis=0)
    kept, words = order[sound[order]], []
    if not sound.all():
        lost = np.sort(book.trained_at[~sound])
        where = ", ".join(str(one) for one in lost[:5]) + (", ..." if len(lost) > 5 else "")
        rows = book.step[~np.isfinite(book.nll).all(axis=1)]
        seen = f"; at the checkpoints of steps {rows[0]} to {rows[-1]}" if len(rows) else ""
        words.append(
            f"left out: {len(lost)} of {book.batches} batches, whose loss is no number (trained on at steps "
            f"{where}{seen})"
        )
    novel = book.novel
    if novel is not None and not np.isfinite(novel).all():
        lost = book.step[~np.isfinite(novel)]
        words.append(
            f"net of novel text: not assessable: its loss is no number at {len(lost)} of {len(book.step)} "
            f"checkpoints (steps {lost[0]} to {lost[-1]})"
        )
        novel = None
    place, content = (None if one is None else one[kept] for one in (book.place, book.content))
    return replace(
        book,
        trained_at=book.trained_at[kept],
        nll=book.nll[:, kept],
        before=book.before[:, kept],
        after=book.after[:, kept],
        novel=novel,
        place=place,
        content=content,
    ), words


def _novel(run: Any, steps: np.ndarray) -> np.ndarray | None:
    """Mean NLL of the held-out text of the corpora that are trained on, at the checkpoints."""
    data = run.recipe.get("data") or {}
    trained = {str(take.get("of")) for take in data.get("train") or ()}
    corpora = {of.partition("/")[0] for of in trained}
    names = [
        name
        for name, take in (data.get("probes") or {}).items()
        if str(take.get("of")).partition("/")[0] in corpora and take.get("of") not in trained
    ]
    found = []
    for name in names:
        series = run.series("evaluation/nll", name)
        if not series.empty:
            found.append(series.drop_duplicates("step").set_index("step")["value"].reindex(steps).to_numpy(dtype=float))
    return np.mean(found, axis=0) if found else None
