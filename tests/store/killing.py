"""A program: do every action of `scenarios` once per call that it makes to the file layer, and die at that call.

``python -m tests.store.killing ROOT`` leaves ROOT/<action>/<n>: the run whose writer was killed at its n-th call, half
of the bytes written if the call was a write. Children are forked before any thread was started.
"""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import xarray
import zarr  # noqa: F401  (import once, before forking)

from ontogeny.store import arrays, durable
from ontogeny.store.writer import RunWriter
from tests.store import scenarios


def _die_at(number: int) -> None:
    calls = itertools.count(1)
    write_all, rmtree = durable.write_all, shutil.rmtree

    def dying(primitive: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if next(calls) == number:
                if half:
                    half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return primitive(*arguments, **keywords)

        return call

    def half_removed(folder: Path) -> None:
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        if files:
            files[0].unlink()

    durable.write_all = dying(write_all, lambda file, data: write_all(file, data[: len(data) // 2]))
    durable.sync = dying(lambda descriptor: None)  # a killed process loses nothing that it wrote; a power cut would
    durable.rename = dying(durable.rename)
    shutil.rmtree = dying(rmtree, half_removed)  # type: ignore[assignment]


def _in_child(work: Callable[[], None]) -> bool:
    """Did it run to the end?"""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001  (a child of a fork must end here)
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"a child failed with {code}")
    return code == 0


def _careless(writer: RunWriter) -> None:
    """An action that overwrites a file in place, which no writer may do."""
    durable.write_unsynced(writer.path / "status.json", b'{"state": "done", "step": 20}')


def main(root: Path) -> None:
    """Make all killed runs."""
    scenarios.few_small_parts()
    assert arrays
    base = root / "base"
    _in_child(lambda: scenarios.make_base(base))
    for name, action in {**scenarios.ACTIONS, "careless": _careless}.items():
        for number in itertools.count(1):
            target = root / name / str(number)
            shutil.copytree(base, target)

            def work(target: Path = target, number: int = number, action: Callable[..., None] = action) -> None:
                writer = RunWriter.attach(target)
                _die_at(number)
                action(writer)

            if _in_child(work):
                break


if __name__ == "__main__":
    assert numpy
    assert xarray
    main(Path(sys.argv[1]))
