"""What each of several tasks gave in its own stage of training, from the matrix R of the analysis `transfer`."""

from dataclasses import dataclass

from ontogeny.report.stored_numbers import numbers_of
from ontogeny.store.run_group import RunView


@dataclass(frozen=True, kw_only=True)
class LearnedTask:
    """The loss of one task's unseen text before and after its own stage, in nats per token."""

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


def learned_tasks(run: RunView) -> list[LearnedTask]:
    """One for each task, in their order; empty where the run's tasks were not analyzed."""
    numbers = numbers_of(run, "transfer")
    if "R" not in numbers:
        return []
    return [
        LearnedTask(
            probe=str(probe),
            before=numbers["R"][j][j],
            after=numbers["R"][j + 1][j],
            low=row["difference"]["low"],
            high=row["difference"]["high"],
            documents=row["difference"]["documents"],
        )
        for j, (probe, row) in enumerate(zip(numbers["probes"], numbers["learned"], strict=True))
    ]
