"""Audit the first steps of a recipe, or replay a post-mortem."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ontogeny.core.errors import OntogenyError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe
from ontogeny.integrations.audit.check import all_checks
from ontogeny.integrations.audit.report import Report
from ontogeny.integrations.audit.session import Audit
from ontogeny.integrations.audit.stories.story import PREFIX, Story, stories, tell_story
from ontogeny.integrations.audit.text import plain, terminal
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.evaluation import Evaluation
from ontogeny.report.audit_page import AuditedTraining, AuditPage, render
from ontogeny.runs.trial import trial, trial_materials
from ontogeny.store import durable
from ontogeny.train.loop import training_steps
from ontogeny.train.training import Training

Say = Callable[[str], None]


def audit_recipe(
    name: str, overrides: Sequence[str], *, runs_dir: Path, steps: int, skip: Iterable[str], say: Say
) -> Report:
    """Audit the first steps of a recipe in a temporary folder. Raises OntogenyError if the recipe does not train."""
    recipe = load_recipe(name, overrides)
    if recipe.train is None:
        raise OntogenyError(f"{name}: it trains nothing, so there is nothing to audit")
    with tempfile.TemporaryDirectory(prefix="ontogeny-audit-") as folder:
        materials, missing = trial_materials(recipe, runs_dir)
        for parent in missing:
            say(f"'{parent.name}' has not been trained yet: the model that its training starts from stands in")
        with trial(materials, Path(folder) / "run") as training:
            return _watched(recipe, training, steps=steps, skip=skip, say=say)


def _watched(recipe: Recipe, training: Training, *, steps: int, skip: Iterable[str], say: Say) -> Report:
    session = training.session
    audit = Audit(
        session.model,
        session.optimizer,
        tokenizer=session.tokenizer,
        first=steps,
        every=10 * steps,
        skip=skip,
        quiet=True,
    )
    train = session.train
    audit.watch(accumulation=train.accumulate, evaluate=lambda: _evaluation(training))
    if train.clip is not None:
        audit.watch(max_grad_norm=train.clip, clip_key="train.clip")
    session.objective.listeners.append(
        lambda terms, weights, total: audit.watch(terms=terms, weights=weights, total=total)
    )
    last = min(steps, session.total_steps)
    say(f"the first {last} of {session.total_steps} steps of {recipe.name}")
    with audit:
        for event in training_steps(session):
            audit.watch_step_before(shown_learning_rate=event.learning_rate)
            if event.step + 1 >= last:
                break
    return audit.report


def _evaluation(training: Training) -> dict[str, float]:
    """The measure `evaluation` on the first probe set: the objective as loss, its terms, the NLL."""
    context = training.context()
    if not context.probes:
        return {}
    measure = Evaluation(probes=(next(iter(context.probes)),))
    observations, _ = run_stream_looks(context, [measure])
    numbers = observations[measure.group].arrays.isel(probe=0)
    scalars = {name: value for name, value in numbers.data_vars.items() if value.ndim == 0}  # others are by passage
    return {str(name).removeprefix("term_"): float(value) for name, value in scalars.items()}


def told(name: str, say: Say) -> Story:
    """A post-mortem by its name. Raises OntogenyError for an unknown name."""
    return tell_story(name, say)


def is_story(name: str) -> bool:
    """Is the name that of a post-mortem, not of a recipe?"""
    return name.startswith(PREFIX)


def list_of_stories() -> str:
    """The post-mortems by name, with what each is about."""
    return "\n".join(f"  {name}: {about}" for name, about in stories().items())


def list_of_checks() -> str:
    """All checks by family: what they need, what they cost, and when they make a finding."""
    lines, family = list[str](), ""
    for check in all_checks():
        if check.family != family:
            family = check.family
            lines += ["", family.upper()]
        lines += [
            f"  {check.id}: {check.title}",
            f"      needs {check.needs}",
            f"      costs {check.cost}",
            f"      when {check.threshold}",
        ]
    return "\n".join(lines).lstrip("\n")


def story_text(story: Story, *, verbose: bool) -> str:
    """A post-mortem for the terminal."""
    lines = [story.title, f"  {story.about}"]
    for telling in (story.as_it_was, story.mended):
        lines += ["", telling.title.upper(), *_aligned(telling.columns, telling.rows)]
        if telling is story.as_it_was:
            lines += ["", "  What its author concluded:", *(f"  - {conclusion}" for conclusion in story.concluded)]
        lines += ["", terminal(telling.report, verbose=verbose)]
    if story.table is not None:
        lines += ["", story.table.title.upper()]
        for row in story.table.rows:
            lines += [f"  {row[0]}"]
            lines += [
                f"      {name}: {cell}" for name, cell in zip(story.table.columns[1:], row[1:], strict=True) if cell
            ]
    return "\n".join([*lines, "", f"What was so: {story.was_so}"])


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    table = [columns, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(columns))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]


def story_plain(story: Story) -> dict[str, object]:
    """A post-mortem as plain values for JSON."""
    values: dict[str, object] = {"story": story.name, "concluded": list(story.concluded), "was_so": story.was_so}
    for name, telling in (("as_it_was", story.as_it_was), ("mended", story.mended)):
        log = [dict(zip(telling.columns, row, strict=True)) for row in telling.rows]
        values[name] = {"log": log, "audit": plain(telling.report)}
    if story.table is not None:
        values["table"] = [dict(zip(story.table.columns, row, strict=True)) for row in story.table.rows]
    return values


def write_story_page(story: Story, out: Path) -> Path:
    """The page of a post-mortem; returns its path. Raises StoreError if it cannot be written."""
    trainings = tuple(
        _part(telling.report, title=telling.title, columns=telling.columns, rows=telling.rows, series=telling.series)
        for telling in (story.as_it_was, story.mended)
    )
    table = {} if story.table is None else {"table": (story.table.title, story.table.columns, story.table.rows)}
    page = AuditPage(
        title=story.title,
        about=story.about,
        concluded=story.concluded,
        was_so=story.was_so,
        trainings=trainings,
        **table,
    )
    return _write(page, out)


def write_audit_page(title: str, report: Report, out: Path) -> Path:
    """The page of an audit; returns its path. Raises StoreError if it cannot be written."""
    return _write(AuditPage(title=title, trainings=(_part(report),)), out)


def _part(report: Report, **log: Any) -> AuditedTraining:
    return AuditedTraining(verdicts=report.verdicts, mishaps=report.mishaps, **log)


def _write(page: AuditPage, out: Path) -> Path:
    path = out if out.suffix == ".html" else out / "audit.html"
    durable.make_folder(path.parent)
    durable.write_bytes(path, render(page, {check.id: check.title for check in all_checks()}).encode())
    return path
