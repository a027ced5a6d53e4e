"""The shape of each layer's states, and how far they have turned since earlier checkpoints."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import probe_names, variable
from ontogeny.looking.batch_plan import plan_batches

if TYPE_CHECKING:
    from torch import Tensor


class Representation(StateMeasure):
    """Per layer, of the states X [n, D] of up to `tokens` tokens of the probe sets, the same ones at every checkpoint.

    `cka_first`, `cka_previous`: debiased linear CKA (Kornblith et al. 2019, with the unbiased HSIC of Song et al. 2012)
    with the states that the first and the previous saved checkpoint give for these tokens; NaN at the first.
    Of X about its mean, with singular values s: `effective_rank`, exp of the entropy of s / sum s (Roy and Vetterli
    2007); `participation_ratio`, (sum s^2)^2 / sum s^4; `condition`, largest by smallest of the min(n - 1, D) values.
    Of single states: `gini` and `hoyer` sparsity of |x| (Hurley and Rickard 2009; 0 flat, 1 one dimension), and the
    mean `norm`. All in float64, by the smaller of n x n and D x D products. The axis `block` counts the blocks whose
    output it is, the last after the final norm; -1 are the embeddings.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to take tokens from; by default all."""
    tokens: int = Field(default=2048, ge=8)
    """How many tokens, drawn once."""

    compares_weights: ClassVar[bool] = True
    cost: ClassVar[str] = "three forward passes over the probe sets, and two more models in memory, one after the other"

    def look(self, context: Context) -> Observation:
        """Compare with both checkpoints."""
        import xarray as xr

        from ontogeny.models.weights import twin

        chosen = self._chosen(context)
        context.model.eval()
        now = _states(context.model, context, chosen)
        about = {key: [] for key in _ABOUT}  # type: dict[str, list[float]]
        for states in now:
            for key, value in described(states).items():
                about[key].append(value)
        for key, load in (("cka_first", context.first_weights), ("cka_previous", context.previous_weights)):
            about[key] = self._similar(context, chosen, now, load, twin)
        variables = {key: variable("block", values, *_ABOUT[key]) for key, values in about.items()}
        used = sum(len(positions) for rows in chosen.values() for positions in rows.values())
        return Observation(arrays=xr.Dataset(variables, {"block": np.arange(-1, len(now) - 1)}, {"tokens": used}))

    def _similar(
        self,
        context: Context,
        chosen: "Mapping[str, Mapping[int, np.ndarray]]",
        now: list[np.ndarray],
        load: "Callable[[], Mapping[str, Tensor]] | None",
        twin: Any,
    ) -> list[float]:
        if load is None:
            return [float("nan")] * len(now)
        earlier = _states(twin(context.model, load()), context, chosen)
        return [cka(one, other) for one, other in zip(now, earlier, strict=True)]

    def _chosen(self, context: Context) -> dict[str, dict[int, np.ndarray]]:
        """Positions by passage row, by probe set: drawn without replacement from all tokens."""
        names = probe_names(context, self.probes)
        places = [
            (name, row, position)
            for name in names
            for row, passage in enumerate(context.probes[name].passages)
            for position in range(len(passage))
        ]
        random = np.random.default_rng(derive_seed(context.seed, "representation"))
        picked = sorted(random.permutation(len(places))[: self.tokens].tolist())
        chosen: dict[str, dict[int, list[int]]] = {}
        for i in picked:
            name, row, position = places[i]
            chosen.setdefault(name, {}).setdefault(row, []).append(position)
        return {name: {row: np.array(p) for row, p in rows.items()} for name, rows in chosen.items()}


def _states(model: Any, context: Context, chosen: "Mapping[str, Mapping[int, np.ndarray]]") -> list[np.ndarray]:
    """States of the chosen tokens, layer by layer, embeddings first: float64 [n, D]. The same order for every model."""
    import torch

    from ontogeny.data.collate import collate
    from ontogeny.models.body_and_head import BodyAndHead

    halves = BodyAndHead(model)
    found: list[dict[tuple[str, int], np.ndarray]] = []
    with torch.no_grad():
        for name, rows in chosen.items():
            order = sorted(rows)
            passages = [context.probes[name].passages[row] for row in order]
            for part in plan_batches([len(one) for one in passages], context.batch_tokens):
                ids = collate([passages[i] for i in part], 0)["input_ids"].to(halves.device)
                states = halves.body(ids, hidden_states=True).hidden_states
                assert states is not None
                while len(found) < len(states):
                    found.append({})
                for layer, state in enumerate(states):
                    for line, i in enumerate(part):
                        taken = state[line, torch.from_numpy(rows[order[i]]).to(halves.device)]
                        found[layer][name, order[i]] = taken.double().cpu().numpy()
    return [np.concatenate([layer[key] for key in sorted(layer)]) for layer in found]


def described(states: np.ndarray) -> dict[str, float]:
    """The numbers of one layer that need no other checkpoint. `states` float64 [n, D]."""
    n, width = states.shape
    centred = states - states.mean(axis=0)
    gram = centred @ centred.T if n < width else centred.T @ centred
    squares = np.clip(np.linalg.eigvalsh(gram)[::-1][: min(n - 1, width)], 0, None)
    values = np.sqrt(squares)
    share = values / values.sum() if values.sum() > 0 else values
    positive = share[share > 0]
    size = np.sort(np.abs(states), axis=1)
    total, norms = size.sum(axis=1), np.linalg.norm(states, axis=1)
    index = 2 * np.arange(1, width + 1) - width - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        gini = (size @ index) / (width * total)
        hoyer = (np.sqrt(width) - total / norms) / (np.sqrt(width) - 1)
        return {
            "effective_rank": float(np.exp(-(positive * np.log(positive)).sum())),
            "participation_ratio": float(squares.sum() ** 2 / (squares**2).sum()),
            "condition": float(values[0] / values[-1]),
            "gini": float(np.mean(gini)),
            "hoyer": float(np.mean(hoyer)),
            "norm": float(norms.mean()),
        }


def cka(one: np.ndarray, other: np.ndarray) -> float:
    """Debiased linear CKA of two sets of states of the same n > 3 tokens, float64 [n, D] and [n, D']; NaN if constant.

    HSIC of X and Y, up to a factor that cancels: |X'Y|^2 - n/(n-2) sum d_i e_i + sum d sum e / ((n-1)(n-2)), where X
    and Y are about their means, and d_i = |x_i|^2, e_i = |y_i|^2. It may be below 0 for unrelated states.
    """
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    own, both = _hsic(one, one), _hsic(one, other)
    product = own * _hsic(other, other)
    return float(both / np.sqrt(product)) if product > 0 and own > 0 else float("nan")


def _hsic(one: np.ndarray, other: np.ndarray) -> float:
    n = len(one)
    d, e = (one**2).sum(axis=1), (other**2).sum(axis=1)
    if n < one.shape[1] and n < other.shape[1]:
        cross = float(((one @ one.T) * (other @ other.T)).sum())
    else:
        cross = float(((one.T @ other) ** 2).sum())
    return cross - n / (n - 2) * float(d @ e) + float(d.sum() * e.sum()) / ((n - 1) * (n - 2))


_ABOUT = {
    "cka_first": ("1", "debiased linear CKA with the first saved checkpoint"),
    "cka_previous": ("1", "debiased linear CKA with the previous saved checkpoint"),
    "effective_rank": ("1", "effective rank"),
    "participation_ratio": ("1", "participation ratio of the covariance's eigenvalues"),
    "condition": ("1", "largest by smallest singular value"),
    "gini": ("1", "mean Gini index of a state's absolute values"),
    "hoyer": ("1", "mean Hoyer sparsity of a state"),
    "norm": ("1", "mean L2 norm of a state"),
}
