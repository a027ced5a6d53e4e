"""Planted in a test: which run lowered the loss of a probe set most?"""

from ontogeny.core.analyses import AnalysisAcross, ComparedRuns, Result
from ontogeny.core.errors import StoreError


class MostLearned(AnalysisAcross):
    """The run whose loss of one probe set fell most from the first to the last checkpoint."""

    probe: str = "novel"
    """Probe set."""

    def analyze(self, runs: ComparedRuns) -> Result:
        """Find it. Raises StoreError if a run has no loss of that probe set."""
        falls: dict[str, float] = {}
        for run in runs.runs:
            losses = run.series(run.name_of("evaluation/nll"), self.probe)["value"].to_numpy()
            if not len(losses):
                raise StoreError(f"lacks losses of {self.probe} in {run.name}")
            falls[run.name] = float(losses[0] - losses[-1])
        best = max(falls, key=lambda name: falls[name])
        sentences = tuple(f"{name}: {fall:.2f} nats per token" for name, fall in falls.items())
        reading = "One number for each run, without an interval."
        return Result(verdict=f"{best} learned most", sentences=sentences, reading=reading, numbers=falls)
