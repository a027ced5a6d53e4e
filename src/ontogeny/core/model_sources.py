"""Model sources: where a model comes from."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ontogeny.core.component import Component
from ontogeny.core.origin import Origin

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


T = TypeVar("T")


class SourceContext(Protocol):
    """What a model source needs to know: `models.build.LoadContext`."""

    @property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """What the texts are encoded with."""
        ...

    @property
    def length(self) -> int:
        """Longest sequence of the recipe, in tokens."""
        ...

    @property
    def seed(self) -> int:
        """Of random weights."""
        ...

    @property
    def dropout(self) -> float | None:
        """None: as the model's configuration says."""
        ...

    @property
    def origin(self) -> Origin | None:
        """Where the model exists already, as its source found it."""
        ...

    def load_pretrained(self, origin: Origin) -> "PreTrainedModel":
        """Load an existing model in float32, a LoRA adapter merged into it."""
        ...


class ModelSource(Component):
    """Where the model comes from."""

    @classmethod
    def register(cls) -> None:
        """Let transformers' Auto classes load what it builds. Nothing to do for architectures that transformers has."""

    def identity(self) -> dict[str, Any]:
        """What of it goes into a recipe's hash."""
        return self.model_dump(mode="json")

    def origin(self, resolve_run: Callable[[Any], T]) -> Origin | T | None:
        """Where it exists already; None if it is made from scratch. `resolve_run` finds an earlier run of ours."""
        return None

    @abstractmethod
    def load(self, context: SourceContext) -> "PreTrainedModel":
        """Build or load it: a Hugging Face causal language model on CPU, float32."""
