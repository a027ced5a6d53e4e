"""How the loss and the tasks of a probe set changed over a band of runs, and how much of it can be extracted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.analyses.recorded.passage_losses import document_of, passage_losses
from ontogeny.statistics.estimates import Estimate, clustered_mean, mean_over_seeds, share, unpaired
from ontogeny.store.run_group import Band, RunView, roles

if TYPE_CHECKING:
    import xarray as xr

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
    """Lowest minus first; None if the lowest is the first or the last, or if several runs are taken together."""
    rise: Estimate | None = None
    """Last minus lowest; None in the same cases."""

    @property
    def turned(self) -> bool:
        """Did it fall and then rise, each beyond its own interval?"""
        return bool(self.fall and self.rise and self.fall.below_zero and self.rise.above_zero)


def with_role(band: Band, role: str) -> list[str]:
    """Probe sets of that role in the first run of a band."""
    return [name for name, kind in roles(band.runs[0]).items() if kind == role]


def loss_change(band: Band, probe: str) -> LossChange | None:
    """The change over a band; None if no run evaluated the set at two checkpoints.

    One run: paired by passage from per-token records, else from the loss and its standard error. Several runs: one
    number per seed.
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
    losses = passage_losses(run)
    if losses is None or not losses.of(probe).any():
        return _from_metrics(run, probe)
    level = losses.level(probe)
    last = len(level) - 1
    if last < 1:
        return None
    low = int(np.nanargmin(level)) if np.isfinite(level).any() else 0
    inner = 0 < low < last
    return LossChange(
        probe=probe,
        first=float(level[0]),
        last=float(level[last]),
        difference=losses.change(probe, 0, last),
        first_step=int(losses.steps[0]),
        last_step=int(losses.steps[last]),
        checkpoints=len(level),
        lowest=float(level[low]),
        lowest_step=int(losses.steps[low]),
        fall=losses.change(probe, 0, low) if inner else None,
        rise=losses.change(probe, low, last) if inner else None,
    )


def _from_metrics(run: RunView, probe: str) -> LossChange | None:
    """Without per-token records: from the set's mean loss, its two standard errors taken as independent."""
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
        difference=unpaired(float(values[-1] - values[0]), ends, len(run.probes[probe]), "passages"),
    )


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


TASKS = {"cloze/accuracy": "the last word of a passage", "continuation/acc": "the right continuation"}


def accuracy_changes(band: Band, probe: str) -> list[AccuracyChange]:
    """Tasks made from a probe set; paired by item where a run holds the answers one by one (variable `correct`)."""
    changes = []
    for metric, task in TASKS.items():
        series = [(run, *_series(run, metric, probe)) for run in band.runs]
        series = [(run, steps, values) for run, steps, values in series if len(steps) > 1]
        if not series:
            continue
        differences = [float(values[-1] - values[0]) for _, _, values in series]
        if len(band.runs) > 1:
            difference = mean_over_seeds(differences)
        else:
            difference = _paired(series[0][0], metric, probe) or _unpaired(series[0][0], metric, probe, differences[0])
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


def _paired(run: RunView, metric: str, probe: str) -> Estimate | None:
    """Last minus first on the same items; None where the answers were not recorded one by one."""
    group = run.group_of(metric.partition("/")[0])
    data = run.measure(group) if group in run.measures else None
    if data is None or data.sizes.get("checkpoint", 0) < 2 or "passage_of_item" not in data.coords:
        return None
    of_probe = data["probe_of_item"].to_numpy().astype(str) == probe
    first, last = (_answers(data.isel(checkpoint=i), of_probe) for i in (0, -1))
    if first is None or last is None or probe not in run.probes:
        return None
    passages = run.probes[probe].passages
    documents = [document_of(passages[int(i)].source) for i in data["passage_of_item"].to_numpy()[of_probe]]
    return clustered_mean(last - first, np.ones(len(first)), documents, "items")


def _answers(state: "xr.Dataset", of_probe: np.ndarray) -> np.ndarray | None:
    """float64 [item]: 1 if right, 0 if wrong. Of several choices the first is right; in a tie of n it counts 1/n."""
    if "correct" in state:
        return state["correct"].to_numpy()[of_probe].astype(float)
    if "nll_nats" not in state or state["nll_nats"].dims != ("item", "choice"):
        return None
    nll = state["nll_nats"].to_numpy()[of_probe]
    best = nll == nll.min(axis=1, keepdims=True)
    return best[:, 0] / np.maximum(best.sum(axis=1), 1)


def _unpaired(run: RunView, metric: str, probe: str, difference: float) -> Estimate:
    """The same from standard errors alone, taken as independent."""
    steps, values = _series(run, f"{metric}_se", probe)
    errors = (float(values[0]), float(values[-1])) if len(steps) > 1 else (np.nan, np.nan)
    return unpaired(difference, errors, 0, "items")


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
    first, last = (share(int(np.nansum(row)), int(np.isfinite(row).sum()), "passages") for row in flags)
    return Extracted(
        probe=probe,
        first=first,
        last=last,
        count=int(np.nansum(flags[1])),
        n=last.n,
        too_short=int(of_probe.sum()) - last.n,
        tokens=(int(prefix), int(suffix)) if prefix and suffix else None,
    )
