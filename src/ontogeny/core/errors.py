"""Errors that a user caused and can fix: one line that says what is wrong, where, and what to write instead."""

import difflib
from collections.abc import Iterable
from typing import ClassVar

TRAINING_EXTRA = ("torch", "transformers", "accelerate", "safetensors", "tokenizers", "datasets", "peft", "rapidfuzz")
"""The modules that the extra `train` installs."""


class OntogenyError(Exception):
    """Wrong use, in one line. The command line prints it without a traceback and exits with `exit_code`."""

    exit_code: ClassVar[int] = 2


class RecipeError(OntogenyError):
    """A recipe cannot be read or does not validate; the message names file, line and key."""


class DataError(OntogenyError):
    """A corpus, split or probe set cannot be built as the recipe asks."""


class StoreError(OntogenyError):
    """A run directory is missing, locked, damaged or not ours."""


class MissingExtraError(OntogenyError):
    """A request that needs the extra `train`, which is not installed."""


class RunFailedError(OntogenyError):
    """The run itself failed (NaN loss, disk full); everything recorded before is intact."""

    exit_code: ClassVar[int] = 3


def closest(word: str, choices: Iterable[str]) -> str:
    """Name the nearest choice, or list them all when none is near.

    Returns a phrase such as ``did you mean 'epochs'?``, ready to end an error line.
    """
    known = sorted(set(choices))
    if all(choice.isdecimal() for choice in known):
        known.sort(key=int)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(known)}" if known else "nothing is known here"


def require_training_extra(what: str) -> None:
    """Raise MissingExtraError, naming what is missing, unless all modules of the extra `train` are installed."""
    from importlib.util import find_spec

    absent = [name for name in TRAINING_EXTRA if find_spec(name) is None]
    if absent:
        raise MissingExtraError(
            f"{what} needs {', '.join(absent)}: install the training extra with  pip install 'ontogeny[train]'"
        )
