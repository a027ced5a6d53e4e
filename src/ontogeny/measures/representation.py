"""Geometry of each layer's hidden states, and their similarity to those of earlier checkpoints (CKA)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import dataset, probe_names, variable
from ontogeny.looking.batch_plan import plan_batches

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Chosen = Mapping[str, Mapping[int, np.ndarray]]
"""The tokens that are described: by probe set, by row of the passage, their positions."""


class Representation(StateMeasure):
    """Statistics of each layer's states X [n, D], for up to `tokens` tokens that are the same at every checkpoint.
    (BOS is none of them: its state is the same in every passage.)

    `cka_first`, `cka_previous`: debiased linear CKA (Kornblith et al. 2019, with the unbiased HSIC of Song et al. 2012)
    with the states that the first and the previous saved checkpoint give for these tokens; NaN at the first state.
    From the singular values s of the centred X: `effective_rank`, exp of the entropy of s / sum s (Roy and Vetterli
    2007); `participation_ratio`, (sum s^2)^2 / sum s^4; `condition`, the largest divided by the smallest of the
    min(n - 1, D) values. From single states, as means over tokens: `gini` and `hoyer`, sparsity of |x| (Hurley and
    Rickard 2009; 0 if all dimensions are equal, 1 if one is not 0), and the L2 `norm`. All in float64, from the smaller
    of the n x n and D x D products. The axis `block` is the block whose output is described, the last one after the
    final norm; -1 stands for the embeddings.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to take tokens from; by default all."""
    tokens: int = Field(default=2048, ge=8)
    """Most tokens to describe, drawn once."""

    compares_weights: ClassVar[bool] = True
    cost: ClassVar[str] = "three forward passes over the probe sets, and in memory one more model at a time"

    def look(self, context: Context) -> Observation:
        """Describe the states, and compare them with both checkpoints."""
        chosen = self._chosen(context)
        context.model.eval()
        layers = _states(context.model, context, chosen)
        described = [described_states(states) for states in layers]
        similarity = {
            "cka_first": _similarity(context, chosen, layers, context.first_weights),
            "cka_previous": _similarity(context, chosen, layers, context.previous_weights),
        }
        variables = {}
        for key, about in _ABOUT.items():
            values = similarity[key] if key in similarity else [numbers[key] for numbers in described]
            variables[key] = variable("block", values, *about)
        tokens = sum(len(positions) for rows in chosen.values() for positions in rows.values())
        return Observation(arrays=dataset(variables, {"block": np.arange(-1, len(layers) - 1)}, tokens=tokens))

    def _chosen(self, context: Context) -> Chosen:
        """Tokens drawn without replacement from all tokens of the probe sets."""
        names = probe_names(context, self.probes)
        places = [
            (name, row, position)
            for name in names
            for row, passage in enumerate(context.probes[name].passages)
            for position in range(passage.bos_tokens, len(passage))
        ]
        random = np.random.default_rng(derive_seed(context.seed, "representation"))
        drawn = sorted(random.permutation(len(places))[: self.tokens].tolist())
        chosen: dict[str, dict[int, list[int]]] = {}
        for i in drawn:
            name, row, position = places[i]
            chosen.setdefault(name, {}).setdefault(row, []).append(position)
        return {name: {row: np.array(positions) for row, positions in rows.items()} for name, rows in chosen.items()}


def _similarity(
    context: Context, chosen: Chosen, layers: list[np.ndarray], load: "Callable[[], Mapping[str, Tensor]] | None"
) -> list[float]:
    """CKA of each layer with the same layer under the weights that `load` gives; NaN if there are none."""
    from ontogeny.models.weights import twin

    if load is None:
        return [float("nan")] * len(layers)
    earlier_layers = _states(twin(context.model, load()), context, chosen)
    return [cka(states, earlier) for states, earlier in zip(layers, earlier_layers, strict=True)]


def _states(model: "PreTrainedModel", context: Context, chosen: Chosen) -> list[np.ndarray]:
    """States of the chosen tokens, one array per layer, embeddings first: float64 [n, D], in the same order always."""
    import torch

    from ontogeny.data.collate import collate
    from ontogeny.models.body_and_head import BodyAndHead

    body_and_head = BodyAndHead(model)
    layers: list[dict[tuple[str, int], np.ndarray]] = []
    with torch.no_grad():
        for name, positions in chosen.items():
            rows = sorted(positions)
            passages = [context.probes[name].passages[row] for row in rows]
            for part in plan_batches([len(passage) for passage in passages], context.batch_tokens):
                batch = collate([passages[i] for i in part], 0).to(body_and_head.device)
                body = body_and_head.body(batch["input_ids"], hidden_states=True, sides=batch.sides)
                hidden_states = body.hidden_states
                assert hidden_states is not None
                layers = layers or [{} for _ in hidden_states]
                for layer, states in zip(layers, hidden_states, strict=True):
                    for line, i in enumerate(part):
                        taken = states[line, torch.from_numpy(positions[rows[i]]).to(body_and_head.device)]
                        layer[name, rows[i]] = taken.double().cpu().numpy()
    return [np.concatenate([layer[key] for key in sorted(layer)]) for layer in layers]


def described_states(states: np.ndarray) -> dict[str, float]:
    """The numbers of one layer that need no other checkpoint. `states` float64 [n, D]."""
    n, width = states.shape
    centred = states - states.mean(axis=0)
    gram = centred @ centred.T if n < width else centred.T @ centred
    squares = np.clip(np.linalg.eigvalsh(gram)[::-1][: min(n - 1, width)], 0, None)
    singular_values = np.sqrt(squares)
    share = singular_values / singular_values.sum() if singular_values.sum() > 0 else singular_values
    positive = share[share > 0]
    sizes = np.sort(np.abs(states), axis=1)
    total, norms = sizes.sum(axis=1), np.linalg.norm(states, axis=1)
    rank_weights = 2 * np.arange(1, width + 1) - width - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        gini = (sizes @ rank_weights) / (width * total)
        hoyer = (np.sqrt(width) - total / norms) / (np.sqrt(width) - 1)
        return {
            "effective_rank": float(np.exp(-(positive * np.log(positive)).sum())),
            "participation_ratio": float(squares.sum() ** 2 / (squares**2).sum()),
            "condition": float(singular_values[0] / singular_values[-1]),
            "gini": float(np.mean(gini)),
            "hoyer": float(np.mean(hoyer)),
            "norm": float(norms.mean()),
        }


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Debiased linear CKA of two sets of states of the same n > 3 tokens, float64 [n, D] and [n, D']; NaN if constant.

    HSIC of X and Y, up to a factor that cancels: |X'Y|^2 - n/(n-2) sum d_i e_i + sum d sum e / ((n-1)(n-2)), where X
    and Y are centred, d_i = |x_i|^2 and e_i = |y_i|^2. It may be below 0 for unrelated states.
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, xy = _hsic(x, x), _hsic(x, y)
    product = xx * _hsic(y, y)
    return float(xy / np.sqrt(product)) if product > 0 and xx > 0 else float("nan")


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    n = len(x)
    d, e = (x**2).sum(axis=1), (y**2).sum(axis=1)
    # Both sums are |X'Y|^2; the smaller matrices are cheaper.
    cross = (x @ x.T) * (y @ y.T) if n < min(x.shape[1], y.shape[1]) else (x.T @ y) ** 2
    return float(cross.sum()) - n / (n - 2) * float(d @ e) + float(d.sum() * e.sum()) / ((n - 1) * (n - 2))


_ABOUT = {
    "cka_first": ("1", "debiased linear CKA with the first saved checkpoint"),
    "cka_previous": ("1", "debiased linear CKA with the previous saved checkpoint"),
    "effective_rank": ("1", "effective rank"),
    "participation_ratio": ("1", "participation ratio of the covariance's eigenvalues"),
    "condition": ("1", "largest singular value / smallest"),
    "gini": ("1", "mean Gini index of a state's absolute values"),
    "hoyer": ("1", "mean Hoyer sparsity of a state"),
    "norm": ("1", "mean L2 norm of a state"),
}
