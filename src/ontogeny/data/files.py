"""The files that a recipe names by a path, a pattern, or a list of these."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path

from ontogeny.core.errors import DataError

Paths = str | tuple[str, ...]


def find_files(paths: Paths) -> list[tuple[str, Path]]:
    """Short name and path of each file, once, in the order named (those of a pattern alphabetically).

    Short names are paths relative to the files' common directory. Raises DataError for a path or pattern that no file
    matches.
    """
    files: dict[Path, None] = {}
    for path in (paths,) if isinstance(paths, str) else paths:
        expanded = os.path.expanduser(path)
        if os.path.isfile(expanded):  # False, too, for what can be no path: of Path, it raises OSError
            matches: Sequence[str] = [expanded]
        elif os.path.isdir(expanded):
            raise DataError(f"{path} is a directory: name files, for instance {path.rstrip('/')}/*.txt")
        else:
            pattern = re.sub(r"(\*\*/)+", "**/", expanded)  # two mean the same, and the time grows with each
            matches = sorted(filter(os.path.isfile, glob(pattern, recursive=True)))
        if not matches:
            raise DataError(f"{path}: no such file, and no file matches it as a pattern")
        files |= dict.fromkeys(map(Path, matches))
    if not files:
        raise DataError("path is empty: name at least one file")
    common = os.path.commonpath([path.resolve().parent for path in files])
    return [(Path(os.path.relpath(path.resolve(), common)).as_posix(), path) for path in files]


def json_lines(path: Path) -> Iterator[tuple[int, object]]:
    """Number, from 1, and value of every line of JSON in UTF-8; blank lines are skipped.

    Raises DataError with file and line for anything else.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _parsed(line, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _parsed(line: bytes, place: str) -> object:
    try:
        value: object = json.loads(line.decode("utf-8-sig"))
    except RecursionError:
        raise DataError(f"{place}: not JSON in UTF-8 (nested too deep)") from None
    except ValueError as error:
        raise DataError(f"{place}: not JSON in UTF-8 ({error})") from None
    return value
