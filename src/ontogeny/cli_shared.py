"""What the verbs of the command line share: options, and how results are printed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
RunDir = Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")]
To = Annotated[Path | None, typer.Option("--to", help="Write here instead.")]


def tell(found: Any, as_json: bool, show: Any = None) -> None:
    """Print what a verb returned: as JSON, by `show`, or in two columns."""
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
