"""Letting a model write: padding on the left, with an attention mask, and with the tokenizer's special tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np


def pad_id(tokenizer: Any) -> int:
    """The id to pad with: the tokenizer's, or its end-of-text token; what stands there is masked."""
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
def decoding(model: Any, tokenizer: Any, new_tokens: int, sampling: tuple[int, float, float] | None) -> Iterator[None]:
    """Give the model a generation configuration of our own: what is left unsaid is filled in from the model's.

    `sampling`: texts per prompt, temperature, top-p; None for greedy.
    """
    from transformers import GenerationConfig

    settings: dict[str, Any] = {"do_sample": False}
    if sampling is not None:
        draws, temperature, top_p = sampling
        settings = {
            "do_sample": True,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": 0,
            "num_return_sequences": draws,
        }
    usual = model.generation_config
    model.generation_config = GenerationConfig(
        max_new_tokens=new_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=pad_id(tokenizer),
        **settings,
    )
    try:
        yield
    finally:
        model.generation_config = usual


def continue_greedily(
    model: Any, tokenizer: Any, prompts: Sequence[np.ndarray], counts: Sequence[int], batch_tokens: int
) -> list[np.ndarray]:
    """What greedy decoding writes after each prompt: int32 arrays of `counts` tokens each.

    Prompts that want as many tokens go together, `batch_tokens` with padding and what is to be written; a text that has
    its count leaves its batch, so nothing is written beyond it. An end-of-text token ends nothing: who wants that cuts
    there. The model must be in evaluation mode.
    """
    import torch

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    written: list[np.ndarray] = [np.zeros(0, dtype=np.int32)] * len(prompts)
    order = sorted((i for i, count in enumerate(counts) if count > 0), key=lambda i: (-counts[i], len(prompts[i]), i))
    while order:
        most = counts[order[0]]
        size, widest = 0, 0
        while size < len(order):
            widest = max(widest, len(prompts[order[size]]))
            if size and (size + 1) * (widest + most) > batch_tokens:
                break
            size += 1
        chosen, order = order[:size], order[size:]
        ids, mask = pad_left([prompts[i] for i in chosen], pad_id(tokenizer))
        with torch.no_grad():
            lines = _write(base, ids, mask, [counts[i] for i in chosen])
        for i, line in zip(chosen, lines, strict=True):
            written[i] = line
    return written


def _write(model: Any, ids: np.ndarray, mask: np.ndarray, counts: Sequence[int]) -> list[np.ndarray]:
    """Decode a batch, padded on the left, whose counts fall: int32 arrays of so many tokens."""
    import inspect

    import torch

    device = next(model.parameters()).device
    known = inspect.signature(model.forward).parameters
    seen = torch.from_numpy(mask).to(device)
    inputs = torch.from_numpy(ids).to(device)
    positions = (seen.cumsum(dim=1) - 1).clamp(min=0)
    extra = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
    cache = None
    steps: list[np.ndarray] = []
    for step in range(counts[0]):
        places = {"position_ids": positions} if "position_ids" in known else {}
        output = model(input_ids=inputs, attention_mask=seen, past_key_values=cache, use_cache=True, **places, **extra)
        cache = output.past_key_values
        first_choice = output.logits[:, -1].argmax(dim=-1)
        steps.append(first_choice.cpu().numpy())
        alive = sum(count > step + 1 for count in counts)
        if alive < len(first_choice):
            cache.batch_select_indices(torch.arange(alive, device=device))
        inputs = first_choice[:alive, None]
        positions = positions[:alive, -1:] + 1
        seen = torch.cat([seen[:alive], seen.new_ones((alive, 1))], dim=1)
    return [np.array([steps[t][row] for t in range(count)], dtype=np.int32) for row, count in enumerate(counts)]
