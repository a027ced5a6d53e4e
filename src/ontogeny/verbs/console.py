"""Progress of the command line: a bar on a terminal, one plain line per event elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ontogeny.core.printable import printable
from ontogeny.core.progress import StepEvent
from ontogeny.looking.observer import LookEvent
from ontogeny.train.training import Event, Listener, ProgressEvent, SaveEvent, StageEvent

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_EVERY_S = 10.0


@contextmanager
def listening(*, quiet: bool = False) -> Iterator[Listener]:
    """A listener that shows progress on this terminal or pipe, or nothing if quiet."""
    if quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield _BarListener(progress).listen
    else:
        yield _PlainListener().listen


def say(text: str) -> None:
    """Print one line to standard error, so that standard output stays clean for --json."""
    print(printable(text), file=sys.stderr, flush=True)  # noqa: T201


def nll_line(scalars: Mapping[tuple[str, str], float]) -> str:
    """NLL of every probe set in a few words."""
    values = [(scope, value) for (scope, name), value in scalars.items() if name == "evaluation/nll"]
    return "  ".join(f"{scope} {value:.3f}" for scope, value in values)


class _Clock:
    """Wall-clock time since the start, the share of it in measures, and tokens trained."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.measuring_s = 0.0
        self.tokens = 0

    @property
    def share_measuring(self) -> float:
        return self.measuring_s / max(time.perf_counter() - self.started, 1e-9)

    def rate(self, event: StepEvent) -> str:
        """Count the step's tokens; the mean rate since the start."""
        self.tokens += event.tokens
        return f"{self.tokens / max(time.perf_counter() - self.started, 1e-9) / 1000:.1f}k tok/s"


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[measuring]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    )


class _BarListener:
    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.clock = _Clock()
        self.task: TaskID | None = None

    def listen(self, event: Event) -> None:
        match event:
            case StageEvent():
                self._stage(event)
            case ProgressEvent():
                assert self.task is not None  # a stage begins before its parts
                self.progress.update(self.task, completed=event.done)
            case StepEvent():
                assert self.task is not None  # a stage begins before its steps
                rate = self.clock.rate(event)
                self.progress.update(self.task, completed=event.step + 1, rate=rate, loss=f"loss {event.loss:.3f}")
            case LookEvent():
                self.clock.measuring_s += sum(event.seconds.values())
                line = nll_line(event.scalars)
                if line:
                    self.progress.console.print(f"  state {event.step:>6}  NLL  {line}", highlight=False)
                if self.task is not None:
                    self.progress.update(self.task, measuring=f"measures {self.clock.share_measuring:.0%}")
            case SaveEvent():
                pass

    def _stage(self, event: StageEvent) -> None:
        if event.total_steps is None:
            self.progress.console.print(printable(event.text), highlight=False, markup=False)
            return
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.clock = _Clock()
        self.task = self.progress.add_task(
            event.text, total=event.total_steps, completed=event.step, rate="", loss="", measuring=""
        )


class _PlainListener:
    def __init__(self) -> None:
        self.clock = _Clock()
        self.total, self.unit = 0, ""
        self.last = 0.0

    def _is_time(self) -> bool:
        """Was the last line of progress long enough ago?"""
        due = time.perf_counter() - self.last > _PLAIN_EVERY_S
        if due:
            self.last = time.perf_counter()
        return due

    def listen(self, event: Event) -> None:
        match event:
            case StageEvent():
                self.clock = _Clock()
                self.total = event.total_steps or 0
                self.unit = event.unit
                say(event.text + (f": {event.total_steps} {event.unit}" if event.total_steps else ""))
            case ProgressEvent():
                if self._is_time():
                    say(f"{event.done}/{self.total} {self.unit}")
            case StepEvent():
                rate = self.clock.rate(event)
                if self._is_time():
                    say(f"step {event.step + 1}/{self.total}  loss {event.loss:.4f}  {rate}")
            case LookEvent():
                self.clock.measuring_s += sum(event.seconds.values())
                line = nll_line(event.scalars)
                say(f"measured state {event.step}" + (f"  NLL  {line}" if line else ""))
            case SaveEvent():
                pass
