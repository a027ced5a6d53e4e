"""Options that the verbs of the command line share, and how results are printed."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ontogeny.core.printable import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
RunDir = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]
To = Annotated[Path | None, typer.Option("--to", help="Write here instead.")]


Result = TypeVar("Result", bound=Mapping[str, object])


def tell(result: Result, as_json: bool, show: Callable[[Result], str] | None = None) -> None:
    """Print the result of a verb: as JSON, as the text that `show` makes of it, or in two columns."""
    if as_json:
        typer.echo(json.dumps(result, indent=2, default=str))
    else:
        echo(_table(result) if show is None else show(result))


def echo(text: str, *, err: bool = False) -> None:
    """Print text with control characters escaped: names and logs may hold what steers a terminal."""
    typer.echo(printable(text), err=err)


def _table(result: Mapping[str, object]) -> str:
    """Keys and values in two columns; nested values on lines below their key."""
    width = max(map(len, result), default=0) + 2
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {inner}: {text}" for inner, text in value.items())]
        elif isinstance(value, list):
            lines += [f"{key}:", *(f"  {item}" for item in value)]
        else:
            lines.append(f"{key + ':':<{width}}{value}")
    return "\n".join(lines)
