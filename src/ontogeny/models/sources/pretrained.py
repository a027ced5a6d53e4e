"""An existing model: a Hugging Face id or a local directory."""

from typing import TYPE_CHECKING

from ontogeny.core.model_sources import ModelSource, SourceContext
from ontogeny.core.origin import Origin

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Pretrained(ModelSource):
    """A causal language model from a local directory or a hub."""

    path: str
    """Directory written by save_pretrained, or a hub id."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Run the Python code that comes with the model. Only for code that you have read."""

    def origin(self, resolve_run: object) -> Origin:
        """Where model and tokenizer are; `resolve_run` is not needed."""
        return Origin(path=self.path, revision=self.revision, trust_remote_code=self.trust_remote_code)

    def load(self, context: SourceContext) -> "PreTrainedModel":
        """Load it in float32."""
        return context.load_pretrained(self.origin(None))
