"""GPT-NeoX models from scratch: four sizes for a laptop, and those of Pythia."""

from typing import TYPE_CHECKING, Literal, TypedDict

from pydantic import Field

from ontogeny.core.errors import DataError
from ontogeny.core.model_sources import ModelSource, SourceContext
from ontogeny.core.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerBase

Size = Literal[
    "pico", "nano", "micro", "mini", "14m", "31m", "70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"
]

_SHAPES: dict[str, tuple[int, int, int]] = {
    "pico": (24, 2, 2),
    "nano": (64, 2, 4),
    "micro": (128, 4, 4),
    "mini": (256, 6, 8),
    "14m": (128, 6, 4),
    "31m": (256, 6, 8),
    "70m": (512, 6, 8),
    "160m": (768, 12, 12),
    "410m": (1024, 24, 16),
    "1b": (2048, 16, 8),
    "1.4b": (2048, 24, 16),
    "2.8b": (2560, 32, 32),
    "6.9b": (4096, 32, 32),
    "12b": (5120, 36, 40),
}
"""By size: width, blocks, attention heads."""


class GPTNeoXShape(TypedDict):
    """Settings of a GPT-NeoX configuration."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None
    hidden_dropout: float
    attention_dropout: float
    tie_word_embeddings: bool


class Ladder(ModelSource):
    """A GPT-NeoX model from scratch, its weights drawn from the training seed."""

    size: Size = "nano"
    """pico 0.11 M, nano 0.36 M, micro 1.32 M, mini 5.79 M parameters at a vocabulary of 2048; then Pythia's sizes."""
    context_length: int | None = Field(default=None, ge=2)
    """Longest sequence in tokens; by default the recipe's longest passage or window."""

    def load(self, context: SourceContext) -> "GPTNeoXForCausalLM":
        """Build it. Raises DataError if `context_length` is too short for the recipe's sequences."""
        import torch
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        if self.context_length is not None and self.context_length < context.length:
            raise DataError(
                f"model.context_length is {self.context_length}, the recipe has sequences of {context.length} tokens: "
                f"write context_length: {context.length}, or shorter passages and windows"
            )
        settings = shape(self.size, self.context_length or context.length, context.tokenizer, context.dropout)
        config = GPTNeoXConfig(**settings)
        torch.manual_seed(derive_seed(context.seed, "initial weights"))
        return GPTNeoXForCausalLM(config)


def shape(size: Size, length: int, tokenizer: "PreTrainedTokenizerBase", dropout: float | None) -> GPTNeoXShape:
    """Settings of a model of that size; special-token ids are the tokenizer's, not the configuration's defaults."""
    width, blocks, heads = _SHAPES[size]
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_dropout": dropout or 0.0,
        "attention_dropout": dropout or 0.0,
        "tie_word_embeddings": False,
    }
