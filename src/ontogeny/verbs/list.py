"""List runs and shipped recipes."""

from pathlib import Path
from typing import NotRequired, TypedDict

from ontogeny.core.errors import StoreError
from ontogeny.core.printable import one_line
from ontogeny.core.recipe_file import shipped_recipes
from ontogeny.store.run import Run, open_run


class RunRow(TypedDict):
    """A run in the listing; of a damaged one, only the first two keys."""

    run: str
    state: str | None
    step: NotRequired[int | None]
    total_steps: NotRequired[int | None]
    checkpoints: NotRequired[int]
    measures: NotRequired[list[str]]
    nll: NotRequired[dict[str, float]]
    """Last evaluation NLL by probe set."""


class DescribedRun(RunRow):
    """A run as the command line describes it after working on it."""

    page: str | None
    headline: str


class Listing(TypedDict):
    """Runs and the names of shipped recipes."""

    runs: list[RunRow]
    recipes: list[str]


def list_everything(runs_dir: Path) -> Listing:
    """Runs in a directory, newest first, and the shipped recipes. A damaged run is listed as such."""
    rows: list[RunRow] = []
    for path in sorted(runs_dir.glob("*/recipe.yaml"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            rows.append(_row(open_run(path.parent)))
        except StoreError as error:
            rows.append({"run": str(path.parent), "state": f"damaged: {error}"})
    return {"runs": rows, "recipes": list(shipped_recipes())}


def describe_run(path: Path) -> DescribedRun:
    """What the command line prints of a run when it is done with it."""
    run = open_run(path)
    page = path / "report.html"
    return {**_row(run), "page": str(page.resolve()) if page.exists() else None, "headline": _headline(run)}


def show(listing: Listing) -> str:
    """The listing as text."""
    lines = []
    for row in listing["runs"]:
        nll = "  ".join(f"{name} {value:.3f}" for name, value in row.get("nll", {}).items())
        steps = f"step {row.get('step')}/{row.get('total_steps')}"
        lines.append(one_line(f"{row['run']:<40} {row['state']:<12} {steps}  {nll}".rstrip()))
    if not lines:
        lines.append("no runs here yet; begin with  ontogeny demo")
    return "\n".join([*lines, "", f"shipped recipes: {', '.join(listing['recipes'])}"])


def _row(run: Run) -> RunRow:
    nll = run.metrics.query("name == 'evaluation/nll'")
    by_probe = nll.groupby("scope", sort=False, observed=True)
    return {
        "run": str(run.path),
        "state": run.status.get("state"),
        "step": run.status.get("step"),
        "total_steps": run.status.get("total_steps"),
        "checkpoints": len(run.checkpoints),
        "measures": list(run.measures),
        "nll": {str(scope): float(rows["value"].iloc[-1]) for scope, rows in by_probe},
    }


def _headline(run: Run) -> str:
    """The three sentences of the page."""
    from ontogeny.report.sentences import sentences
    from ontogeny.store.run_group import RunGroup

    return "\n".join(sentence.text for sentence in sentences(RunGroup([run]).bands[0]))
