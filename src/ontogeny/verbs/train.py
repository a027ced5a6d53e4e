"""The verbs that train: run, resume, demo."""

import contextlib
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from pydantic import JsonValue

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import apply_overrides, load_recipe, validate
from ontogeny.runs.execute import execute, resume, run_path
from ontogeny.runs.parents import recipe_of
from ontogeny.store.run import open_run
from ontogeny.store.schema import PROVENANCE
from ontogeny.train.training import Listener
from ontogeny.verbs.console import listening
from ontogeny.verbs.live_page import LivePage


def recipe_for_text(text: Sequence[Path], model: str | None, overrides: Sequence[str]) -> Recipe:
    """The recipe that ``ontogeny run --text FILE --model DIR`` stands for, with everything written out."""
    missing = [str(path) for path in text if not path.exists()]
    if missing:
        raise OntogenyError(f"--text {missing[0]}: no such file")
    tree: dict[str, JsonValue] = {
        "name": re.sub(r"[^A-Za-z0-9_-]+", "-", text[0].stem).strip("-_") or "text",
        "about": f"Train on {', '.join(path.name for path in text)}.",
        "data": {
            "corpora": {"text": {"kind": "text", "path": [str(path) for path in text]}, "prose": "python_prose"},
            "splits": {"train": 0.8, "novel": 0.2},
            "train": [{"of": "text/train"}],
            "probes": {
                "train": {"of": "text/train", "at_most": 32, "spread": True},
                "novel": {"of": "text/novel", "at_most": 32, "spread": True},
                "general": {"of": "prose/novel", "at_most": 32, "spread": True},
            },
        },
        **({} if model else {"tokenizer": {"vocab_size": 2048, "corpora": ["text"]}}),
        "model": {"kind": "pretrained", "path": model} if model else {"kind": "ladder", "size": "nano"},
        "train": {"epochs": 3, "batch": 8, "lr": {"shape": "cosine", "value": 5e-5 if model else 3e-3, "warmup": 0.05}},
        "checkpoints": {"every_epochs": 0.5},
        "measures": ["evaluation", "token_nll", "weight_drift", "extraction"],
    }
    return validate(apply_overrides(tree, overrides), "the recipe made from --text")


def run_recipe(
    recipe: Recipe, *, runs_dir: Path, to: Path | None, quiet: bool, track: Sequence[str] = (), page: bool = True
) -> Path:
    """Execute a recipe with progress, a live page and the final page with figures; return the run directory.

    With `page=False` no page is written: a caller that executes many runs writes one page for all.
    """

    def work(on: Listener) -> Path:
        return execute(recipe, runs_dir=runs_dir, to=to, listen=on)

    with listening(quiet=quiet) as listen, _mirrored(listen, track, recipe) as mirrored:
        return _with_page(to or run_path(recipe, runs_dir), mirrored, work) if page else work(mirrored)


def resume_run(path: Path, *, steps: int | None, quiet: bool, track: Sequence[str] = ()) -> Path:
    """Continue a run, and write its page."""
    recipe = recipe_of(open_run(path))
    with listening(quiet=quiet) as listen, _mirrored(listen, track, recipe) as mirrored:
        return _with_page(path, mirrored, lambda on: resume(path, steps=steps, listen=on))


def _with_page(path: Path, listen: Listener, work: Callable[[Listener], Path]) -> Path:
    """Refresh the page during the work, and write it once more at the end, also if the work fails."""
    page = LivePage(listen)
    try:
        done = work(page.listen)
    except BaseException:
        page.finish()
        with contextlib.suppress(OntogenyError, OSError):  # the error that stopped the run must not be replaced
            _last_page(path)
        raise
    page.finish()
    _last_page(done)
    return done


def _last_page(path: Path) -> None:
    if (path / PROVENANCE).exists():
        from ontogeny.verbs.report import report

        report([path])


def demo(*, runs_dir: Path, quiet: bool) -> Path:
    """The shipped demo: a model of Python code is trained on Python's prose until it has memorized it."""
    return run_recipe(load_recipe("demo"), runs_dir=runs_dir, to=None, quiet=quiet)


def _mirrored(listen: Listener, track: Sequence[str], recipe: Recipe) -> AbstractContextManager[Listener]:
    """The listener, which also sends every event to the named trackers."""
    if not track:
        return contextlib.nullcontext(listen)
    from ontogeny.integrations.trackers import mirrored

    return mirrored(listen, track, recipe)
