"""What there is: runs and shipped recipes."""

from pathlib import Path
from typing import Any

from ontogeny.core.errors import StoreError
from ontogeny.core.recipe_file import shipped_recipes
from ontogeny.store.run import Run, open_run


def list_everything(runs_dir: Path) -> dict[str, Any]:
    """Runs below a directory, newest first, and the shipped recipes. A damaged run is listed as such."""
    found = []
    for path in sorted(runs_dir.glob("*/recipe.yaml"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            found.append(_row(open_run(path.parent)))
        except StoreError as error:
            found.append({"run": str(path.parent), "state": f"damaged: {error}"})
    return {"runs": found, "recipes": shipped_recipes()}


def describe_run(path: Path) -> dict[str, Any]:
    """What the command line says of a run when it is done with it."""
    run = open_run(path)
    row = _row(run)
    page = path / "report.html"
    return {**row, "page": str(page.resolve()) if page.exists() else None, "headline": _headline(run)}


def show(found: dict[str, Any]) -> str:
    """The listing as text."""
    lines = []
    for row in found["runs"]:
        nll = "  ".join(f"{name} {value:.3f}" for name, value in (row.get("nll") or {}).items())
        lines.append(
            f"{row['run']:<40} {row['state']:<12} step {row.get('step')}/{row.get('total_steps')}  {nll}".rstrip()
        )
    if not lines:
        lines.append("no runs here yet; begin with  ontogeny demo")
    return "\n".join([*lines, "", f"shipped recipes: {', '.join(found['recipes'])}"])


def _row(run: Run) -> dict[str, Any]:
    nll = run.metrics.query("name == 'evaluation/nll'")
    return {
        "run": str(run.path),
        "state": run.status.get("state"),
        "step": run.status.get("step"),
        "total_steps": run.status.get("total_steps"),
        "checkpoints": len(run.checkpoints),
        "measures": list(run.measures),
        "nll": {
            str(scope): float(rows["value"].iloc[-1]) for scope, rows in nll.groupby("scope", sort=False, observed=True)
        },
    }


def _headline(run: Run) -> str:
    """The three sentences of the page."""
    from ontogeny.report.sentences import sentences
    from ontogeny.store.run_group import RunGroup

    return "\n".join(sentence.text for sentence in sentences(RunGroup([run]).bands[0]))
