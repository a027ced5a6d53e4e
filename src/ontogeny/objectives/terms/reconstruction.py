"""The loss of an autoencoder: the text, given what its encoder made of it."""

from typing import TYPE_CHECKING

from ontogeny.core.terms import Forward, Term, Unit

if TYPE_CHECKING:
    from torch import Tensor


class ReconstructionTerm(Term):
    """Negative log-likelihood of the supervised tokens given the ones before them and the latents of the whole text.

    A sum over tokens, in nats; the first token is given, as everywhere. Needs a model that takes `reconstruct`, as
    `model: {kind: autoencoder}` does. Raises RecipeError with any other.
    """

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum of NLL over the supervised tokens of the batch; the unit is one supervised token."""
        from torch.nn import functional as F

        from ontogeny.models.architectures.text_autoencoder import require_autoencoder

        require_autoencoder(forward.model, "the loss term 'reconstruction'")
        output = forward.model(
            input_ids=forward.input_ids, attention_mask=forward.attention_mask, use_cache=False, reconstruct=True
        )
        targets = forward.input_ids.masked_fill(~forward.supervised, -100)[:, 1:]
        logits = output.logits[:, :-1].float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"), "tokens"
