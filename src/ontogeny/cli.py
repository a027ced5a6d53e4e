"""The command line: parses, calls a verb, prints. Everything heavy is imported by the verb that needs it."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ontogeny.core.errors import OntogenyError, require_training_extra

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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
RunDir = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]
To = Annotated[Path | None, typer.Option("--to", help="Write here instead.")]

Track = Annotated[list[str] | None, typer.Option("--track", help="Mirror scalars: tensorboard, wandb, trackio.")]

# The parser's errors. Typer brings its own copy of click or uses click itself, as its version has it.
_UsageError: Any = typer.BadParameter.__base__

_RUNS = Path("runs")


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
    """Train a small model on real text in under four minutes, and write a page about it.

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
) -> None:
    """Execute a recipe: train, look, record, write the page. Continues where an interrupted run stopped.

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

        _tell(plan_run(chosen, runs), as_json)
        return
    _tell_run(run_recipe(chosen, runs_dir=runs, to=to, quiet=quiet, track=track or []), as_json)


@app.command()
def resume(
    run_dir: RunDir,
    steps: Annotated[int | None, typer.Option(help="Extend the run to this many steps in all.")] = None,
    track: Track = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Continue a run from its last checkpoint, bit for bit as if it had never stopped.

    --steps extends a run; schedules are then stretched over the new length, and the run says so.

    Examples:  ontogeny resume runs/mine-1a2b3c4d  |  ontogeny resume runs/mine-1a2b3c4d --steps 2000
    """
    require_training_extra("ontogeny resume")
    from ontogeny.verbs.train import resume_run

    _tell_run(resume_run(run_dir, steps=steps, quiet=quiet, track=track or []), as_json)


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
    """Look afterwards: at the checkpoints of a run, or at checkpoints made elsewhere.

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
    """Write the page of a run, its figures, summary.csv and report.txt. Several runs are overlaid.

    Runs that differ only in the seed become one band.

    Examples:  ontogeny report runs/demo-1a2b3c4d  |  ontogeny report runs/a runs/b --to both.html
    """
    from ontogeny.verbs.report import report as write

    if live:
        with contextlib.suppress(OSError, AttributeError):
            os.nice(19)  # a run is training beside
    _tell({"page": str(write(run_dirs, to=to, live=live))}, as_json)


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
    _tell({"written": [str(path) for path in written]}, as_json)


@app.command(name="list")
def list_runs(runs: RunsDir = _RUNS, as_json: AsJson = False) -> None:
    """List the runs, their state and their last losses; and the shipped recipes.

    Example:  ontogeny list --runs elsewhere
    """
    from ontogeny.verbs.list import list_everything, show

    found = list_everything(runs)
    _tell(found, as_json, show)


@app.command()
def schema(
    kind: Annotated[str | None, typer.Argument(help="Only this kind of component.")] = None,
) -> None:
    """Print the JSON Schema of recipes, with every kind of component: editors complete and check with it.

    Examples:  ontogeny schema > recipe.schema.json  |  ontogeny schema token_nll
    """
    from ontogeny.core.recipe_file import recipe_schema
    from ontogeny.verbs.schema import kind_schema

    typer.echo(json.dumps(kind_schema(kind) if kind else recipe_schema(), indent=2))


Map = Annotated[list[str] | None, typer.Option("--map", help="Name a column of a table: loss=COLUMN; repeat.")]
FailOn = Annotated[str | None, typer.Option("--fail-on", help="Exit with 1 from this on: error, warning or note.")]


@app.command()
def diagnose(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Logs, runs, or directories of them.", metavar="PATH…")
    ] = None,
    mapping: Map = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this rule or family; repeat.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Numbers, rows, remedies; what is clear.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Write a page (one HTML file).")] = None,
    fail_on: FailOn = None,
    rules: Annotated[bool, typer.Option("--rules", help="List all rules.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a training run, from its log: any format, no torch.

    Examples:  ontogeny diagnose trainer_state.json  |  ontogeny diagnose train.log -v  |
    ontogeny diagnose logs/ --fail-on error  |  ontogeny diagnose mine.csv --map step=t --map loss=objective
    """
    from ontogeny.report import findings_text
    from ontogeny.verbs import diagnose as verb

    if rules:
        typer.echo(verb.rules_table())
        return
    if not paths:
        raise OntogenyError(
            "name a log, as in  ontogeny diagnose trainer_state.json  (or --rules to see what is looked for)"
        )
    limit = verb.severity_of(fail_on)
    found, unreadable = verb.diagnose_all(paths, verb.mapping_of(mapping or []), verb.chosen_rules(only or []))
    if as_json:
        typer.echo(verb.as_text(found, unreadable))
    elif markdown:
        typer.echo(findings_text.markdown(found))
    else:
        verb.show(found, unreadable, verbose=verbose)
    if to is not None:
        from ontogeny.report.findings_page import write_page

        typer.echo(f"page: {write_page(found, to).resolve()}", err=as_json or markdown)
    if limit is not None and any(one.at_or_above(limit) for one in found):
        raise typer.Exit(1)


@app.command()
def series(
    path: Annotated[Path, typer.Argument(help="A log, or a run.", metavar="PATH")],
    mapping: Map = None,
    as_json: AsJson = False,
) -> None:
    """Show which series a log holds, and how each was understood.

    Example:  ontogeny series trainer_state.json
    """
    from ontogeny.verbs import diagnose as verb
    from ontogeny.verbs.series import series_of, text

    history, found = series_of(path, verb.mapping_of(mapping or []))
    _tell(found, as_json, lambda plain: text(history, plain))


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="A log, or a run.", metavar="A")],
    other: Annotated[Path, typer.Argument(help="Another.", metavar="B")],
    mapping: Map = None,
    as_json: AsJson = False,
) -> None:
    """Say where two logs part, with their noise taken into account.

    Example:  ontogeny compare baseline.log nowarmup.log
    """
    from ontogeny.verbs import diagnose as verb
    from ontogeny.verbs.compare import compare_logs, text

    _tell(compare_logs(one, other, verb.mapping_of(mapping or [])), as_json, text)


@app.command()
def watch(
    path: Annotated[Path, typer.Argument(help="A log that grows, or will be written.", metavar="PATH")],
    every: Annotated[float, typer.Option("--every", help="Seconds between two looks.", min=0.1)] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    mapping: Map = None,
    fail_on: FailOn = None,
) -> None:
    """Follow a growing log, and say each finding once.

    Examples:  ontogeny watch train.log  |  ontogeny watch trainer_state.json --every 60 --fail-on error
    """
    from ontogeny.verbs import diagnose as verb
    from ontogeny.verbs.watch import watch as follow

    if follow(
        path, every_s=every, once=once, mapping=verb.mapping_of(mapping or []), fail_on=verb.severity_of(fail_on)
    ):
        raise typer.Exit(1)


def _tell_run(path: Path, as_json: bool) -> None:
    from ontogeny.verbs.list import describe_run

    _tell(
        describe_run(path), as_json, lambda found: f"{found['headline']}\nrun:  {found['run']}\npage: {found['page']}"
    )


def _tell(found: Any, as_json: bool, show: Any = None) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, default=str))
    else:
        typer.echo((show or _table)(found))


def _table(found: dict[str, Any]) -> str:
    """Keys and values in two columns; what is nested goes below its key."""
    width = max(map(len, found), default=0) + 2
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {inner}: {text}" for inner, text in value.items())]
        elif isinstance(value, list):
            lines += [f"{key}:", *(f"  {item}" for item in value)]
        else:
            lines.append(f"{key + ':':<{width}}{value}")
    return "\n".join(lines)


def _parser_line(error: Any) -> str:
    """What the parser says in a box of several lines, in one."""
    said = " ".join(error.format_message().split()).rstrip(".")
    verb = error.ctx.command_path if error.ctx is not None else "ontogeny"
    return f"{said[:1].lower()}{said[1:]} (see  {verb} --help)"


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; errors are one line unless --debug. Exit: 0 fine, 1 findings, 2 wrong use, 3 failed."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        code = app(given or ["--help"], prog_name="ontogeny", standalone_mode=False)
    except _UsageError as error:
        if debug:
            raise
        typer.echo(f"ontogeny: {_parser_line(error)}", err=True)
        sys.exit(2)
    except OntogenyError as error:
        if debug:
            raise
        typer.echo(f"ontogeny: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("ontogeny: stopped; continue with  ontogeny resume RUN", err=True)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        typer.echo(f"ontogeny: {type(error).__name__}: {first}\n(a defect of ontogeny: --debug shows where)", err=True)
        sys.exit(3)
    sys.exit(code or 0)
