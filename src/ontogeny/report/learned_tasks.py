"""What each of several tasks gave in its own stage of training, and what later stages took of it again: from the matrix
R of the analysis `transfer`.
"""

from dataclasses import dataclass

from ontogeny.report.stored_numbers import Numbers, numbers_of
from ontogeny.store.run_group import RunView


@dataclass(frozen=True, kw_only=True)
class TaskChange:
    """The loss of one task's unseen text before and after a stretch of training, in nats per token.

    The stretch is its own stage, or all stages after it.
    """

    probe: str
    before: float
    after: float
    low: float | None
    """Ends of the 95% interval of the decrease; None without one."""
    high: float | None
    documents: int

    @property
    def fell(self) -> bool:
        """Does the interval lie above no decrease?"""
        return self.low is not None and self.low > 0

    @property
    def rose(self) -> bool:
        """Does the interval lie below no decrease?"""
        return self.high is not None and self.high < 0


def learned_tasks(run: RunView) -> list[TaskChange]:
    """One for each task, in their order; empty where the run's tasks were not analyzed."""
    numbers = _of_transfer(run)
    if numbers is None:
        return []
    rows = zip(numbers["probes"], numbers["learned"], strict=True)
    return [_change(probe, numbers["R"][j][j], numbers["R"][j + 1][j], row) for j, (probe, row) in enumerate(rows)]


def forgotten_tasks(run: RunView) -> list[TaskChange]:
    """The same from the end of each task's stage to that of training; none of the last task."""
    numbers = _of_transfer(run)
    if numbers is None:
        return []
    rows = zip(numbers["probes"], numbers.get("backward", ()), strict=False)
    return [_change(probe, numbers["R"][j + 1][j], numbers["R"][-1][j], row) for j, (probe, row) in enumerate(rows)]


def _change(probe: object, before: float, after: float, row: Numbers) -> TaskChange:
    difference = row["difference"]
    return TaskChange(
        probe=str(probe),
        before=before,
        after=after,
        low=difference["low"],
        high=difference["high"],
        documents=difference["documents"],
    )


def _of_transfer(run: RunView) -> Numbers | None:
    """The analysis's numbers; None without them, or where a loss is not a number."""
    numbers = numbers_of(run, "transfer")
    known = "R" in numbers and all(value is not None for row in numbers["R"] for value in row)
    return numbers if known else None
