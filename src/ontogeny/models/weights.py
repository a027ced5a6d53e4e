"""Effective weights of a model: what it computes with, whatever adapters and ties lie underneath."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.models.body_and_head import sides_taken, unwrapped

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_BLOCK = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed(?!_out)|wte|wpe|word_embeddings|position_embeddings|project_in)")


def effective_weights(model: "PreTrainedModel") -> "dict[str, Tensor]":
    """Parameters by name in the model's order: detached, on CPU, tied ones once, LoRA merged into the base's names.

    The model is not modified. Tensors that lie on CPU and carry no adapter share memory with the model: copy what has
    to outlive the next update.
    """
    return {name: tensor.detach().cpu() for name, tensor in _walk(unwrapped(model), "", set(), merge=_is_peft(model))}


def own_memory(model: "PreTrainedModel") -> None:
    """Move every parameter and buffer into memory of its own, in place; ties stay tied.

    Tensors that are mapped from a file begin at any byte. Products of a matrix and a single row then round differently
    than with the aligned memory of a live model, so what is loaded would not give the bits that were saved.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def fingerprint(weights: "Mapping[str, Tensor]") -> str:
    """SHA-256, in hex, over sorted names, dtypes, shapes and raw bytes. Tensors lie on CPU."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().contiguous()
        digest.update(f"{name}\x1f{str(tensor.dtype).removeprefix('torch.')}\x1f{tuple(tensor.shape)}\x1e".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def nonembedding_parameters(model: "PreTrainedModel") -> int:
    """Parameters of the base model without token and position embeddings and without the output projection.

    The N of Kaplan et al., "Scaling Laws for Neural Language Models" (2020); adapters do not count.
    """
    from torch import nn

    base = unwrapped(model)
    left_out = {id(p) for m in base.modules() if isinstance(m, nn.Embedding) for p in m.parameters(recurse=False)}
    head = base.get_output_embeddings()
    if head is not None:
        left_out |= {id(p) for p in head.parameters()}
    named = _walk(base, "", set(), merge=False)
    return sum(p.numel() for name, p in named if id(p) not in left_out and not _is_adapter_name(name))


def counted_flops_per_token(model: "PreTrainedModel", length: int) -> float:
    """FLOPs of one forward and backward pass per token of a sequence of `length`, counted operator by operator.

    A multiply-add counts as two. Attention is counted as the full `length x length` square, also where a causal kernel
    skips half of it. Counted by `torch.utils.flop_counter` on a copy without memory (device meta); NaN if the model
    cannot run there.
    """
    import copy

    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    twins: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
    }
    twins |= {id(b): torch.empty_like(b, device="meta") for b in model.buffers()}
    try:
        twin = copy.deepcopy(model, twins).eval()
        unwrapped(twin).set_attn_implementation("eager")
        ids = torch.zeros(1, length, dtype=torch.long, device="meta")
        with torch.enable_grad(), FlopCounterMode(display=False) as counter:
            sides = {
                name: torch.zeros(1, 1, width, device="meta", dtype=next(model.parameters()).dtype)
                for name, width in sides_taken(model).items()
            }
            twin(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **sides).logits.sum().backward()
    except (RuntimeError, NotImplementedError, ValueError):
        return float("nan")
    return float(counter.get_total_flops()) / length


def block_of(name: str) -> int | None:
    """Index of the transformer block that a parameter belongs to; None for embeddings, final norm and head.

    >>> block_of("gpt_neox.layers.3.mlp.dense_h_to_4h.weight"), block_of("transformer.h.0.ln_1.bias")
    (3, 0)
    >>> block_of("lm_head.weight") is None
    True
    """
    match = _BLOCK.search(name)
    return int(match.group(1)) if match else None


def block_axis(names: Iterable[str]) -> np.ndarray:
    """int64 `[len(names)]`: block of each parameter: -1 for embeddings, the block count for final norm and head."""
    names = list(names)
    blocks = [block_of(name) for name in names]
    count = max((block for block in blocks if block is not None), default=-1) + 1
    outside = [-1 if _EMBEDDING.search(name) else count for name in names]
    return np.array([o if b is None else b for b, o in zip(blocks, outside, strict=True)], dtype=np.int64)


def _is_peft(model: "PreTrainedModel") -> bool:
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def _is_adapter_name(name: str) -> bool:
    return any(part.startswith(("lora_", "modules_to_save")) for part in name.split("."))


def _walk(module: "nn.Module", prefix: str, seen: set[int], *, merge: bool) -> "Iterator[tuple[str, Tensor]]":
    """Named parameters in order. With `merge`, an adapted layer stands for its base with the adapter added."""
    if merge:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils import ModulesToSaveWrapper

        if isinstance(module, ModulesToSaveWrapper):
            module = module.modules_to_save[module.active_adapters[0]]
        elif isinstance(module, BaseTunerLayer):
            yield from _walk(_merged(module), prefix, set(), merge=False)
            return
    for name, parameter in module.named_parameters(recurse=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            yield prefix + name, parameter
    for name, child in module.named_children():
        yield from _walk(child, f"{prefix}{name}.", seen, merge=merge)


def _merged(layer: Any) -> "nn.Module":
    """The base layer with its active adapters added, as a copy."""
    import copy

    import torch

    own: nn.Module = layer.get_base_layer()
    if layer.merged or layer.disable_adapters or not layer.active_adapters:
        return own
    with torch.no_grad():
        twin = copy.deepcopy(layer)
        twin.merge()
    merged: nn.Module = twin.get_base_layer()
    return merged


def twin(model: "PreTrainedModel", weights: "Mapping[str, Tensor]") -> "PreTrainedModel":
    """A second model of the same shape with these effective weights, in evaluation mode, on the same device.

    Raises KeyError if a weight is missing. Memory: once the model.
    """
    import torch

    base = unwrapped(model)
    made = type(base)(base.config).eval()
    torch.nn.Module.to(made, next(base.parameters()).device)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(weights[name])
    return made.requires_grad_(False)
