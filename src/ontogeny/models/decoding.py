"""Generation: padding on the left, with an attention mask, and with the tokenizer's special tokens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ontogeny.models.body_and_head import unwrapped
from ontogeny.models.decoding_ways import (
    CHECKED_TOKENS,
    WAYS,
    Trial,
    Way,
    begin,
    extremes,
    first_right,
    pad_left,
    side_tensors,
    trial_batches,
    trials_of,
    way_of,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ontogeny.models.decoding_ways import Texts


class Sampling(NamedTuple):
    """How texts are sampled."""

    draws: int
    """Texts per prompt."""
    temperature: float
    """Divides the logits."""
    top_p: float
    """Probability that the tokens to sample from have together."""


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The tokenizer's padding token, else its end-of-text token, else 0: padding is masked, so any id will do."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def sample(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[np.ndarray],
    new_tokens: int,
    sampling: Sampling | None,
    sides: Sequence[Mapping[str, np.ndarray]] = (),
    *,
    seeds: Sequence[int],
    exact: bool = False,
) -> list[np.ndarray]:
    """Texts that continue the prompts, by prompt, then draw: token ids, padded after an end-of-text token.

    Greedy if `sampling` is None. `sides` as in `continue_greedily`. `seeds`, one per prompt: prompts that share a batch
    are drawn by the first one's. `exact`: every prompt runs alone. All of them share one batch where the model allows
    it, else those of equal length. The model must be in evaluation mode.
    """
    import torch

    base = unwrapped(model)
    everything = list(range(len(prompts)))
    with torch.no_grad():
        way = _generating_way(base, tokenizer, prompts, new_tokens, sides, alone=exact)
        batches = [[i] for i in everything] if exact else _alike(way, everything, prompts)
        written: dict[int, np.ndarray] = {}
        for batch in batches:
            torch.manual_seed(seeds[batch[0]])
            own = [sides[i] for i in batch] if sides else []
            texts, _ = _generate(base, tokenizer, [prompts[i] for i in batch], new_tokens, sampling, own, way)
            draws = len(texts) // len(batch)
            written |= {i: texts[row * draws : (row + 1) * draws] for row, i in enumerate(batch)}
    return [text for i in everything for text in written[i]]


def _generating_way(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[np.ndarray],
    new_tokens: int,
    sides: Sequence[Mapping[str, np.ndarray]],
    *,
    alone: bool,
) -> Way:
    """The fastest way in which transformers' `generate` is right for these prompts; see `decoding_ways.way_of`."""
    count = min(new_tokens, CHECKED_TOKENS)

    def written(way: Way) -> list[Trial]:
        trials: list[Trial] = []
        for batch in trial_batches(way, extremes(prompts), prompts, sides):
            _, logits = _generate(model, tokenizer, batch.prompts, count, None, batch.sides, way, whole=True)
            trials += trials_of(model, batch, logits)
        return trials

    return first_right(model, [way for way in WAYS if not alone or way.together == "none" or not way.cached], written)


def _generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[np.ndarray],
    new_tokens: int,
    sampling: Sampling | None,
    sides: Sequence[Mapping[str, np.ndarray]],
    way: Way,
    *,
    whole: bool = False,
) -> "tuple[np.ndarray, list[Tensor]]":
    """Token ids written after the prompts [texts, n], and of each text the logits [n, V]; `whole`: no token ends it."""
    import torch

    ids, mask = pad_left(prompts, pad_id(tokenizer))
    device = next(model.parameters()).device
    with _decoding(model, tokenizer, new_tokens, sampling, way, whole=whole):
        output = model.generate(  # type: ignore[operator] # PreTrainedModel does not declare it
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            **side_tensors(model, sides),
        )
    logits = list(torch.stack(output.logits, dim=1)) if whole else []
    return output.sequences[:, ids.shape[1] :].cpu().numpy(), logits


@contextmanager
def _decoding(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    new_tokens: int,
    sampling: Sampling | None,
    way: Way,
    *,
    whole: bool,
) -> Iterator[None]:
    """Replace the model's generation configuration for a while; greedy if `sampling` is None.

    `model.generate` fills settings that it is not given from the model's own configuration, which may sample, penalise
    repetition or name other special tokens. So the whole configuration is replaced.
    """
    from transformers import GenerationConfig

    before = model.generation_config
    model.generation_config = GenerationConfig(
        max_new_tokens=new_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None if whole else tokenizer.eos_token_id,
        pad_token_id=pad_id(tokenizer),
        use_cache=way.cached,
        output_logits=whole,
        return_dict_in_generate=True,
        **_settings(sampling),
    )
    try:
        yield
    finally:
        model.generation_config = before


def _settings(sampling: Sampling | None) -> dict[str, bool | int | float]:
    if sampling is None:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,  # off; by default it is 50
        "num_return_sequences": sampling.draws,
    }


def continue_greedily(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[np.ndarray],
    counts: Sequence[int],
    batch_tokens: int,
    sides: Sequence[Mapping[str, np.ndarray]] = (),
    *,
    exact: bool = False,
) -> list[np.ndarray]:
    """Greedy continuations of the prompts: int32, `counts[i]` tokens of prompt i.

    `sides`: the side inputs of each prompt, for a model that reads some. `exact`: every prompt runs alone, so that its
    text does not depend on the others even where products are rounded otherwise in a batch.

    Prompts that need about as many tokens share a batch, of at most `batch_tokens` tokens including padding and
    continuations, as far as the model allows it (`decoding_ways.way_of`). A text that has its count leaves its batch,
    so no token is generated in vain. Decoding goes on after an end-of-text token; the caller cuts there if it wants to.
    The model must be in evaluation mode.
    """
    import torch

    base = unwrapped(model)
    padding = pad_id(tokenizer)
    continuations: list[np.ndarray] = [np.zeros(0, dtype=np.int32)] * len(prompts)
    order = sorted((i for i, count in enumerate(counts) if count > 0), key=lambda i: (-counts[i], len(prompts[i]), i))
    if not order:
        return continuations
    with torch.no_grad():
        own = [sides[i] for i in order] if sides else []
        asked = [prompts[i] for i in order], [counts[i] for i in order]
        way = way_of(base, *asked, own, padding, alone=exact)
        alike = _alike(way, order, prompts)
        for batch in (batch for group in alike for batch in _batches(group, prompts, counts, batch_tokens)):
            ids, mask = pad_left([prompts[i] for i in batch], padding)
            of_batch = side_tensors(base, [sides[i] for i in batch] if sides else [])
            decoded = _decode(begin(base, ids, mask, of_batch, cached=way.cached), [counts[i] for i in batch])
            for i, continuation in zip(batch, decoded, strict=True):
                continuations[i] = continuation
    return continuations


def _alike(way: Way, order: Sequence[int], prompts: Sequence[np.ndarray]) -> list[list[int]]:
    """The prompts in groups that may share batches, in their order."""
    groups: dict[int, list[int]] = {}
    for i in order:
        groups.setdefault({"any": 0, "equal": len(prompts[i]), "none": i}[way.together], []).append(i)
    return list(groups.values())


def _batches(
    order: Sequence[int], prompts: Sequence[np.ndarray], counts: Sequence[int], batch_tokens: int
) -> Iterator[Sequence[int]]:
    """Batches of at most `batch_tokens` tokens, padding and continuations included, or of a single prompt."""
    while order:
        most = counts[order[0]]
        size, widest = 0, 0
        while size < len(order):
            widest = max(widest, len(prompts[order[size]]))
            if size and (size + 1) * (widest + most) > batch_tokens:
                break
            size += 1
        yield order[:size]
        order = order[size:]


def _decode(texts: "Texts", counts: Sequence[int]) -> list[np.ndarray]:
    """Decode a batch greedily: int32, `counts[i]` tokens of row i. Counts must not increase."""
    steps: list[np.ndarray] = []
    for step in range(counts[0]):
        first_choice = texts.next_logits().argmax(dim=-1)
        steps.append(first_choice.cpu().numpy())
        # Counts do not increase, so the texts that are done are the last rows.
        unfinished = sum(count > step + 1 for count in counts)
        if unfinished:
            texts.append(first_choice, unfinished)
    return [np.array([steps[t][row] for t in range(count)], dtype=np.int32) for row, count in enumerate(counts)]
