"""A causal language model as a body and a head, so that a measure need not hold all logits at once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ontogeny.core.errors import DataError, OntogenyError
from ontogeny.core.terms import ModelShape
from ontogeny.models.experts import number_of_experts

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel


class NotCausalError(OntogenyError):
    """The model sees the token that it predicts: its NLL means nothing."""


class Body(NamedTuple):
    """What the body gives: `last_hidden` [B, T, D] after the final norm; the rest None unless asked for."""

    last_hidden: "Tensor"
    hidden_states: "tuple[Tensor, ...] | None" = None
    """Embeddings, then the output of each block, the last one after the final norm: [B, T, D] each."""
    last_block: "Tensor | None" = None
    """Output of the last block before the final norm [B, T, D]; the last of `hidden_states` where there is no norm."""
    attentions: "tuple[Tensor, ...] | None" = None
    """Attention probabilities of each block: [B, heads, T, T] each."""


def unwrapped(model: "nn.Module") -> "PreTrainedModel":
    """The model inside wrappers for distribution, compilation and adapters."""
    inner: Any = model
    for name in ("module", "_orig_mod"):
        inner = getattr(inner, name, inner)
    base: PreTrainedModel = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    return base


def sides_taken(model: "nn.Module") -> Mapping[str, int]:
    """Side inputs that a model declares in its attribute `sides`: name and width. Its `forward` takes them by name."""
    sides: Mapping[str, int] = getattr(unwrapped(model), "sides", {})
    return sides


def side_arguments(model: "nn.Module", sides: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Of a batch's side inputs those that the model takes, in float64 where its weights are.

    Raises DataError if it takes one that the passages do not carry.
    """
    import torch

    taken = {}
    for name in sides_taken(model):
        if name not in sides:
            raise DataError(f"the model reads the side input '{name}', which these passages do not carry")
        taken[name] = sides[name].double() if next(model.parameters()).dtype == torch.float64 else sides[name]
    return taken


def shape_of(model: "nn.Module") -> ModelShape:
    """The sizes of a model, from its configuration."""
    base = unwrapped(model)
    embedding: nn.Embedding = base.get_input_embeddings()  # type: ignore[assignment] # of a text model it is one
    config = base.config.get_text_config()
    return ModelShape(
        width=int(config.hidden_size),
        blocks=int(config.num_hidden_layers),
        heads=int(getattr(config, "num_attention_heads", 0)),  # Mamba and RWKV have none
        vocabulary=embedding.num_embeddings,
        experts=number_of_experts(base),
    )


def _decoder_of(base: "PreTrainedModel") -> "nn.Module":
    """The part of a model below its output projection; the model itself where it names none."""
    decoder: nn.Module = base.get_decoder() if hasattr(base, "get_decoder") else base.base_model
    if decoder is not base:
        return decoder
    inner = [child for child in base.children() if hasattr(child, "get_input_embeddings")]  # Llama 4 names itself
    return inner[0] if len(inner) == 1 else base


class BodyAndHead:
    """Body and output projection of a Hugging Face causal language model.

    The contract for a model of one's own, such as an adapter in front of a frozen model: a `PreTrainedModel` whose
    `forward` takes `input_ids`, `attention_mask` and the side inputs that its attribute `sides` declares (float32
    [B, n, d]), and returns logits, hidden states and attentions at the text's own positions. It may also have
    `text_body`, which takes the same and returns what stands below the output projection; the body is else the decoder
    alone.

    Body and head are checked once, on a tiny batch, to give the bits of the model's own logits. A model that does
    something else (soft-capping, scaling, side inputs that the decoder does not know) does not: then `whole` is True,
    `body` gives the logits themselves in the place of `last_hidden`, and `head` gives them back.

    Raises NotCausalError if a token's logits depend on later tokens.
    """

    def __init__(self, model: "nn.Module") -> None:
        self.model: Any = model
        self._base: Any = unwrapped(model)
        self.sides = sides_taken(model)
        self._decoder = _decoder_of(self._base)
        self._body = getattr(self._base, "text_body", self._decoder)
        self._projection = self._base.get_output_embeddings()
        self.device: torch.device = next(model.parameters()).device
        self.whole = False
        self._verify()

    @property
    def context_length(self) -> int | None:
        """Longest sequence the model can take, in tokens; None if its configuration names none."""
        length = getattr(self._base.config.get_text_config(), "max_position_embeddings", None)
        return int(length) if length else None

    def body(
        self,
        input_ids: "Tensor",
        attention_mask: "Tensor | None" = None,
        hidden_states: bool = False,
        last_block: bool = False,
        attentions: bool = False,
        sides: "Mapping[str, Tensor] | None" = None,
    ) -> Body:
        """Run everything below the output projection. `input_ids` int64 [B, T]; `sides` float32 [B, n, d] by name.

        Right padding needs no mask: a causal model's real tokens never see it. Attentions cost a second pass, with
        eager attention, so that asking for them leaves all else as it was. Raises DataError if the model declares a
        side input that is not given.
        """
        asked: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
        given = side_arguments(self.model, sides or {})
        whole = self.whole
        run = self.model if whole else self._body
        extra = given if whole or run is not self._decoder else {}
        with self._before_norm(last_block) as before:
            output = run(**asked, **extra, output_hidden_states=hidden_states or last_block)
        last = output.logits if whole else output.last_hidden_state
        states = output.hidden_states if hidden_states else None
        block = (before[0] if before else output.hidden_states[-1]) if last_block else None
        return Body(last, states, block, self._attentions(asked, given) if attentions else None)

    def head(self, hidden: "Tensor") -> "Tensor":
        """Logits [..., V] of hidden states [..., D]."""
        if self.whole:
            return hidden
        logits: Tensor = self._projection(hidden)
        return logits

    @property
    def projection(self) -> "tuple[Tensor, Tensor | None] | None":
        """Weight [V, D] and bias [V] of the head where it is a plain linear layer; else None."""
        from torch import nn

        if self.whole or type(self._projection) is not nn.Linear:
            return None
        return self._projection.weight, self._projection.bias

    @contextmanager
    def _before_norm(self, wanted: bool) -> "Iterator[list[Tensor]]":
        """Catches what goes into the final norm: the decoder's last child of that kind. Empty if there is none."""
        caught: list[Tensor] = []
        norms = [child for child in self._decoder.children() if "norm" in type(child).__name__.lower()]
        if not wanted or not norms:
            yield caught
            return
        handle = norms[-1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
        try:
            yield caught
        finally:
            handle.remove()

    def _attentions(self, asked: dict[str, Any], sides: "dict[str, Tensor]") -> "tuple[Tensor, ...]":
        usual = self._base.config._attn_implementation
        self._base.set_attn_implementation("eager")
        run = self.model if sides else self._decoder
        try:
            attentions = getattr(run(**asked, **sides, output_attentions=True), "attentions", None)
        finally:
            self._base.set_attn_implementation(usual)
        blocks = shape_of(self.model).blocks
        if attentions is None or sum(attention is not None for attention in attentions) < blocks:
            raise DataError(
                f"{type(self._base).__name__} has no attention probabilities in each of its {blocks} blocks: leave out "
                "what reads `attentions`, or take a model of attention alone"
            )
        return tuple(attentions)

    def _verify(self) -> None:
        """Compare body and head with the whole model, and the past with another future."""
        import torch

        was_training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        length = min(8, self.context_length or 8)
        vocabulary = self._base.get_input_embeddings().weight.shape[0]
        ids = (torch.arange(length, device=self.device) * 7 + 1).remainder(vocabulary).repeat(2, 1)
        ids[1, -1] = (ids[1, -1] + 1) % vocabulary
        sides = {
            name: torch.linspace(-1, 1, width, device=self.device).repeat(2, 1, 1) for name, width in self.sides.items()
        }
        try:
            with torch.no_grad():
                parts = self.head(self.body(ids, sides=sides).last_hidden) if self._projection is not None else None
                self.whole = True
                logits = self.body(ids, sides=sides).last_hidden
                self.whole = parts is None or not torch.equal(parts, logits)
        finally:
            for module in was_training:
                module.training = True
        apart = (logits[0, :-1] - logits[1, :-1]).abs().max()
        if apart > 2 * torch.finfo(logits.dtype).eps * logits.abs().max():
            raise NotCausalError(
                f"{type(self._base).__name__} sees later tokens (another last token changed earlier logits by "
                f"{float(apart):.2g}): load a causal language model, or set is_decoder in its config.json"
            )
