"""The verbs that read what exists already: logs, and the records of runs."""

from pathlib import Path
from typing import Annotated

import typer

from ontogeny.cli_shared import AsJson, RunDir, echo, tell
from ontogeny.core.errors import OntogenyError

logs = typer.Typer()

Map = Annotated[list[str] | None, typer.Option("--map", help="Name a column of a table: loss=COLUMN; repeat.")]
FailOn = Annotated[str | None, typer.Option("--fail-on", help="Exit with 1 from this on: error, warning or note.")]


@logs.command()
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
    """Find what is wrong with a training run from its log: any format, no torch.

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
            "name a log, as in  ontogeny diagnose trainer_state.json  (--rules lists what is looked for)"
        )
    limit = verb.severity_of(fail_on)
    chosen = verb.chosen_rules(only or [])
    examinations, unreadable = verb.diagnose_all(paths, verb.mapping_of(mapping or []), chosen)
    if as_json:
        typer.echo(verb.as_text(examinations, unreadable))
    elif markdown:
        echo(findings_text.markdown(examinations))
    else:
        verb.show(examinations, unreadable, verbose=verbose)
    if to is not None:
        from ontogeny.report.findings_page import write_page

        echo(f"page: {write_page(examinations, to).resolve()}", err=as_json or markdown)
    if limit is not None and any(examination.at_or_above(limit) for examination in examinations):
        raise typer.Exit(1)


@logs.command()
def series(
    path: Annotated[Path, typer.Argument(help="A log, or a run.", metavar="PATH")],
    mapping: Map = None,
    as_json: AsJson = False,
) -> None:
    """Show which series a log holds, and how each was understood.

    Example:  ontogeny series trainer_state.json
    """
    from ontogeny.integrations.importing import read_history
    from ontogeny.verbs.diagnose import mapping_of
    from ontogeny.verbs.series import plain, text

    history = read_history(path, mapping_of(mapping or []))
    tell(plain(history), as_json, lambda _: text(history))


@logs.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A log, or a run.", metavar="A")],
    second: Annotated[Path, typer.Argument(help="Another.", metavar="B")],
    mapping: Map = None,
    as_json: AsJson = False,
) -> None:
    """Show where two logs diverge beyond their noise.

    Example:  ontogeny compare baseline.log nowarmup.log
    """
    from ontogeny.verbs.compare import compare_logs, text
    from ontogeny.verbs.diagnose import mapping_of

    comparison = compare_logs(first, second, mapping_of(mapping or []))
    tell(comparison.plain(), as_json, lambda _: text(comparison))


@logs.command()
def watch(
    path: Annotated[Path, typer.Argument(help="A growing log; it need not exist yet.", metavar="PATH")],
    every_s: Annotated[float, typer.Option("--every", help="Seconds between two looks.", min=0.1)] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    mapping: Map = None,
    fail_on: FailOn = None,
) -> None:
    """Follow a growing log and report each finding once.

    Examples:  ontogeny watch train.log  |  ontogeny watch trainer_state.json --every 60 --fail-on error
    """
    from ontogeny.verbs.diagnose import mapping_of, severity_of
    from ontogeny.verbs.watch import watch as follow

    limit = severity_of(fail_on)
    if follow(path, every_s=every_s, once=once, mapping=mapping_of(mapping or []), fail_on=limit):
        raise typer.Exit(1)


@logs.command()
def verify(
    run_dir: RunDir,
    repair: Annotated[bool, typer.Option("--repair", help="Say how each would be put right; nothing is done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check every file of a run against its checksum, and say which are lost or damaged. Exit code 1 if any is.

    Examples:  ontogeny verify runs/demo-1a2b3c4d  |  ontogeny verify runs/demo-1a2b3c4d --repair
    """
    from ontogeny.verbs import verify as verb

    verification = verb.verify(run_dir)
    tell(verification, as_json, lambda result: verb.text(result, repair=repair))
    if verification["problems"]:
        raise typer.Exit(1)


@logs.command()
def analyze(
    run_dirs: Annotated[list[Path], typer.Argument(help="One run, or several to compare.", metavar="RUN…")],
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Which analysis; repeat. By default all.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of it, as score=scale_free.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Of several runs: keep the results in this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Test what was recorded of a run: groups, onset, shapes, order of layers, velocity. No torch.

    Several runs are compared by what differs between their recipes: effects of settings, the Pareto front of learning
    against forgetting, the same loss of new text, power laws, the least replay, what recurs over seeds. The results
    are kept in analyses/ of comparison-HASH beside the first run.

    Examples:  ontogeny analyze runs/memorization-quick-1a2b3c4d  |
    ontogeny analyze runs/memorization-quick-1a2b3c4d --kind groups --set score=scale_free  |
    ontogeny analyze runs/replay-* --kind pareto
    """
    from ontogeny.verbs import analyze as verb

    if len(run_dirs) > 1:
        results = verb.analyze_across(run_dirs, kind or [], settings or [], to)
    elif to is not None:
        raise OntogenyError("--to is for several runs; results of one run are kept in its directory")
    else:
        results = verb.analyze(run_dirs[0], kind or [], settings or [])
    tell(results, as_json, verb.text)
