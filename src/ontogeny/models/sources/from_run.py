"""A checkpoint of an earlier run of ours."""

from typing import Any, Self

from pydantic import model_validator

from ontogeny.core.contracts import ModelSource, Origin


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
        """The parent recipe counts by what shapes its weights, not by its name."""
        content = self.model_dump(mode="json")
        if self.recipe is not None:
            from ontogeny.core.recipe_file import load_recipe

            content["recipe"] = load_recipe(self.recipe, self.overrides).train_hash
        return content

    def origin(self, resolve_run: Any) -> Origin:
        """The checkpoint's directory; `resolve_run(self)` finds the run, or trains it."""
        return resolve_run(self)

    def load(self, context: Any) -> Any:
        """Load it in float32, adapters merged."""
        return context.load_pretrained(context.origin)
