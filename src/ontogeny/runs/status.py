"""Keep a run's status true, whatever happens while it is worked on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ontogeny.core.errors import OntogenyError
from ontogeny.store.writer import RunWriter


@contextmanager
def keep_status(writer: RunWriter) -> Iterator[None]:
    """Say `running` before, and `finished`, `interrupted` or `failed` after."""
    try:
        writer.set_status(state="running", message="", started_unix_s=time.time())
        yield
    except KeyboardInterrupt:
        try:
            writer.flush()
        finally:
            writer.set_status(state="interrupted", message="stopped by the user")
        raise
    except Exception as error:
        kind = "" if isinstance(error, OntogenyError) else f"{type(error).__name__}: "
        try:
            writer.set_status(state="failed", message=f"{kind}{error}")
        except OntogenyError as second:  # a disk that is full: the first failure is the one to be told
            error.add_note(f"and then: {second}")
        raise
    writer.set_status(state="finished", message="", finished_unix_s=time.time())
