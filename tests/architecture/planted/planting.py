"""Plant a module of this folder into a room, as a third party's entry point would."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ontogeny.core import kinds
from ontogeny.core.recipe import Recipe


@contextmanager
def planted(room: str, kind: str) -> Iterator[None]:
    """While inside, `kind` of a room such as `ontogeny.measures` is `tests/architecture/planted/<kind>.py`."""
    before = kinds._modules(room)
    with pytest.MonkeyPatch.context() as patch:
        modules = {**before, kind: f"{__package__}.{kind}"}
        original = kinds._modules
        patch.setattr(kinds, "_modules", lambda name: modules if name == room else original(name))
        kinds.find.cache_clear()
        yield
    kinds.find.cache_clear()


def run_until_killed(recipe: Recipe, runs_dir: Path, at_step: int) -> Path:
    """Run a recipe in a child process that is killed (SIGKILL) right before that step is recorded."""
    child = os.fork()
    if child == 0:
        try:
            from ontogeny.runs.execute import execute
            from ontogeny.train.training import Training

            record = Training.record

            def die(self: Training, event: object) -> None:
                if event.step == at_step:  # type: ignore[attr-defined]
                    os.kill(os.getpid(), signal.SIGKILL)
                record(self, event)  # type: ignore[arg-type]

            Training.record = die  # type: ignore[assignment,method-assign]
            execute(recipe, runs_dir=runs_dir)
        except BaseException as error:  # noqa: BLE001 # a child has nobody to raise to
            sys.stderr.write(f"{error}\n")
        os._exit(1)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.WIFSIGNALED(status), "the child ended by itself"
            (run,) = {path.parent for path in runs_dir.glob("*/provenance.json")}
            return run
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise TimeoutError("the child did not reach the step")
