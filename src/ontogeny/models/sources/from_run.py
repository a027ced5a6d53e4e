"""A checkpoint of an earlier Ontogeny run."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self, TypeVar

from pydantic import JsonValue, model_validator

from ontogeny.core.errors import RecipeError
from ontogeny.core.model_sources import ModelSource, SourceContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")

_BEING_READ: ContextVar[tuple[tuple[str, tuple[str, ...]], ...]] = ContextVar("being_read", default=())
"""The parent recipes that are being hashed, each with its overrides: the chain from child to ancestor."""


class FromRun(ModelSource):
    """The model and tokenizer of another run, at its end or at a given step."""

    recipe: str | None = None
    """A recipe by name or path: its run is reused if it exists, else trained first."""
    overrides: tuple[str, ...] = ()
    """Overrides for that recipe, such as model.size=mini."""
    run: str | None = None
    """Instead of `recipe`: the directory of a run."""
    step: int | None = None
    """Step of the checkpoint; by default the last one."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.recipe is None) == (self.run is None):
            raise ValueError("say either recipe or run")
        return self

    def identity(self) -> dict[str, JsonValue]:
        """The settings, with the parent recipe's `train_hash` in place of its name.

        Raises RecipeError if the recipe is its own ancestor.
        """
        content: dict[str, JsonValue] = self.model_dump(mode="json")
        if self.recipe is not None:
            content["recipe"] = self._train_hash(self.recipe)
        return content

    def _train_hash(self, recipe: str) -> str:
        from ontogeny.core.recipe_file import load_recipe

        chain = (*_BEING_READ.get(), (recipe, self.overrides))
        if chain[-1] in chain[:-1]:
            cycle = " from ".join(name for name, _ in chain[chain.index(chain[-1]) :])
            raise RecipeError(f"model: {cycle}: a model cannot come from itself; let one of these start from another")
        before = _BEING_READ.set(chain)
        try:
            return load_recipe(recipe, self.overrides).train_hash
        finally:
            _BEING_READ.reset(before)

    def origin(self, resolve_run: Callable[["FromRun"], T]) -> T:
        """Where its checkpoint is: what `resolve_run` returns, which finds the run or trains it."""
        return resolve_run(self)

    def load(self, context: SourceContext) -> "PreTrainedModel":
        """Load it in float32, adapters merged."""
        assert context.origin is not None  # a model from a run exists before it is loaded
        return context.load_pretrained(context.origin)
