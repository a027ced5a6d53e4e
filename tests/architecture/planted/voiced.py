"""A model that reads a vector beside the text: an adapter in front of a causal language model, in one file."""

from typing import TYPE_CHECKING, Any, ClassVar

from ontogeny.core.model_sources import ModelSource, SourceContext
from ontogeny.core.seeds import derive_seed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WIDTH = 3


class Voiced(ModelSource):
    """GPT-NeoX whose token embeddings have a projection of the side input `voice` added."""

    @classmethod
    def register(cls) -> None:
        """Let Auto classes load it."""
        from transformers import AutoConfig, AutoModelForCausalLM

        config, model = _classes()
        AutoConfig.register("planted_voiced", config, exist_ok=True)
        AutoModelForCausalLM.register(config, model, exist_ok=True)

    def load(self, context: SourceContext) -> "PreTrainedModel":
        """From scratch, as small as can be."""
        import torch

        from ontogeny.models.sources.ladder import shape

        config, model = _classes()
        torch.manual_seed(derive_seed(context.seed, "initial weights"))
        made: PreTrainedModel = model(config(**shape("pico", context.length, context.tokenizer, context.dropout)))
        return made


_MADE: list[tuple[Any, Any]] = []


def _classes() -> tuple[Any, Any]:
    """Configuration and model, made once: transformers is imported only here."""
    if _MADE:
        return _MADE[0]
    from torch import nn
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    class VoicedConfig(GPTNeoXConfig):
        model_type = "planted_voiced"

    class VoicedModel(GPTNeoXForCausalLM):
        config_class = VoicedConfig
        sides: ClassVar[dict[str, int]] = {"voice": WIDTH}

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.adapter = nn.Linear(WIDTH, config.hidden_size)
            self.post_init()

        def forward(self, input_ids: Any = None, attention_mask: Any = None, voice: Any = None, **kwargs: Any) -> Any:
            embedded = self.gpt_neox.embed_in(input_ids) + self.adapter(voice[:, :1])
            return super().forward(None, attention_mask, inputs_embeds=embedded, **kwargs)

    _MADE.append((VoicedConfig, VoicedModel))
    return _MADE[0]
