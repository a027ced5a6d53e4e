"""An interrupt in the middle of writing waits until it is whole: rows are neither lost nor recorded twice."""

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.errors import RunFailedError
from ontogeny.runs.status import keep_status
from ontogeny.store import durable
from ontogeny.store.interrupts import held_back
from ontogeny.store.run import open_run
from tests.store import scenarios

ROWS = 100


@pytest.fixture
def interrupted_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Interrupt this process after the n-th call to the file layer from now on."""

    def arrange(number: int) -> None:
        calls = itertools.count(1)

        def interrupting(primitive: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> None:
                primitive(*arguments)
                if next(calls) == number:
                    signal.raise_signal(signal.SIGINT)

            return call

        for name in ("write_all", "rename"):
            monkeypatch.setattr(durable, name, interrupting(getattr(durable, name)))

    return arrange


@pytest.mark.parametrize("number", range(1, 9))
def test_an_interrupt_in_a_flush_loses_and_doubles_no_row(
    tmp_path: Path, interrupted_at: Callable[[int], None], number: int
) -> None:
    """Two calls each: the status `running`, the rows, the manifest that lists them, and the status again."""
    writer = scenarios.create(tmp_path / "run")
    before = len(writer.run.metrics)

    def record() -> None:
        with writer, keep_status(writer):
            for step in range(ROWS):
                writer.add_metric(step, "loss", "train", 1.0)
            writer.flush()
            writer.set_status(progress=0.5)

    interrupted_at(number)
    with pytest.raises(KeyboardInterrupt):
        record()
    run = open_run(tmp_path / "run")
    assert run.status["state"] == "interrupted"
    written = run.metrics["step"].tolist()[before:]
    assert written == list(range(ROWS if number > 2 else 0))


def test_the_status_is_told_when_nothing_can_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = scenarios.create(tmp_path / "run")

    def full(*_: object) -> None:
        raise RunFailedError("disk full")

    def interrupt() -> None:
        with keep_status(writer):
            monkeypatch.setattr(writer, "flush", full)
            raise KeyboardInterrupt

    with pytest.raises(RunFailedError):
        interrupt()
    assert writer.run.status["state"] == "interrupted"


def test_signals_wait_for_the_end_and_then_count_each() -> None:
    heard = list[str]()

    def hear(number: int, _: object) -> None:
        heard.append(signal.Signals(number).name)

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with held_back(), held_back():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert heard == []
        assert heard == ["SIGTERM", "SIGINT"]
        signal.raise_signal(signal.SIGTERM)  # the handlers are back
        assert heard[2:] == ["SIGTERM"]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
