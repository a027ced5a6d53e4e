"""A small text autoencoder from scratch."""

from typing import TYPE_CHECKING

from pydantic import Field

from ontogeny.core.model_sources import ModelSource, SourceContext
from ontogeny.core.seeds import derive_seed
from ontogeny.models.sources.ladder import Size, shape

if TYPE_CHECKING:
    from ontogeny.models.architectures.text_autoencoder import TextAutoencoder


class Autoencoder(ModelSource):
    """A GPT-NeoX decoder from scratch, with an encoder that turns the whole text into a few latent vectors for it.

    The loss term `reconstruction` trains it to write a text from its latents; `next_token`, to write without them.
    """

    size: Size = "nano"
    """Size of the decoder, as in `ladder`; the encoder has the same width."""
    encoder_blocks: int = Field(default=2, ge=1)
    """Blocks of the encoder."""
    latents: int = Field(default=4, ge=1)
    """Latent vectors per text, of the decoder's width."""
    context_length: int | None = Field(default=None, ge=2)
    """Longest text in tokens, without latents; by default the recipe's longest passage or window."""

    @classmethod
    def register(cls) -> None:
        """Make transformers know the architecture, which is ours."""
        from ontogeny.models.architectures.text_autoencoder import register

        register()

    def load(self, context: SourceContext) -> "TextAutoencoder":
        """Build it, with weights drawn from the training seed."""
        import torch

        from ontogeny.models.architectures.text_autoencoder import TextAutoencoder, TextAutoencoderConfig

        length = (self.context_length or context.length) + self.latents
        settings = shape(self.size, length, context.tokenizer, context.dropout)
        config = TextAutoencoderConfig(**settings, encoder_blocks=self.encoder_blocks, latents=self.latents)
        torch.manual_seed(derive_seed(context.seed, "initial weights"))
        return TextAutoencoder(config)
