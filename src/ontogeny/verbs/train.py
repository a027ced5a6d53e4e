"""The verbs that train: run, resume, demo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe, validate
from ontogeny.report.page import write_report
from ontogeny.store.run import open_run
from ontogeny.train.execute import Listener, execute, resume
from ontogeny.verbs.console import listening
from ontogeny.verbs.live_page import LivePage


def recipe_for_text(text: Sequence[Path], model: str | None, overrides: Sequence[str]) -> Recipe:
    """The recipe behind ``ontogeny run --text FILE --model DIR``: everything that it implies, written out."""
    missing = [str(path) for path in text if not path.exists()]
    if missing:
        raise OntogenyError(f"--text {missing[0]}: no such file")
    tree: dict[str, Any] = {
        "name": text[0].stem.replace(" ", "-") or "text",
        "about": f"Train on {', '.join(path.name for path in text)}.",
        "data": {
            "corpora": {"text": {"kind": "text", "path": [str(path) for path in text]}},
            "splits": {"train": 0.8, "novel": 0.2},
            "train": [{"of": "text/train"}],
            "probes": {"train": {"of": "text/train", "count": 32}, "novel": {"of": "text/novel", "count": 32}},
        },
        "model": {"kind": "pretrained", "path": model} if model else {"kind": "ladder", "size": "nano"},
        "train": {"epochs": 3, "batch": 8, "lr": {"shape": "cosine", "value": 5e-5 if model else 3e-3, "warmup": 0.05}},
        "checkpoints": {"every_epochs": 0.5},
        "measures": ["evaluation", "token_nll", "weight_drift", "extraction"],
    }
    from ontogeny.core.recipe_file import apply_overrides

    return validate(apply_overrides(tree, overrides), "the recipe made from --text")


def run_recipe(recipe: Recipe, *, runs_dir: Path, to: Path | None, quiet: bool, track: Sequence[str] = ()) -> Path:
    """Execute with progress, a live page, and the final page with its figures; return the run directory."""
    with listening(quiet=quiet) as listen, _mirrored(listen, track, recipe) as mirrored:
        page = LivePage(mirrored)
        try:
            path = execute(recipe, runs_dir=runs_dir, to=to, listen=page.listen)
        finally:
            page.finish()
    write_report([open_run(path)])
    return path


def resume_run(path: Path, *, steps: int | None, quiet: bool) -> Path:
    """Continue a run, and write its page."""
    with listening(quiet=quiet) as listen:
        page = LivePage(listen)
        try:
            resume(path, steps=steps, listen=page.listen)
        finally:
            page.finish()
    write_report([open_run(path)])
    return path


def demo(*, runs_dir: Path, quiet: bool) -> Path:
    """The shipped demo: a model of Python code reads Python's prose until it knows it by heart."""
    return run_recipe(load_recipe("demo"), runs_dir=runs_dir, to=None, quiet=quiet)


def _mirrored(listen: Listener, track: Sequence[str], recipe: Recipe) -> Any:
    from contextlib import nullcontext

    if not track:
        return nullcontext(listen)
    from ontogeny.integrations.trackers import mirrored

    return mirrored(listen, track, recipe)
