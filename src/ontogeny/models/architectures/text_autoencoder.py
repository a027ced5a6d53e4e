"""A small text autoencoder and causal language model: with latents it reconstructs, without them it writes."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

from ontogeny.core.errors import RecipeError
from ontogeny.models.body_and_head import unwrapped

MODEL_TYPE = "ontogeny_text_autoencoder"


class TextAutoencoderConfig(GPTNeoXConfig):
    """GPT-NeoX's configuration, for the decoder, and the encoder's size."""

    model_type = MODEL_TYPE
    encoder_blocks: int = 2
    """Blocks of the encoder, in the decoder's width."""
    latents: int = 4
    """Vectors that a text is encoded into; the decoder sees them before the text."""


class TextAutoencoder(GPTNeoXForCausalLM):
    """GPT-NeoX as decoder, and an encoder that sees the whole text.

    Without latents it is an ordinary causal language model. With `reconstruct`, the encoder (blocks of bidirectional
    attention over the decoder's token embeddings and learned positions, before the norm) reads the text; the mean of
    its states over the text gives `latents` vectors through one linear layer, and the decoder sees these first.
    """

    config_class = TextAutoencoderConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width = config.hidden_size
        block = nn.TransformerEncoderLayer(
            width,
            config.num_attention_heads,
            config.intermediate_size,
            dropout=config.hidden_dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            block, config.encoder_blocks, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.encoder_positions = nn.Embedding(config.max_position_embeddings, width)
        self.to_latents = nn.Linear(width, width * config.latents)
        self.post_init()

    def get_decoder(self) -> Any:
        """What stands below the output projection."""
        return self.gpt_neox

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Latents [B, K, D] of texts [B, T], padding left out."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        states = self.gpt_neox.embed_in(input_ids) + self.encoder_positions(places)
        states = self.encoder(states, src_key_padding_mask=mask == 0)
        share = mask.unsqueeze(2) / mask.sum(dim=1)[:, None, None]
        mean = (states * share.to(states.dtype)).sum(dim=1)
        latents: Tensor = self.to_latents(mean).unflatten(1, (self.config.latents, -1))
        return latents

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        reconstruct: bool = False,
        latents: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As a causal language model; with `latents` [B, K, D], or those of `input_ids` if it is to `reconstruct`.

        Logits and hidden states are those of the text's own positions [B, T, ...]; padding is on the right.
        """
        if reconstruct and latents is None:
            assert input_ids is not None
            latents = self.encode(input_ids, attention_mask)
        if latents is None:
            return super().forward(input_ids, attention_mask, *args, **kwargs)
        assert input_ids is not None
        embeddings = torch.cat([latents, self.gpt_neox.embed_in(input_ids)], dim=1)
        if attention_mask is not None:
            attention_mask = torch.cat([attention_mask.new_ones(latents.shape[:2]), attention_mask], dim=1)
        output = super().forward(None, attention_mask, inputs_embeds=embeddings, **kwargs)
        before = latents.shape[1]
        output.logits = output.logits[:, before:]
        if output.hidden_states is not None:
            output.hidden_states = tuple(state[:, before:] for state in output.hidden_states)
        return output


def register() -> None:
    """Let Auto classes load it from a checkpoint."""
    AutoConfig.register(MODEL_TYPE, TextAutoencoderConfig, exist_ok=True)
    AutoModelForCausalLM.register(TextAutoencoderConfig, TextAutoencoder, exist_ok=True)


def require_autoencoder(model: nn.Module, wanted_by: str) -> TextAutoencoder:
    """The autoencoder inside wrappers. Raises RecipeError, naming who wants it, where there is none."""
    inner = unwrapped(model)
    if not isinstance(inner, TextAutoencoder):
        raise RecipeError(
            f"{wanted_by} needs an autoencoder, not {type(inner).__name__}: write model: {{kind: autoencoder}}"
        )
    return inner
