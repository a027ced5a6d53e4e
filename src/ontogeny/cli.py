"""The command line: parse, call a verb, print. Heavy modules are imported only by the verbs that need them."""

import contextlib
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ontogeny.cli_logs import FailOn, logs
from ontogeny.cli_shared import AsJson, Quiet, RunDir, To, echo, tell
from ontogeny.core.errors import OntogenyError, require_training_extra
from ontogeny.verbs.signals import ended_by_signals

app = typer.Typer(
    name="ontogeny",
    help="The laboratory for the training dynamics of language models: see which text your model learned, memorized "
    "and forgot at every checkpoint, and whether your curves can be trusted.",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunsDir = Annotated[Path, typer.Option("--runs", help="Where runs are kept.", envvar="ONTOGENY_RUNS")]
Track = Annotated[list[str] | None, typer.Option("--track", help="Mirror scalars: tensorboard, wandb, trackio.")]

if TYPE_CHECKING:
    from click import UsageError as _UsageError

    from ontogeny.verbs.list import DescribedRun
else:
    # The base of the parser's errors. Some versions of Typer use click, others a copy of it, so it is not imported.
    _UsageError = typer.BadParameter.__base__

_RUNS = Path("runs")
_INTERRUPTED = 130
"""Exit code of what was stopped by an interrupt, by termination or by a hang-up."""

app.add_typer(logs)


def _print_version(asked: bool) -> None:
    if asked:
        from ontogeny.core.version import __version__

        typer.echo(f"ontogeny {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (works after the verb, too).")] = False,
) -> None:
    pass


@app.command()
def demo(runs: RunsDir = _RUNS, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Train a small model on real text in two to four minutes, and write a page about it.

    Example:  ontogeny demo
    """
    require_training_extra("ontogeny demo")
    from ontogeny.verbs.train import demo as run_demo

    _tell_run(run_demo(runs_dir=runs, quiet=quiet), as_json)


@app.command()
def run(
    recipe: Annotated[str | None, typer.Argument(help="A shipped recipe by name, or a file by path.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: train.seed=3 model.size=mini")] = None,
    text: Annotated[list[Path] | None, typer.Option("--text", help="Train on this text, without a recipe.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="With --text: a model directory or hub id.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say time, disk and memory; do not run.")] = False,
    to: To = None,
    runs: RunsDir = _RUNS,
    track: Track = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Write the run's page, live and at the end.")] = True,
) -> None:
    """Execute a recipe: train, measure, record, write the page. Continues an interrupted run.

    Examples:  ontogeny run demo train.seed=3  |  ontogeny run mine.yaml --plan  |  ontogeny run --text notes.txt
    """
    require_training_extra("ontogeny run")
    from ontogeny.verbs.train import recipe_for_text, run_recipe

    if text:
        chosen = recipe_for_text(text, model, [*([recipe] if recipe else []), *(overrides or [])])
    elif recipe is None or model is not None:
        from ontogeny.core.recipe_file import shipped_recipes

        raise OntogenyError(f"name a recipe ({', '.join(shipped_recipes())}, or a file), or give --text FILE")
    else:
        from ontogeny.core.recipe_file import load_recipe

        chosen = load_recipe(recipe, overrides or [])
    if plan:
        from ontogeny.verbs.plan import plan_run

        tell(plan_run(chosen, runs), as_json)
        return
    _tell_run(run_recipe(chosen, runs_dir=runs, to=to, quiet=quiet, track=track or [], page=page), as_json)


@app.command()
def sweep(
    recipe: Annotated[str, typer.Argument(help="A recipe by name or path, or a folder of recipes to compare.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides of every run.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", help="KEY=VALUE,VALUE; repeat for a grid. base.KEY: of the run that models start from."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of every combination.")] = 5,
    base_seeds: Annotated[
        bool, typer.Option("--base-seeds", help="Train the run that models start from with each seed, too.")
    ] = False,
    hold_out: Annotated[
        str | None, typer.Option("--hold-out", help="KEY=VALUE that is run last, predicted by power laws before.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Runs at a time; by default a core each.")] = None,
    levels: Annotated[
        str | None, typer.Option("--levels", help="Losses of new text at which runs are compared: 4.9,4.8,4.7")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would run, its time and disk; do not run.")] = False,
    runs: RunsDir = _RUNS,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run every combination of some settings, or several recipes, with several seeds, and show all on one page.
    Continues where it stopped.

    Writes the table of results, main effects and interaction, what is learned against what is lost (Pareto front), and
    power laws over sizes, lengths and shares, with intervals over seeds. Values are separated by commas, except in
    brackets: [],[{a: 1}]

    Examples:  ontogeny sweep mine.yaml --vary train.lr=0.001,0.003 --vary data.replay.general.share=0.05,0.25  |
    ontogeny sweep forgetting/replay --vary base.model.size=nano,micro --base-seeds  |
    ontogeny sweep distillation/comparison
    """
    require_training_extra("ontogeny sweep")
    from ontogeny.verbs import sweep as verb
    from ontogeny.verbs.sweep_points import points_of

    points = points_of(recipe, overrides or [], vary or [], seeds, runs, base_seeds)
    compared = verb.levels_of(levels)
    if plan:
        tell(verb.plan(points, runs, jobs), as_json)
        return
    say = (lambda _: None) if quiet else partial(echo, err=True)
    folder = verb.sweep(points, runs_dir=runs, jobs=jobs, tell=say, hold_out=hold_out, levels=compared)
    tell(verb.described(folder), as_json)


@app.command()
def resume(
    run_dir: RunDir,
    steps: Annotated[int | None, typer.Option(help="Extend the run to this many steps in all.")] = None,
    track: Track = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Continue a run from its last checkpoint, bit-identical to a run that was never interrupted.

    --steps extends a run; its schedules are stretched over the new length, which the run records.

    Examples:  ontogeny resume runs/mine-1a2b3c4d  |  ontogeny resume runs/mine-1a2b3c4d --steps 2000
    """
    require_training_extra("ontogeny resume")
    from ontogeny.verbs.train import resume_run

    _tell_run(resume_run(run_dir, steps=steps, quiet=quiet, track=track or []), as_json)


@app.command()
def audit(
    recipe: Annotated[str | None, typer.Argument(help="A recipe by name or path; or postmortem/NAME.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides: train.seed=3 model.size=mini")] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimizer steps to watch.")] = 20,
    skip: Annotated[list[str] | None, typer.Option("--skip", help="Leave this check out; repeat.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Numbers, thresholds; what is clear.")] = False,
    page: Annotated[Path | None, typer.Option("--page", help="Write a page (one HTML file).")] = None,
    fail_on: FailOn = None,
    checks: Annotated[bool, typer.Option("--checks", help="List all checks.")] = False,
    runs: RunsDir = _RUNS,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check whether a training loop does what its author thinks: watch the first steps of a recipe, and keep nothing.

    For any other loop:  with ontogeny.audit(model, optimizer): …  A post-mortem can be given instead of a recipe.

    Examples:  ontogeny audit memorization/quick  |  ontogeny audit mine.yaml -v --page audit.html --fail-on error  |
    ontogeny audit postmortem/optimizer_never_steps --page story.html
    """
    require_training_extra("ontogeny audit")
    from ontogeny.verbs import audit as verb
    from ontogeny.verbs.diagnose import severity_of

    if checks:
        typer.echo(verb.list_of_checks())
        return
    if recipe is None:
        raise OntogenyError(f"name a recipe, or a post-mortem:\n{verb.list_of_stories()}\n(--checks lists all checks)")
    limit = severity_of(fail_on)
    say = (lambda _: None) if quiet else partial(echo, err=True)
    if verb.is_story(recipe):
        story = verb.told(recipe, say)
        report, text, plain = story.as_it_was.report, verb.story_text(story, verbose=verbose), verb.story_plain(story)
        write = partial(verb.write_story_page, story)
    else:
        report = verb.audit_recipe(recipe, overrides or [], runs_dir=runs, steps=steps, skip=skip or [], say=say)
        text, plain = verb.terminal(report, verbose=verbose), verb.plain(report)
        write = partial(verb.write_audit_page, recipe, report)
    tell(plain, as_json, lambda _: text)
    if page is not None:
        echo(f"page: {write(page).resolve()}", err=as_json)
    if limit is not None and report.at_or_above(limit):
        raise typer.Exit(1)


@app.command()
def measure(
    run_dir: Annotated[Path | None, typer.Argument(help="Run directory.", metavar="[RUN]")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(help="Settings: prefix_tokens=50 suffix_tokens=50; or extraction.prefix_tokens=50"),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", "-k", help="Which measure; repeat for several.")] = None,
    at: Annotated[
        list[int] | None, typer.Option("--at", help="Only at these steps; by default all checkpoints.")
    ] = None,
    checkpoints: Annotated[
        list[str] | None, typer.Option("--checkpoints", help="Checkpoints made elsewhere: DIR_OR_HUB_ID@step1,step2")
    ] = None,
    probe: Annotated[list[str] | None, typer.Option("--probe", help="With --checkpoints: NAME=FILE of text.")] = None,
    to: To = None,
    runs: RunsDir = _RUNS,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run measures on the checkpoints of a run, or on checkpoints made elsewhere.

    Examples:  ontogeny measure runs/demo-1a2b3c4d --kind token_nll  |
    ontogeny measure --checkpoints ./out@checkpoint-100,checkpoint-200 --probe notes=notes.txt
    """
    require_training_extra("ontogeny measure")
    from ontogeny.verbs.measure import measure_checkpoints, measure_run

    if checkpoints:
        extra = [str(run_dir)] if run_dir else []
        path = measure_checkpoints(
            checkpoints, probe or [], kind or [], [*extra, *(settings or [])], to=to, runs_dir=runs, quiet=quiet
        )
    elif run_dir is None:
        raise OntogenyError("name a run directory, or give --checkpoints DIR_OR_HUB_ID@step1,step2")
    else:
        path = measure_run(run_dir, kind or [], settings or [], at, quiet=quiet)
    _tell_run(path, as_json)


@app.command()
def report(
    run_dirs: Annotated[list[Path], typer.Argument(help="One run, or several to lay over each other.", metavar="RUN…")],
    to: To = None,
    live: Annotated[bool, typer.Option("--live", help="Only the page, reloading itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the page of a run, its figures, summary.csv and report.txt. Several runs are overlaid and compared.

    Runs that differ only in the seed become one band. Analyses over the runs are read where `ontogeny analyze` kept
    them, else computed.

    Examples:  ontogeny report runs/demo-1a2b3c4d  |  ontogeny report runs/a runs/b --to both.html
    """
    from ontogeny.verbs.report import report as write

    if live:
        with contextlib.suppress(OSError, AttributeError):
            os.nice(19)  # a run is training at the same time
    tell({"page": str(write(run_dirs, to=to, live=live))}, as_json)


@app.command()
def export(
    run_dir: RunDir,
    form: Annotated[str, typer.Option("--format", "-f", help="csv, npz or parquet.")] = "csv",
    to: To = None,
    as_json: AsJson = False,
) -> None:
    """Write metrics, measures and samples of a run as plain files for other tools.

    Example:  ontogeny export runs/demo-1a2b3c4d --format parquet --to demo-tables
    """
    from ontogeny.store.export import export as export_run
    from ontogeny.store.run import open_run

    written = export_run(open_run(run_dir), to or run_dir / "export", form)
    tell({"written": [str(path) for path in written]}, as_json)


@app.command(name="list")
def list_runs(runs: RunsDir = _RUNS, as_json: AsJson = False) -> None:
    """List the runs with their state and last losses, and the shipped recipes.

    Example:  ontogeny list --runs elsewhere
    """
    from ontogeny.verbs.list import list_everything, show

    tell(list_everything(runs), as_json, show)


@app.command()
def schema(kind: Annotated[str | None, typer.Argument(help="Only this kind of component.")] = None) -> None:
    """Print the JSON Schema of recipes, with every kind of component, for completion and checks in editors.

    Examples:  ontogeny schema > recipe.schema.json  |  ontogeny schema token_nll
    """
    from ontogeny.core.recipe_schema import recipe_schema
    from ontogeny.verbs.schema import kind_schema

    typer.echo(json.dumps(kind_schema(kind) if kind else recipe_schema(), indent=2))


def _tell_run(path: Path, as_json: bool) -> None:
    from ontogeny.verbs.list import describe_run

    def words(run: "DescribedRun") -> str:
        page = f"\npage: {run['page']}" if run["page"] else ""
        return f"{run['headline']}\nrun:  {run['run']}{page}"

    tell(describe_run(path), as_json, words)


def _parser_line(error: "_UsageError") -> str:
    """The parser's message, which Typer prints as a box, on one line."""
    message = " ".join(error.format_message().split()).rstrip(".")
    verb = error.ctx.command_path if error.ctx is not None else "ontogeny"
    return f"{message[:1].lower()}{message[1:]} (see  {verb} --help)"


_LONGEST_LINE = 2000
"""Of an error: what the user gave, which it repeats, may be a megabyte. The longest list of names is half of this."""


def _shortened(line: str) -> str:
    """A line of an error without its middle, if it is long: place and remedy stand at its ends."""
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; errors are one line unless --debug. Exit: 0 fine, 1 findings, 2 wrong use, 3 failed.

    Termination and hang-up stop it as an interrupt does (130).
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    came: list[int] = []
    try:
        with ended_by_signals() as came:
            code = app(given or ["--help"], prog_name="ontogeny", standalone_mode=False)
    except _UsageError as error:
        if debug:
            raise
        echo(f"ontogeny: {_shortened(_parser_line(error))}", err=True)
        sys.exit(2)
    except OntogenyError as error:
        if debug:
            raise
        echo("\n".join(map(_shortened, f"ontogeny: {error}".split("\n"))), err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if debug:
            raise
        if came:  # a library made an error of its own of the interrupt
            echo("ontogeny: stopped; continue with  ontogeny resume RUN", err=True)
            sys.exit(_INTERRUPTED)
        if isinstance(error, OSError) and isinstance(error.filename, str) and error.strerror:
            echo(f"ontogeny: {_shortened(error.filename)}: {error.strerror} (--debug shows where)", err=True)
            sys.exit(3)
        first = (str(error).strip().splitlines() or [""])[0]
        echo(f"ontogeny: {type(error).__name__}: {first}\n(a defect of ontogeny: --debug shows where)", err=True)
        sys.exit(3)
    if code == _INTERRUPTED:  # some versions of Typer end with it, others raise
        echo("ontogeny: stopped; continue with  ontogeny resume RUN", err=True)
    sys.exit(code or 0)
