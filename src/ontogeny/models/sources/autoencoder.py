"""A small text autoencoder from scratch."""

from typing import Any

from pydantic import Field

from ontogeny.core.contracts import ModelSource
from ontogeny.core.seeds import derive_seed
from ontogeny.models.sources.ladder import Size, shape


class Autoencoder(ModelSource):
    """A GPT-NeoX decoder from scratch, with an encoder that sees the whole text and hands it a few vectors.

    The loss term `reconstruction` teaches it to write a text from its latents; `next_token`, to write by itself.
    """

    size: Size = "nano"
    """Of the decoder, as in `ladder`; the encoder has its width."""
    encoder_blocks: int = Field(default=2, ge=1)
    """Blocks of the encoder."""
    latents: int = Field(default=4, ge=1)
    """Vectors that a text is encoded into, of the decoder's width."""
    context_length: int | None = Field(default=None, ge=2)
    """Longest text in tokens, latents not counted; by default the passage length of the recipe."""

    @classmethod
    def register(cls) -> None:
        """Its architecture is ours."""
        from ontogeny.models.architectures.text_autoencoder import register

        register()

    def load(self, context: Any) -> Any:
        """Build it."""
        import torch

        from ontogeny.models.architectures.text_autoencoder import TextAutoencoder, TextAutoencoderConfig

        length = (self.context_length or context.length) + self.latents
        settings = shape(self.size, length, context.tokenizer, context.dropout)
        config = TextAutoencoderConfig(**settings, encoder_blocks=self.encoder_blocks, latents=self.latents)
        torch.manual_seed(derive_seed(context.seed, "initial weights"))
        return TextAutoencoder(config)
