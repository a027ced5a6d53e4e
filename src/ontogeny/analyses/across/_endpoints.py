"""What a run came to: its losses at the first and last checkpoint, and how much training that took."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ontogeny.store.run_group import RunGroup, RunView, roles


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Losses are nats per token, float64 [checkpoints] by probe set."""

    run: str
    seed: int
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
        found = [self.losses[name][-1] / self.losses[name][0] if name else np.nan for name in (self.new, self.general)]
        return float(found[0]), float(found[1])


def ends_of(run: RunView) -> Ends | None:
    """Read it from the store; None where no probe set was evaluated at two checkpoints."""
    rows = run.metrics.get(run.name_of("evaluation/nll"))
    if rows is None:
        return None
    table = rows.drop_duplicates(["step", "scope"], keep="last").pivot_table(
        index="step", columns="scope", values="value", observed=True, sort=True
    )
    table = table.dropna()
    if len(table) < 2:
        return None
    by_role = roles(run)
    found = {role: [name for name in table.columns if by_role.get(str(name)) == role] for role in ("held out", "other")}
    seen = run.metrics.get("tokens_seen")
    model = run.provenance.get("model") or {}
    return Ends(
        run=run.name,
        seed=run.seed,
        steps=table.index.to_numpy(dtype=np.int64),
        losses={str(name): table[name].to_numpy(dtype=np.float64) for name in table.columns},
        new=next(iter(found["held out"]), None),
        general=next(iter(found["other"]), None),
        parameters=model.get("parameters"),
        tokens=None if seen is None else int(seen["value"].max()),
    )


def crossed(runs: RunGroup) -> list[tuple[str, list[Ends]]]:
    """Groups of runs with new and general text, by label; empty unless all have the same seeds, in that order."""
    found = []
    for band in runs.bands:
        ends = [one for run in band.runs if (one := ends_of(run)) is not None and one.new and one.general]
        found.append((band.label, sorted(ends, key=lambda one: one.seed)))
    same = {tuple(one.seed for one in ends) for _, ends in found}
    return found if len(same) == 1 and () not in same else []
