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
def decoding(
    model: Any, tokenizer: Any, new_tokens: int, sampling: tuple[int, float, float] | None, *, ends: bool = True
) -> Iterator[None]:
    """Give the model a generation configuration of our own: what is left unsaid is filled in from the model's.

    `sampling`: texts per prompt, temperature, top-p; None for greedy. `ends`: may the end-of-text token end a text?
    """
    from transformers import GenerationConfig

    settings: dict[str, Any] = {"do_sample": False}
    if sampling is not None:
        draws, temperature, top_p = sampling
        settings = {
            "do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0, "num_return_sequences": draws
        }  # fmt: skip
    usual = model.generation_config
    model.generation_config = GenerationConfig(
        max_new_tokens=new_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id if ends else None,
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

    Prompts that want as many tokens go together, `batch_tokens` with padding and what is to be written. Nothing ends a
    text but its count: who wants an end-of-text token to end it cuts there. The model must be in evaluation mode.
    """
    import torch

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = next(base.parameters()).device
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
        with torch.no_grad(), decoding(base, tokenizer, most, None, ends=False):
            output = base.generate(
                input_ids=torch.from_numpy(ids).to(device), attention_mask=torch.from_numpy(mask).to(device)
            )
        for row, i in zip(output[:, ids.shape[1] :].cpu().numpy(), chosen, strict=True):
            written[i] = row[: counts[i]].astype(np.int32)
    return written
