"""Patterns of names, and ranges of numbers, that settings share."""

from typing import Annotated

from pydantic import Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
CORPUS_SPLIT = r"^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*$"
RUN_NAME = r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$"
PATTERNS = {
    NAME: "a name of letters, digits, - and _",
    CORPUS_SPLIT: "corpus/split, for instance prose/train",
    RUN_NAME: "a name of letters, digits, -, _, . and /",
}
"""What each pattern of a recipe means, for error messages."""

Name = Annotated[str, Field(pattern=NAME)]
"""A name that may become a file's or an array's."""
Share = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]
