"""How much of the network is free to learn."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.looking.axes import probe_names, variable

if TYPE_CHECKING:
    from torch import Tensor


class Saturation(StateMeasure):
    """Where the Fisher information of a text lies, how much of the network has moved, and whether the two coincide.

    F is the Fisher diagonal per token of the model as it is, on the first passages of a probe set (`models.fisher`).
    Of the whole model, and as `block_…` of each block:
    `mass`: sum of F. `top_share`: the share of it that the `top` parameters with the largest F hold. `moved`: the share
    of parameters that differ from the first saved checkpoint by more than `tolerance` times the root mean square of
    their tensor there. `mass_on_moved`: the share of the mass that lies on these.
    Of the whole model only: `effective_share` = (sum F)^2 / (n sum F^2), the share of parameters that the mass would
    lie on if they all held the same (participation ratio); `penalty` = 1/2 sum F (theta - first)^2, nats per token,
    what elastic weight consolidation would ask for the way so far.

    Little mass outside what moved: what is learned next has to move what this text needs. What a step could still gain
    is another question: the measure `lr_landscape`. In float64; LoRA merged.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to look at; by default all."""
    passages: int = Field(default=32, ge=1)
    """How many passages of each, the first ones."""
    labels: Literal["sampled", "data"] = "sampled"
    """sampled: the true Fisher information. data: the empirical one."""
    top: float = Field(default=0.1, gt=0, lt=1)
    """Share of the parameters that counts as the top."""
    tolerance: float = Field(default=0.01, ge=0)
    """From when on a parameter has moved."""

    compares_weights: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "one forward and backward pass over up to `passages` of each probe set, and sorting the weights"
    )

    def look(self, context: Context) -> Observation:
        """Estimate F on each probe set, and compare the weights with the first ones."""
        import torch
        import xarray as xr

        from ontogeny.models.changed_weights import has_moved
        from ontogeny.models.weights import block_axis

        weights = context.weights()
        first = context.first_weights() if context.first_weights is not None else weights
        blocks = block_axis(weights)
        present = np.unique(blocks)
        parts = [[name for name, block in zip(weights, blocks, strict=True) if block == one] for one in present]
        moved = {name: has_moved(tensor, first[name], self.tolerance).flatten() for name, tensor in weights.items()}
        change = {name: (tensor - first[name]).double().flatten() for name, tensor in weights.items()}
        rows, by_block = [], []
        names = [name for name in probe_names(context, self.probes) if _predicts(context, name)]
        for name in names:
            fisher = self._fisher(context, name)
            rows.append(
                self._of(list(weights), fisher, moved)
                | {
                    "effective_share": _participation(fisher),
                    "penalty": 0.5 * sum(float((fisher[n] * change[n].square()).sum()) for n in weights),
                }
            )
            by_block.append([self._of(part, fisher, moved) for part in parts])
        variables = {
            "moved": variable((), float(torch.cat(list(moved.values())).double().mean()), "1", _ABOUT["moved"]),
            "block_moved": variable(
                "block",
                [float(torch.cat([moved[n] for n in part]).double().mean()) for part in parts],
                "1",
                f"{_ABOUT['moved']}, per block",
            ),
        }
        for key in _OF_PROBES:
            units = "nats" if key in ("mass", "penalty") else "1"
            variables[key] = variable("probe", [row[key] for row in rows], units, _ABOUT[key])
            if key in _OF_BLOCKS:
                values = np.array([[one[key] for one in row] for row in by_block]).reshape(len(names), len(present))
                variables[f"block_{key}"] = variable(("probe", "block"), values, units, f"{_ABOUT[key]}, per block")
        return Observation(arrays=xr.Dataset(variables, {"probe": np.array(names, dtype=np.str_), "block": present}))

    def _fisher(self, context: Context, probe: str) -> "dict[str, Tensor]":
        """F per token by name of the weight, flat, float64, on CPU."""
        from ontogeny.models.build import is_adapter
        from ontogeny.models.fisher import diagonal_fisher
        from ontogeny.models.weights import twin

        model: Any = twin(context.model, context.weights()) if is_adapter(context.model) else context.model
        model.eval()
        chosen = context.probes[probe].passages[: self.passages]
        values = diagonal_fisher(model, chosen, labels=self.labels, seed=context.seed).per_token()
        return {name: value.cpu().double().flatten() for name, value in values.items()}

    def _of(self, names: list[str], fisher: "dict[str, Tensor]", moved: "dict[str, Tensor]") -> dict[str, float]:
        """What is said of some of the weights."""
        import torch

        mass = torch.cat([fisher[name] for name in names])
        total = float(mass.sum())
        if not total > 0:
            return {"mass": total, "top_share": float("nan"), "mass_on_moved": float("nan")}
        count = max(round(self.top * len(mass)), 1)
        on_moved = float(mass[torch.cat([moved[name] for name in names])].sum())
        return {
            "mass": total,
            "top_share": float(mass.topk(count).values.sum()) / total,
            "mass_on_moved": on_moved / total,
        }


_OF_BLOCKS = ("mass", "top_share", "mass_on_moved")
_OF_PROBES = (*_OF_BLOCKS, "effective_share", "penalty")
_ABOUT = {
    "moved": "share of parameters that moved since the first saved checkpoint",
    "mass": "sum of the Fisher diagonal per token",
    "top_share": "share of the Fisher mass that the top parameters hold",
    "mass_on_moved": "share of the Fisher mass on parameters that moved",
    "effective_share": "share of parameters that the Fisher mass lies on (participation ratio)",
    "penalty": "half the squared way from the first saved checkpoint, weighed by the Fisher diagonal",
}


def _predicts(context: Context, name: str) -> bool:
    """Has the probe set anything to predict?"""
    return any(bool(passage.supervised[1:].any()) for passage in context.probes[name].passages)


def _participation(fisher: "dict[str, Tensor]") -> float:
    total = sum(float(value.sum()) for value in fisher.values())
    squares = sum(float(value.square().sum()) for value in fisher.values())
    count = sum(value.numel() for value in fisher.values())
    return total**2 / (count * squares) if squares else float("nan")
