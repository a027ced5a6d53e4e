"""Generation: padding on the left, with an attention mask, and with the tokenizer's special tokens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.data.collate import stacked
from ontogeny.models.body_and_head import sides_taken, unwrapped

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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


def pad_left(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and attention mask, int64 `[B, T]`."""
    width = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), width), pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return ids, mask


@contextmanager
def decoding(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", new_tokens: int, sampling: Sampling | None
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
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=pad_id(tokenizer),
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
) -> list[np.ndarray]:
    """Greedy continuations of the prompts: int32, `counts[i]` tokens of prompt i.

    `sides`: the side inputs of each prompt, for a model that reads some.

    Prompts that need about as many tokens share a batch, of at most `batch_tokens` tokens including padding and
    continuations. A text that has its count leaves its batch, so no token is generated in vain. Decoding goes on after
    an end-of-text token; the caller cuts there if it wants to. The model must be in evaluation mode.
    """
    import torch

    base = unwrapped(model)
    continuations: list[np.ndarray] = [np.zeros(0, dtype=np.int32)] * len(prompts)
    order = sorted((i for i, count in enumerate(counts) if count > 0), key=lambda i: (-counts[i], len(prompts[i]), i))
    while order:
        most = counts[order[0]]
        size, widest = 0, 0
        while size < len(order):
            widest = max(widest, len(prompts[order[size]]))
            if size and (size + 1) * (widest + most) > batch_tokens:
                break
            size += 1
        batch, order = order[:size], order[size:]
        ids, mask = pad_left([prompts[i] for i in batch], pad_id(tokenizer))
        with torch.no_grad():
            own = side_tensors(base, [sides[i] for i in batch] if sides else [])
            decoded = _decode(base, ids, mask, [counts[i] for i in batch], own)
        for i, continuation in zip(batch, decoded, strict=True):
            continuations[i] = continuation
    return continuations


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


def _decode(
    model: "PreTrainedModel", ids: np.ndarray, mask: np.ndarray, counts: Sequence[int], sides: "dict[str, Tensor]"
) -> list[np.ndarray]:
    """Decode a batch, padded on the left, greedily: int32, `counts[i]` tokens of row i. Counts must not increase."""
    import inspect

    import torch

    device = next(model.parameters()).device
    accepted = inspect.signature(model.forward).parameters
    attended = torch.from_numpy(mask).to(device)
    inputs = torch.from_numpy(ids).to(device)
    positions = (attended.cumsum(dim=1) - 1).clamp(min=0)  # padding must not shift them
    optional = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
    cache = None
    steps: list[np.ndarray] = []
    for step in range(counts[0]):
        places = {"position_ids": positions} if "position_ids" in accepted else {}
        output = model(
            input_ids=inputs,
            attention_mask=attended,
            past_key_values=cache,
            use_cache=True,
            **places,
            **optional,
            **sides,
        )
        cache = output.past_key_values
        first_choice = output.logits[:, -1].argmax(dim=-1)
        steps.append(first_choice.cpu().numpy())
        # Counts do not increase, so the texts that are done are the last rows.
        unfinished = sum(count > step + 1 for count in counts)
        if unfinished < len(first_choice):
            cache.batch_select_indices(torch.arange(unfinished, device=device))
        sides = {name: tensor[:unfinished] for name, tensor in sides.items()}
        inputs = first_choice[:unfinished, None]
        positions = positions[:unfinished, -1:] + 1
        attended = torch.cat([attended[:unfinished], attended.new_ones((unfinished, 1))], dim=1)
    return [np.array([steps[t][row] for t in range(count)], dtype=np.int32) for row, count in enumerate(counts)]
