"""Texts that a model writes, drawn token by token from its own distribution."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel


def continuations(
    model: "PreTrainedModel",
    prompts: "Tensor",
    tokens: int,
    temperature: float,
    generator: "torch.Generator",
    known: int | None = None,
) -> "Tensor":
    """What the model writes after each prompt, int64 `[B, tokens]` on CPU.

    `prompts`: int64 `[B, P]`, P at least 1 and without padding. `temperature` divides the logits. `known`: only ids
    below it are drawn; by default all that the model has. Draws are made on the CPU by `generator`. The model's mode,
    and whether gradients are taken, are the caller's. One that carries states instead of keys and values reads its text
    again for every token.
    """
    import torch

    device = next(model.parameters()).device
    states = bool(getattr(model, "_is_stateful", False))
    text, cache = [prompts], None
    for _ in range(tokens):
        read = torch.cat(text if states or cache is None else text[-1:], dim=1).to(device)
        if states:
            output = model(input_ids=read, use_cache=False)
        else:
            output = model(input_ids=read, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
        probabilities = (output.logits[:, -1, :known].float() / temperature).softmax(-1).cpu()
        text.append(torch.multinomial(probabilities, 1, generator=generator))
    return torch.cat([prompts[:, :0], *text[1:]], dim=1)
