"""A checkpoint of an earlier run of ours."""

from contextvars import ContextVar
from typing import Any, Self

from pydantic import model_validator

from ontogeny.core.contracts import ModelSource
from ontogeny.core.errors import RecipeError
from ontogeny.core.origin import Origin

_BEING_READ: ContextVar[tuple[tuple[str, tuple[str, ...]], ...]] = ContextVar("being_read", default=())
"""The parent recipes that are being identified, each with its overrides: the chain from child to ancestor."""


class FromRun(ModelSource):
    """The model, and the tokenizer, that another run ended with (or had at a step)."""

    recipe: str | None = None
    """A recipe by name or path: its run is reused if it is there, and trained first if not."""
    overrides: tuple[str, ...] = ()
    """Overrides of that recipe, such as model.size=mini."""
    run: str | None = None
    """Or the directory of a run."""
    step: int | None = None
    """At which checkpoint; by default the last."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.recipe is None) == (self.run is None):
            raise ValueError("say either recipe or run")
        return self

    def identity(self) -> dict[str, Any]:
        """The parent recipe counts by what shapes its weights, not by its name.

        Raises RecipeError if it is its own ancestor.
        """
        content = self.model_dump(mode="json")
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

    def origin(self, resolve_run: Any) -> Origin:
        """The checkpoint's directory; `resolve_run(self)` finds the run, or trains it."""
        return resolve_run(self)

    def load(self, context: Any) -> Any:
        """Load it in float32, adapters merged."""
        return context.load_pretrained(context.origin)
