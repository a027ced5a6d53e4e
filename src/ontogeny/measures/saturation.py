"""How much of the network is free to learn: where the Fisher information lies, and which parameters have moved."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.looking.axes import Variable, dataset, probe_axis, probe_names, variable

if TYPE_CHECKING:
    from torch import Tensor


class Saturation(StateMeasure):
    """Where the Fisher information of a text lies, how many parameters have moved, and whether these coincide.

    F is the Fisher diagonal per token of the current model, on the first passages of a probe set (`models.fisher`).
    For the whole model, and per block as `block_…`:
    `mass`, the sum of F; `top_share`, the share of it on the fraction `top` of parameters with the largest F; `moved`,
    the share of parameters that differ from the first saved checkpoint by more than `tolerance` times the root mean
    square of their tensor there; `mass_on_moved`, the share of the mass on these.
    For the whole model only: `effective_share` = (sum F)^2 / (n sum F^2), the share of parameters that would hold the
    mass if they held equal parts (participation ratio); `penalty` = 1/2 sum F (theta - theta_first)^2, nats per token,
    the penalty of elastic weight consolidation for the change so far.

    If there is little mass outside the moved parameters, further learning has to move parameters that this text needs.
    What a step can still gain is another question: see the measure `lr_landscape`. In float64; LoRA merged.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to evaluate; by default all."""
    passages: int = Field(default=32, ge=1)
    """Passages of each probe set, the first ones."""
    labels: Literal["sampled", "data"] = "sampled"
    """sampled: the true Fisher information. data: the empirical one."""
    top: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of the parameters that `top_share` counts."""
    tolerance: float = Field(default=0.01, ge=0)
    """Change from which a parameter counts as moved, relative to the root mean square of its tensor."""

    compares_weights: ClassVar[bool] = True
    cost: ClassVar[str] = "a forward and a backward pass over `passages` of each probe set, and sorting the weights"

    def look(self, context: Context) -> Observation:
        """Estimate F on each probe set, and compare the weights with those of the first checkpoint."""
        from ontogeny.models.changed_weights import has_moved
        from ontogeny.models.weights import block_axis

        weights = context.weights()
        first = context.first_weights() if context.first_weights is not None else weights
        blocks = block_axis(weights)
        labels = np.unique(blocks)
        names_by_block = [
            [name for name, owner in zip(weights, blocks, strict=True) if owner == block] for block in labels
        ]
        moved = {name: has_moved(tensor, first[name], self.tolerance).flatten() for name, tensor in weights.items()}
        change = {name: (tensor - first[name]).double().flatten() for name, tensor in weights.items()}
        probes = [name for name in probe_names(context, self.probes) if _predicts(context, name)]
        whole, by_block = [], []
        for probe in probes:
            fisher = self._fisher(context, probe)
            penalty = 0.5 * sum(float((fisher[name] * change[name].square()).sum()) for name in weights)
            only_whole = {"effective_share": _participation(fisher), "penalty": penalty}
            whole.append(self._mass(list(weights), fisher, moved) | only_whole)
            by_block.append([self._mass(names, fisher, moved) for names in names_by_block])
        share_moved = [_share_of(moved, names) for names in names_by_block]
        variables = {
            "moved": variable((), _share_of(moved, list(moved)), "1", _ABOUT["moved"]),
            "block_moved": variable("block", share_moved, "1", f"{_ABOUT['moved']}, per block"),
            **_by_probe(whole, by_block, len(labels)),
        }
        return Observation(arrays=dataset(variables, probe_axis(probes), {"block": labels}))

    def _fisher(self, context: Context, probe: str) -> "dict[str, Tensor]":
        """F per token by name of the weight, flat, float64, on CPU."""
        from ontogeny.models.build import is_adapter
        from ontogeny.models.fisher import diagonal_fisher
        from ontogeny.models.weights import twin

        model = twin(context.model, context.weights()) if is_adapter(context.model) else context.model
        model.eval()
        passages = context.probes[probe].passages[: self.passages]
        per_token = diagonal_fisher(model, passages, labels=self.labels, seed=context.seed).per_token()
        return {name: values.cpu().double().flatten() for name, values in per_token.items()}

    def _mass(self, names: list[str], fisher: "dict[str, Tensor]", moved: "dict[str, Tensor]") -> dict[str, float]:
        """`mass`, `top_share` and `mass_on_moved` of the named weights."""
        import torch

        values = torch.cat([fisher[name] for name in names])
        mass = float(values.sum())
        if not mass > 0:
            return {"mass": mass, "top_share": float("nan"), "mass_on_moved": float("nan")}
        count = max(round(self.top * len(values)), 1)
        on_moved = float(values[torch.cat([moved[name] for name in names])].sum())
        return {
            "mass": mass,
            "top_share": float(values.topk(count).values.sum()) / mass,
            "mass_on_moved": on_moved / mass,
        }


def _by_probe(
    whole: list[dict[str, float]], by_block: list[list[dict[str, float]]], blocks: int
) -> dict[str, Variable]:
    """Variables per probe set, of the whole model and of its blocks."""
    variables = {}
    for key in _OF_MODEL:
        units = "nats" if key in ("mass", "penalty") else "1"
        variables[key] = variable("probe", [numbers[key] for numbers in whole], units, _ABOUT[key])
        if key in _OF_BLOCKS:
            values = [[numbers[key] for numbers in of_probe] for of_probe in by_block]
            table = np.array(values).reshape(len(whole), blocks)
            variables[f"block_{key}"] = variable(("probe", "block"), table, units, f"{_ABOUT[key]}, per block")
    return variables


_OF_BLOCKS = ("mass", "top_share", "mass_on_moved")
_OF_MODEL = (*_OF_BLOCKS, "effective_share", "penalty")
_ABOUT = {
    "moved": "share of parameters that have moved since the first saved checkpoint",
    "mass": "sum of the Fisher diagonal per token",
    "top_share": "share of the Fisher mass on the parameters with the largest values",
    "mass_on_moved": "share of the Fisher mass on parameters that have moved",
    "effective_share": "share of parameters that the Fisher mass lies on (participation ratio)",
    "penalty": "half the squared change since the first saved checkpoint, weighted by the Fisher diagonal",
}


def _share_of(moved: "dict[str, Tensor]", names: list[str]) -> float:
    """The share of the named weights' parameters that have moved."""
    import torch

    return float(torch.cat([moved[name] for name in names]).double().mean())


def _predicts(context: Context, name: str) -> bool:
    """Does the probe set have any token to predict?"""
    return any(bool(passage.supervised[1:].any()) for passage in context.probes[name].passages)


def _participation(fisher: "dict[str, Tensor]") -> float:
    total = sum(float(value.sum()) for value in fisher.values())
    squares = sum(float(value.square().sum()) for value in fisher.values())
    count = sum(value.numel() for value in fisher.values())
    return total**2 / (count * squares) if squares else float("nan")
