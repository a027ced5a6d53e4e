"""How the loss and the tasks of a probe set changed over a band of runs, and how much of it can be extracted."""

from dataclasses import dataclass

import numpy as np

from ontogeny.analyses.recorded.changes import best_since_first, change, worse_since_best
from ontogeny.analyses.recorded.passage_losses import document_losses, document_tasks, documents_of
from ontogeny.statistics.estimates import Estimate, mean_over_seeds, over_documents, sample, share, unpaired
from ontogeny.store.run_group import Band, RunView, roles

NLL = "evaluation/nll"


@dataclass(frozen=True, kw_only=True)
class LossChange:
    """Loss of a probe set in nats per token, at the first and last checkpoint, and at the one where it was lowest."""

    probe: str
    first: float
    last: float
    difference: Estimate
    """Last minus first."""
    first_step: int
    last_step: int
    checkpoints: int
    lowest: float = np.nan
    lowest_step: int = -1
    fall: Estimate | None = None
    """Lowest minus first, the lowest chosen by other documents; None if it is the first or the last, or for seeds."""
    rise: Estimate | None = None
    """Last minus lowest, in the same way; None in the same cases."""

    @property
    def turned(self) -> bool:
        """Did it fall and then rise, each beyond its own interval?"""
        return bool(self.fall and self.rise and self.fall.below_zero and self.rise.above_zero)


def with_role(band: Band, role: str) -> list[str]:
    """Probe sets of that role in the first run of a band."""
    return [name for name, kind in roles(band.runs[0]).items() if kind == role]


def loss_change(band: Band, probe: str) -> LossChange | None:
    """The change over a band; None if no run evaluated the set at two checkpoints.

    One run: paired by document where the loss of passages was recorded, as analyses have it; else from the loss and its
    standard error. Several runs: one number per seed.
    """
    changes = [change for run in band.runs if (change := _of_run(run, probe)) is not None]
    if not changes:
        return None
    first = changes[0]
    if len(band.runs) == 1:
        return first
    return LossChange(
        probe=probe,
        first=float(np.mean([change.first for change in changes])),
        last=float(np.mean([change.last for change in changes])),
        difference=mean_over_seeds([change.difference.value for change in changes]),
        first_step=first.first_step,
        last_step=max(change.last_step for change in changes),
        checkpoints=first.checkpoints,
    )


def _of_run(run: RunView, probe: str) -> LossChange | None:
    items = document_losses(run).get(probe)
    if items is None or not items.items:
        return _from_metrics(run, probe)
    level, last = items.mean, len(items.step) - 1
    low = int(np.nanargmin(level)) if np.isfinite(level).any() else 0
    inner = 0 < low < last
    return LossChange(
        probe=probe,
        first=float(level[0]),
        last=float(level[last]),
        difference=over_documents(change(items, 0, last), items.items, "passage"),
        first_step=int(items.step[0]),
        last_step=int(items.step[last]),
        checkpoints=len(level),
        lowest=float(level[low]),
        lowest_step=int(items.step[low]),
        fall=over_documents(best_since_first(items), items.items, "passage") if inner else None,
        rise=over_documents(worse_since_best(items), items.items, "passage") if inner else None,
    )


def _from_metrics(run: RunView, probe: str) -> LossChange | None:
    """Without losses of passages: from the set's mean loss, its two standard errors taken as independent."""
    rows = _series(run, NLL, probe)
    if len(rows[0]) < 2:
        return None
    (steps, values), errors = rows, dict(zip(*_series(run, f"{NLL}_se", probe), strict=True))
    ends = float(errors.get(steps[0], np.nan)), float(errors.get(steps[-1], np.nan))
    return LossChange(
        probe=probe,
        first=float(values[0]),
        last=float(values[-1]),
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        checkpoints=len(steps),
        difference=unpaired(float(values[-1] - values[0]), ends, _passages_of(run, probe)),
    )


def _passages_of(run: RunView, probe: str) -> str:
    """48 passages from 31 documents: all that the set holds."""
    documents = documents_of(run, probe, range(len(run.probes[probe])))
    return sample(len(documents), "passage", len(set(documents)))


def _series(run: RunView, name: str, scope: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one scalar (<kind>/<variable>) of one scope, by step."""
    rows = run.metrics.get(run.name_of(name))
    if rows is None:
        return np.empty(0, int), np.empty(0)
    rows = rows[rows["scope"] == scope].drop_duplicates("step", keep="last").sort_values("step")
    return rows["step"].to_numpy(), rows["value"].to_numpy(float)


@dataclass(frozen=True, kw_only=True)
class AccuracyChange:
    """A task's accuracy at the first and last checkpoint."""

    task: str
    probe: str
    first: float
    last: float
    difference: Estimate


TASKS = {
    "cloze/accuracy": ("the last word of a passage", "accuracy of last words"),
    "continuation/acc": ("the right continuation", "acc of continuations"),
}
"""By metric: what a model has to find, and what analyses call the number (`Items.what`)."""


def accuracy_changes(band: Band, probe: str) -> list[AccuracyChange]:
    """Tasks made from a probe set; paired by document where a run holds the answers one by one."""
    changes = []
    for metric, (task, what) in TASKS.items():
        series = [(run, *_series(run, metric, probe)) for run in band.runs]
        series = [(run, steps, values) for run, steps, values in series if len(steps) > 1]
        if not series:
            continue
        differences = [float(values[-1] - values[0]) for _, _, values in series]
        if len(band.runs) > 1:
            difference = mean_over_seeds(differences)
        else:
            difference = _of_task(series[0][0], what, probe) or _unpaired(series[0][0], metric, probe, differences[0])
        changes.append(
            AccuracyChange(
                task=task,
                probe=probe,
                first=float(np.mean([values[0] for _, _, values in series])),
                last=float(np.mean([values[-1] for _, _, values in series])),
                difference=difference,
            )
        )
    return changes


def _of_task(run: RunView, what: str, probe: str) -> Estimate | None:
    """Last minus first on the same items; None where the answers were not recorded one by one."""
    for items in document_tasks(run):
        if (items.what, items.probe) == (what, probe):
            return over_documents(change(items, 0, len(items.step) - 1), items.items, "item")
    return None


def _unpaired(run: RunView, metric: str, probe: str, difference: float) -> Estimate:
    """The same from standard errors alone, taken as independent."""
    steps, values = _series(run, f"{metric}_se", probe)
    errors = (float(values[0]), float(values[-1])) if len(steps) > 1 else (np.nan, np.nan)
    return unpaired(difference, errors, "items")


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """Share of a set's passages that can be extracted verbatim, at the first and last checkpoint."""

    probe: str
    last: Estimate
    first: Estimate
    count: int | None
    """Extractable passages at the last checkpoint; None when several runs are taken together."""
    n: int
    """Passages that are long enough to be tested."""
    documents: int
    """Documents that these come from."""
    too_short: int
    tokens: tuple[int, int] | None
    """Length of the prefix, and of the suffix that must be reproduced; None if the run does not record them."""


def extracted(band: Band, probe: str) -> Extracted | None:
    """Verbatim memorization of a set over a band; None if it was not measured."""
    shares = [extracted for run in band.runs if (extracted := _extracted_of(run, probe)) is not None]
    if not shares:
        return None
    if len(band.runs) == 1:
        return shares[0]
    return Extracted(
        probe=probe,
        first=mean_over_seeds([extracted.first.value for extracted in shares]),
        last=mean_over_seeds([extracted.last.value for extracted in shares]),
        count=None,
        n=shares[0].n,
        documents=shares[0].documents,
        too_short=shares[0].too_short,
        tokens=shares[0].tokens,
    )


def _extracted_of(run: RunView, probe: str) -> Extracted | None:
    group = run.group_of("extraction")
    if group not in run.measures:
        return None
    data = run.measure(group)
    if not data.sizes.get("checkpoint", 0) or "extractable" not in data:
        return None
    of_probe = data["probe_of_passage"].to_numpy().astype(str) == probe
    if not of_probe.any():
        return None
    flags = [data["extractable"].isel(checkpoint=i).to_numpy()[of_probe].astype(float) for i in (0, -1)]
    prefix, suffix = (data.attrs.get(f"{part}_tokens") for part in ("prefix", "suffix"))
    documents = documents_of(run, probe, data["passage_id"].to_numpy()[of_probe])
    first, last = (share(row, documents, "passage") for row in flags)
    return Extracted(
        probe=probe,
        first=first,
        last=last,
        count=int(np.nansum(flags[1])),
        n=int(np.isfinite(flags[1]).sum()),
        documents=last.n,
        too_short=int(of_probe.sum()) - int(np.isfinite(flags[1]).sum()),
        tokens=(int(prefix), int(suffix)) if prefix and suffix else None,
    )
