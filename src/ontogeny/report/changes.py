"""How the loss of a probe set changed over a band of runs, and how much of it can be extracted."""

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
class Change:
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
    """Last minus lowest; None likewise."""

    @property
    def turned(self) -> bool:
        """Did it fall and then rise, each beyond its own interval?"""
        return bool(self.fall and self.rise and self.fall.below_zero and self.rise.above_zero)


def with_role(band: Band, role: str) -> list[str]:
    """Probe sets of that role in the first run of a band."""
    return [name for name, kind in roles(band.runs[0]).items() if kind == role]


def change(band: Band, probe: str) -> Change | None:
    """The change over a band; None if no run has two looks at the set.

    One run: paired by passage from per-token records, else from the loss and its standard error. Several runs: one
    number per seed.
    """
    found = [one for run in band.runs if (one := _of_run(run, probe)) is not None]
    if not found:
        return None
    if len(band.runs) == 1:
        return found[0]
    return Change(
        probe=probe,
        first=float(np.mean([one.first for one in found])),
        last=float(np.mean([one.last for one in found])),
        difference=mean_over_seeds([one.difference.value for one in found]),
        first_step=found[0].first_step,
        last_step=max(one.last_step for one in found),
        checkpoints=found[0].checkpoints,
    )


def _of_run(run: RunView, probe: str) -> Change | None:
    losses = passage_losses(run)
    if losses is None or not losses.of(probe).any():
        return _from_metrics(run, probe)
    level = losses.level(probe)
    last = len(level) - 1
    if last < 1:
        return None
    low = int(np.nanargmin(level)) if np.isfinite(level).any() else 0
    inner = 0 < low < last
    return Change(
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


def _from_metrics(run: RunView, probe: str) -> Change | None:
    """Without per-token records: the set's mean loss, and its standard errors as if the two looks were independent."""
    rows = _series(run, NLL, probe)
    if len(rows[0]) < 2:
        return None
    (steps, values), errors = rows, dict(zip(*_series(run, f"{NLL}_se", probe), strict=True))
    ends = float(errors.get(steps[0], np.nan)), float(errors.get(steps[-1], np.nan))
    return Change(
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
class Accuracy:
    """A task's accuracy at the first and last checkpoint."""

    task: str
    probe: str
    first: float
    last: float
    difference: Estimate


TASKS = {"cloze/accuracy": "the last word of a passage", "continuation/acc": "the right continuation"}


def accuracies(band: Band, probe: str) -> list[Accuracy]:
    """Tasks made from a probe set; paired by item where a run holds the single answers (variable `correct`)."""
    found = []
    for metric, spoken in TASKS.items():
        series = [(run, *_series(run, metric, probe)) for run in band.runs]
        series = [one for one in series if len(one[1]) > 1]
        if not series:
            continue
        differences = [float(values[-1] - values[0]) for _, _, values in series]
        if len(band.runs) > 1:
            difference = mean_over_seeds(differences)
        else:
            difference = _paired(series[0][0], metric, probe) or _unpaired(series[0][0], metric, probe, differences[0])
        found.append(
            Accuracy(
                task=spoken,
                probe=probe,
                first=float(np.mean([v[0] for _, _, v in series])),
                last=float(np.mean([v[-1] for _, _, v in series])),
                difference=difference,
            )
        )
    return found


def _paired(run: RunView, metric: str, probe: str) -> Estimate | None:
    """Last minus first on the same items; None without single answers."""
    group = run.group_of(metric.partition("/")[0])
    data = run.measure(group) if group in run.measures else None
    if data is None or data.sizes.get("checkpoint", 0) < 2 or "passage_of_item" not in data.coords:
        return None
    mine = data["probe_of_item"].to_numpy().astype(str) == probe
    first, last = (_answers(data.isel(checkpoint=i), mine) for i in (0, -1))
    if first is None or last is None or probe not in run.probes:
        return None
    passages = run.probes[probe].passages
    documents = [document_of(passages[int(i)].source) for i in data["passage_of_item"].to_numpy()[mine]]
    return clustered_mean(last - first, np.ones(len(first)), documents, "items")


def _answers(state: "xr.Dataset", mine: np.ndarray) -> np.ndarray | None:
    """1 for a right answer, 0 for a wrong one, by item; of choices the first is right, ties count in part."""
    if "correct" in state:
        return state["correct"].to_numpy()[mine].astype(float)
    if "nll_nats" not in state or state["nll_nats"].dims != ("item", "choice"):
        return None
    nll = state["nll_nats"].to_numpy()[mine]
    best = nll == nll.min(axis=1, keepdims=True)
    return best[:, 0] / np.maximum(best.sum(axis=1), 1)


def _unpaired(run: RunView, metric: str, probe: str, at: float) -> Estimate:
    """The same from standard errors alone, as if the two looks were independent."""
    steps, values = _series(run, f"{metric}_se", probe)
    errors = (float(values[0]), float(values[-1])) if len(steps) > 1 else (np.nan, np.nan)
    return unpaired(at, errors, 0, "items")


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """How many passages of a set come out verbatim, at the first and last checkpoint."""

    probe: str
    last: Estimate
    first: Estimate
    count: int | None
    """Passages at the last checkpoint; None when several runs are taken together."""
    n: int
    """Passages that are long enough to ask."""
    too_short: int
    tokens: tuple[int, int] | None
    """Tokens given, and tokens that have to come out; None if the run does not say."""


def extracted(band: Band, probe: str) -> Extracted | None:
    """Verbatim memorization of a set over a band; None if it was not measured."""
    found = [one for run in band.runs if (one := _extracted_of(run, probe)) is not None]
    if not found:
        return None
    if len(band.runs) == 1:
        return found[0]
    first, last = ([getattr(one, end).value for one in found] for end in ("first", "last"))
    return Extracted(
        probe=probe,
        first=mean_over_seeds(first),
        last=mean_over_seeds(last),
        count=None,
        n=found[0].n,
        too_short=found[0].too_short,
        tokens=found[0].tokens,
    )


def _extracted_of(run: RunView, probe: str) -> Extracted | None:
    group = run.group_of("extraction")
    if group not in run.measures:
        return None
    data = run.measure(group)
    if not data.sizes.get("checkpoint", 0) or "extractable" not in data:
        return None
    mine = data["probe_of_passage"].to_numpy().astype(str) == probe
    if not mine.any():
        return None
    flags = [data["extractable"].isel(checkpoint=i).to_numpy()[mine].astype(float) for i in (0, -1)]
    given, asked = (data.attrs.get(f"{part}_tokens") for part in ("prefix", "suffix"))
    first, last = (share(int(np.nansum(one)), int(np.isfinite(one).sum()), "passages") for one in flags)
    return Extracted(
        probe=probe,
        first=first,
        last=last,
        count=int(np.nansum(flags[1])),
        n=last.n,
        too_short=int(mine.sum()) - last.n,
        tokens=(int(given), int(asked)) if given and asked else None,
    )
