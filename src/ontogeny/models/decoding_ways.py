"""How the texts of a model are continued token by token, and which ways are right for it.

Architectures differ in what they carry from one token to the next: keys and values, convolution and state-space states
in a cache, states inside their modules, or nothing. And not every one can leave padding on the left out of what it
carries. So nothing is taken for granted: each way is compared with plain forward passes, for the prompts at hand.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.data.collate import stacked
from ontogeny.models.body_and_head import sides_taken

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

Sides = Sequence[Mapping[str, np.ndarray]]
"""Of each prompt, its side inputs by name."""


class Way(NamedTuple):
    """A way of continuing texts."""

    together: Literal["any", "equal", "none"]
    """Which prompts may share a batch: all, padded on the left; those of equal length; or each runs alone."""
    cached: bool
    """Is what was computed for a token kept for the next ones? Else the whole text is run again for every token."""


WAYS = (Way("any", True), Way("equal", True), Way("none", True), Way("equal", False))
"""Fastest first. The last one is right for every causal model: it is what the others are compared with."""

_CACHES = ("past_key_values", "cache_params", "state")
"""Names under which models return, and take again, what they keep."""
CHECKED_TOKENS = 3
"""Tokens for which a way is tried: the first comes from the prompt, the others from what was kept."""
_FAILURES = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What models raise that cannot be run in some way."""


class Texts(Protocol):
    """A batch of texts in the course of being written."""

    def next_logits(self) -> "Tensor":
        """Of the next token: [B, V]."""
        ...

    def append(self, token_ids: "Tensor", rows: int) -> None:
        """Write a token, int64 [B], to each text; only the first `rows` texts go on."""
        ...


def begin(
    model: "PreTrainedModel", ids: np.ndarray, mask: np.ndarray, sides: "dict[str, Tensor]", *, cached: bool
) -> Texts:
    """Begin to continue prompts, int64 `[B, T]` with attention mask; without cache they must be of equal length."""
    import torch

    device = next(model.parameters()).device
    inputs, attended = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
    return _Cached(model, inputs, attended, sides) if cached else _Whole(model, inputs, sides)


class _Cached:
    """Runs each token once, and keeps what the model returns for the next one."""

    def __init__(
        self, model: "PreTrainedModel", inputs: "Tensor", attended: "Tensor", sides: "dict[str, Tensor]"
    ) -> None:
        self._model, self._inputs, self._attended, self._sides = model, inputs, attended, sides
        self._positions = (attended.cumsum(dim=1) - 1).clamp(min=0)  # padding must not shift them
        self._accepted = inspect.signature(model.forward).parameters
        self._prompt = True
        """Is the prompt still to be run?"""
        self._cache: dict[str, object] = {"past_key_values": None} if "past_key_values" in self._accepted else {}

    def next_logits(self) -> "Tensor":
        optional: dict[str, object] = {"position_ids": self._positions, "logits_to_keep": 1}
        if self._prompt or "past_key_values" in self._cache:  # states, unlike keys, have left the padding behind
            optional["attention_mask"] = self._attended
        self._prompt = False
        output = self._model(
            input_ids=self._inputs,
            use_cache=True,
            **self._cache,
            **{name: value for name, value in optional.items() if name in self._accepted},
            **self._sides,
        )
        self._cache = {name: output[name] for name in _CACHES if output.get(name) is not None}
        if not self._cache:
            raise NotImplementedError(f"{type(self._model).__name__} returns nothing to keep")
        logits: Tensor = output.logits[:, -1]
        return logits

    def append(self, token_ids: "Tensor", rows: int) -> None:
        import torch

        if rows < len(token_ids) and not self._leave(rows):
            rows = len(token_ids)  # they are written on in vain
        self._sides = {name: tensor[:rows] for name, tensor in self._sides.items()}
        self._inputs = token_ids[:rows, None]
        self._positions = self._positions[:rows, -1:] + 1
        self._attended = torch.cat([self._attended[:rows], self._attended.new_ones((rows, 1))], dim=1)

    def _leave(self, rows: int) -> bool:
        """Drop all rows but the first from what is kept; False if it knows no way."""
        import torch
        from transformers.cache_utils import Cache, DynamicLayer, LinearAttentionCacheLayerMixin

        cache = self._cache.get("past_key_values")
        layers = getattr(cache, "layers", ())
        keys_and_values = [
            isinstance(layer, DynamicLayer) and not isinstance(layer, LinearAttentionCacheLayerMixin)
            for layer in layers
        ]
        droppable = bool(keys_and_values) and all(keys_and_values)  # states know no way to drop rows
        if not isinstance(cache, Cache) or not droppable:
            return False
        cache.batch_select_indices(torch.arange(rows, device=self._inputs.device))
        return True


class _Whole:
    """Runs every text from its beginning for each token: nothing is kept, nothing is padded."""

    def __init__(self, model: "PreTrainedModel", inputs: "Tensor", sides: "dict[str, Tensor]") -> None:
        self._model, self._inputs, self._sides = model, inputs, sides

    def next_logits(self) -> "Tensor":
        logits: Tensor = self._model(input_ids=self._inputs, use_cache=False, **self._sides).logits[:, -1]
        return logits

    def append(self, token_ids: "Tensor", rows: int) -> None:
        import torch

        self._sides = {name: tensor[:rows] for name, tensor in self._sides.items()}
        self._inputs = torch.cat([self._inputs[:rows], token_ids[:rows, None]], dim=1)


def way_of(
    model: "PreTrainedModel",
    prompts: Sequence[np.ndarray],
    counts: Sequence[int],
    sides: Sides,
    padding: int,
    *,
    alone: bool = False,
) -> Way:
    """The fastest way that is right for these prompts, of which `counts` tokens are to be written.

    Tried with the longest and the shortest of them, for up to three tokens, in batches of two where prompts may share
    one: a way is right if its logits are those of plain forward passes over each text alone, up to the rounding of the
    model's precision. `alone`: prompts will not share batches. Costs a few forward passes over two prompts.
    """
    places = extremes(prompts)

    def written(way: Way) -> list[Trial]:
        return [
            trial
            for batch in trial_batches(way, sorted(places, key=lambda i: -counts[i]), prompts, sides)
            for trial in _try(model, batch, [min(CHECKED_TOKENS, counts[i]) for i in batch.places], padding, way)
        ]

    return first_right(model, [way for way in WAYS if not alone or way.together == "none" or not way.cached], written)


class TrialBatch(NamedTuple):
    """Prompts that are tried together."""

    places: list[int]
    """Of each, the number of the prompt that it is, or is made of."""
    prompts: list[np.ndarray]
    sides: list[Mapping[str, np.ndarray]]


Trial = tuple[np.ndarray, "dict[str, Tensor]", "Tensor"]
"""A prompt, its side inputs [1, n, d], and the logits [n, V] whose first choices were written after it."""


def trial_batches(way: Way, places: Sequence[int], prompts: Sequence[np.ndarray], sides: Sides) -> list[TrialBatch]:
    """The prompts at these places as the way lets them share batches; one of equal length is the prompt reversed."""
    match way.together:
        case "any":
            batches = [([*places], [prompts[i] for i in places])]
        case "equal":
            batches = [([i, i], [prompts[i], prompts[i][::-1].copy()]) for i in places]
        case "none":
            batches = [([i], [prompts[i]]) for i in places]
    return [TrialBatch(own, texts, [sides[i] for i in own] if sides else []) for own, texts in batches]


def trials_of(model: "PreTrainedModel", batch: TrialBatch, logits: "Sequence[Tensor]") -> list[Trial]:
    """What came of a batch, prompt by prompt."""
    return [
        (prompt, side_tensors(model, batch.sides[row : row + 1]), logits[row])
        for row, prompt in enumerate(batch.prompts)
    ]


def _try(model: "PreTrainedModel", batch: TrialBatch, counts: Sequence[int], padding: int, way: Way) -> list[Trial]:
    ids, mask = pad_left(batch.prompts, padding)
    texts = begin(model, ids, mask, side_tensors(model, batch.sides), cached=way.cached)
    return trials_of(model, batch, _first_choices(texts, counts))


def extremes(prompts: Sequence[np.ndarray]) -> list[int]:
    """Which of the prompts is the longest, and which the shortest; a single one if there are no two."""
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    return list(dict.fromkeys([by_length[-1], by_length[0]]))


def _first_choices(texts: Texts, counts: Sequence[int]) -> "list[Tensor]":
    """Write first choices; of each text the logits [count, V] that they were chosen from. Counts do not increase."""
    import torch

    steps = [texts.next_logits()]
    while len(steps) < counts[0]:
        texts.append(steps[-1].argmax(dim=-1), sum(count > len(steps) for count in counts))
        steps.append(texts.next_logits())
    return [torch.stack([logits[row] for logits in steps[:count]]) for row, count in enumerate(counts)]


def first_right(model: "PreTrainedModel", ways: Sequence[Way], written: Callable[[Way], list[Trial]]) -> Way:
    """The first of the ways whose trials agree with plain forward passes; the last one if no other does."""
    import torch

    for way in ways[:-1]:
        try:
            trials = written(way)
        except torch.OutOfMemoryError:
            raise
        except _FAILURES:
            continue
        if all(_agree(model, *trial) for trial in trials):
            return way
    return ways[-1]


def _agree(model: "PreTrainedModel", prompt: np.ndarray, sides: "dict[str, Tensor]", logits: "Tensor") -> bool:
    """Are the logits [n, V] of a prompt's next n tokens those of one forward pass over it and them, up to rounding?

    Allowed is the root of the precision's epsilon (3e-4 in float32, 0.09 in bfloat16), of the largest logit's distance
    from the mean: states that are run token by token round otherwise than a whole text; errors of padding are larger.
    """
    import torch

    first_choices = logits[:-1].argmax(dim=-1)
    text = torch.cat([torch.from_numpy(prompt.astype(np.int64)).to(logits.device), first_choices])
    plain = model(input_ids=text[None], use_cache=False, **sides).logits[0, len(prompt) - 1 :].float()
    spread = (plain - plain.mean(dim=-1, keepdim=True)).abs().max()
    return bool((plain - logits.float()).abs().max() <= torch.finfo(model.dtype).eps ** 0.5 * spread)


def pad_left(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and attention mask, int64 `[B, T]`."""
    width = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def side_tensors(model: "PreTrainedModel", sides: Sequence[Mapping[str, np.ndarray]]) -> "dict[str, Tensor]":
    """Of a batch of prompts, the side inputs that the model reads: float32 [B, n, d] on its device.

    Raises DataError if it reads one that they do not carry.
    """
    import torch

    tensors = {}
    for name in sides_taken(model):
        if not sides or any(name not in own for own in sides):
            raise DataError(f"the model reads the side input '{name}', which these passages do not carry")
        tensors[name] = torch.from_numpy(stacked([own[name] for own in sides])).to(model.device)
    return tensors
