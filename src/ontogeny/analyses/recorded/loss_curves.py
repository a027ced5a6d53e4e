"""The losses of runs at their checkpoints, and the table of what several runs came to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ontogeny.core.errors import StoreError
from ontogeny.store.run_group import roles

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRun, ComparedRuns

_SHARE = re.compile(r"data\.replay\.[^.]+\.share")


@dataclass(frozen=True, kw_only=True)
class LossCurves:
    """A run's losses in nats per token, float64 [checkpoints] by probe set."""

    steps: np.ndarray
    """int64 [checkpoints]"""
    losses: Mapping[str, np.ndarray]
    new: str | None
    """Probe set of held-out text of the kind that is learned."""
    general: str | None
    """Probe set of other text."""
    parameters: int | None
    tokens: int | None
    """Seen at the last checkpoint."""

    @property
    def relative(self) -> tuple[float, float]:
        """Last losses of new and of general text as shares of the first; NaN without such a probe set."""
        new, general = (
            self.losses[name][-1] / self.losses[name][0] if name else np.nan for name in (self.new, self.general)
        )
        return float(new), float(general)


_READ: "WeakKeyDictionary[ComparedRun, LossCurves | None]" = WeakKeyDictionary()


def loss_curves(run: "ComparedRun") -> LossCurves | None:
    """From the metrics of `evaluation`; None without two evaluated checkpoints. Read once per view."""
    if run not in _READ:
        _READ[run] = _read(run)
    return _READ[run]


def _read(run: "ComparedRun") -> LossCurves | None:
    rows = run.metrics.get(run.name_of("evaluation/nll"))
    if rows is None:
        return None
    latest = rows.astype({"scope": str}).drop_duplicates(["step", "scope"], keep="last")
    table = latest.pivot(index="step", columns="scope", values="value").sort_index()
    # A checkpoint counts where every set was evaluated. A loss that is not a number stays: the run diverged there.
    evaluated = latest.groupby("step")["scope"].nunique().reindex(table.index)
    table = table[evaluated == len(table.columns)]
    if len(table) < 2:
        return None
    role_of = roles(run)
    by_role = {
        role: [str(name) for name in table.columns if role_of.get(str(name)) == role] for role in ("held out", "other")
    }
    tokens_seen = run.metrics.get("tokens_seen")
    model = run.provenance.get("model") or {}
    return LossCurves(
        steps=table.index.to_numpy(dtype=np.int64),
        losses={str(name): table[name].to_numpy(dtype=np.float64) for name in table.columns},
        new=next(iter(by_role["held out"]), None),
        general=next(iter(by_role["other"]), None),
        parameters=model.get("parameters"),
        tokens=None if tokens_seen is None else int(tokens_seen["value"].max()),
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run of a group came to."""

    label: str
    """Of its configuration."""
    levels: Mapping[str, str]
    """Value of each setting that differs within the group."""
    seed: int | str
    run: str
    curves: LossCurves | None


def require_ended(runs: "ComparedRuns") -> None:
    """Raise StoreError if one is still going on, or ended before its time."""
    for run in runs.runs:
        state = run.status.get("state")
        if state in ("running", "interrupted", "failed"):
            raise StoreError(f"lacks the end of {run.name}: it is {state}, at step {run.status.get('step')}")


def require_equal_passages(runs: "ComparedRuns") -> None:
    """Raise StoreError if probe sets of one name hold different passages."""
    first: dict[str, tuple[str, str]] = {}
    for run in runs.runs:
        for name, probe in run.probes.items():
            fingerprint, owner = first.setdefault(name, (probe.fingerprint, run.name))
            if fingerprint != probe.fingerprint:
                raise StoreError(f"lacks equal passages: the probe set '{name}' of {run.name} is not that of {owner}")


def outcomes(runs: "ComparedRuns") -> list[Outcome]:
    """Every run's, in the order of the group.

    Raises StoreError if two runs have the same settings and seed, or settings that cannot be told apart; if a run has
    not ended, or its probe sets hold other passages than those of the same name in another run.
    """
    require_ended(runs)
    require_equal_passages(runs)
    by_run = {}
    names: dict[tuple[str, int | str], str] = {}
    for band in runs.bands:
        for run, seed in zip(band.runs, band.seeds, strict=True):
            other = names.setdefault((str(dict(band.levels)), seed), run.name)
            if other != run.name:
                raise StoreError(
                    f"lacks a difference between {other} and {run.name}: their settings and seed are the same"
                )
            by_run[run.name] = Outcome(
                label=band.label, levels=band.levels, seed=seed, run=run.name, curves=loss_curves(run)
            )
    return [by_run[run.name] for run in runs.runs]


def crossed(runs: "ComparedRuns") -> list[tuple[str, list[int | str], list[LossCurves]]]:
    """Label, seeds and curves by seed of every configuration; empty unless all have the same seeds, with both texts."""
    cells = []
    for band in runs.bands:
        curves = {seed: loss_curves(run) for seed, run in zip(band.seeds, band.runs, strict=True)}
        whole = {seed: curve for seed, curve in curves.items() if curve is not None and curve.new and curve.general}
        seeds = sorted(whole, key=lambda seed: (len(str(seed)), str(seed)))  # 2 before 10
        cells.append((band.label, seeds, [whole[seed] for seed in seeds]))
    return cells if len({tuple(seeds) for _, seeds, _ in cells}) == 1 and cells[0][1] else []


def new_text(table: Sequence[Outcome]) -> str:
    """Name of the probe set of new text; empty where no run has one."""
    return next((outcome.curves.new for outcome in table if outcome.curves and outcome.curves.new), "")


def replayed_share(table: Sequence[Outcome]) -> str | None:
    """The setting that is a replayed share, data.replay.<corpus>.share, if the runs differ in one."""
    return next((name for name in table[0].levels if _SHARE.fullmatch(name)), None)


def results(table: Sequence[Outcome]) -> pd.DataFrame:
    """One row per run. Losses in nats per token.

    Columns: the levels, seed, run; steps, tokens, parameters; of every probe set `nll`, at the last checkpoint, `first`
    and `best` (the least of all checkpoints: biased downwards); `new decrease` and `general increase` from first to
    last, and `new relative` and `general relative`, the last loss as a share of the first, which is the untrained
    model's; `new decay`, the mean share of the new text's first loss by which a step lowers it.
    """
    rows = []
    for outcome in table:
        row: dict[str, object] = {**outcome.levels, "seed": outcome.seed, "run": outcome.run}
        curves = outcome.curves
        if curves is not None:
            row |= {"steps": int(curves.steps[-1]), "tokens": curves.tokens, "parameters": curves.parameters}
            for name, losses in curves.losses.items():
                row |= {f"nll {name}": losses[-1], f"first {name}": losses[0], f"best {name}": losses.min()}
            if curves.new:
                losses = curves.losses[curves.new]
                relative = losses[-1] / losses[0]
                row |= {"new decrease": losses[0] - losses[-1], "new relative": relative}
                row["new decay"] = (1 - relative) / curves.steps[-1]
            if curves.general:
                losses = curves.losses[curves.general]
                row |= {"general increase": losses[-1] - losses[0], "general relative": losses[-1] / losses[0]}
        rows.append(row)
    return pd.DataFrame(rows)
